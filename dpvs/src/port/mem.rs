//! Advice to the kernel about the daemon's own big tables.

/// Asks for transparent huge pages behind a big table: fewer TLB misses in
/// random look-ups. A hint; tables below 4 MB are left alone. Says whether the
/// kernel took it.
pub fn advise_huge<T>(table: &[T]) -> bool {
    const PAGE: usize = 4096;
    const WORTH: usize = 4 << 20;
    let bytes = size_of_val(table);
    let start = table.as_ptr().cast::<u8>();
    let skip = start.align_offset(PAGE);
    if bytes < WORTH || skip >= bytes {
        return false;
    }
    let len = (bytes - skip) / PAGE * PAGE;
    // SAFETY: whole pages inside a live allocation; the advice changes no byte.
    unsafe { libc::madvise(start.add(skip).cast_mut().cast(), len, libc::MADV_HUGEPAGE) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_big_tables() {
        assert!(!advise_huge(&[0u8; 100]));
        assert!(!advise_huge::<u64>(&[]));
        let big = vec![0u64; 2 << 20];
        // Whatever the kernel says, the table is untouched.
        let _ = advise_huge(&big);
        assert!(big.iter().all(|&word| word == 0));
    }
}
