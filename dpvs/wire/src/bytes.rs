//! Big-endian numbers at an offset. The views have checked that they are there.

#[inline]
pub(crate) fn get16(b: &[u8], off: usize) -> u16 {
    u16::from_be_bytes(array(b, off))
}

#[inline]
pub(crate) fn get32(b: &[u8], off: usize) -> u32 {
    u32::from_be_bytes(array(b, off))
}

#[inline]
pub(crate) fn put16(b: &mut [u8], off: usize, v: u16) {
    b[off..off + 2].copy_from_slice(&v.to_be_bytes());
}

#[inline]
pub(crate) fn put32(b: &mut [u8], off: usize, v: u32) {
    b[off..off + 4].copy_from_slice(&v.to_be_bytes());
}

#[inline]
pub(crate) fn array<const N: usize>(b: &[u8], off: usize) -> [u8; N] {
    let mut a = [0; N];
    a.copy_from_slice(&b[off..off + N]);
    a
}
