//! The one `unsafe` function of the forwarding logic: asking for a cache line.

/// Fetches the first cache line of `t` into every cache level. A hint: it has no
/// effect on the program's meaning.
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) fn prefetch<T: ?Sized>(t: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching has no architectural effect and cannot fault, whatever
    // the address; this one comes from a live reference anyway.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(t).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = t;
}
