//! Advice to the kernel about the daemon's own big tables.

/// Asks for transparent huge pages behind a big table, given as address and
/// bytes: fewer TLB misses in random look-ups. A hint; less than 4 MB is left
/// alone. Says whether the kernel took it.
#[must_use]
pub fn advise_huge((start, bytes): (*const u8, usize)) -> bool {
    const PAGE: usize = 4096;
    const WORTH: usize = 4 << 20;
    let skip = start.align_offset(PAGE);
    if start.is_null() || bytes < WORTH || skip >= bytes {
        return false;
    }
    let len = (bytes - skip) / PAGE * PAGE;
    let start = start.wrapping_add(skip).cast_mut();
    // SAFETY: this advice changes no byte of memory; the kernel refuses a
    // range that is not mapped.
    unsafe { libc::madvise(start.cast(), len, libc::MADV_HUGEPAGE) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region<T>(table: &[T]) -> (*const u8, usize) {
        (table.as_ptr().cast(), size_of_val(table))
    }

    #[test]
    fn only_big_tables() {
        assert!(!advise_huge(region(&[0u8; 100])));
        assert!(!advise_huge((std::ptr::null(), 1 << 30)));
        let big = vec![7u64; 2 << 20];
        // Whatever the kernel says, the table is untouched.
        let _ = advise_huge(region(&big));
        assert!(big.iter().all(|&word| word == 7));
    }
}
