//! How a struct becomes bytes: the [`Wire`] trait, the primitive values, and
//! the `wire_struct!` macro that declares a message once, with the offset of
//! every field, and checks the offsets when it is compiled.
//!
//! Integers travel in host order (the socket never leaves the machine);
//! network-order values have types of their own in [`crate::types`]. Nothing
//! here may panic on outside input: a wrong length is a [`DecodeError`].

use std::fmt;

/// A value with a fixed size on the wire.
pub trait Wire: Sized {
    /// The name used in error texts.
    const NAME: &'static str;
    /// Bytes on the wire, padding included.
    const SIZE: usize;

    /// Writes the value to the first [`Self::SIZE`] bytes of `out`; bytes that
    /// belong to no field are left alone. A shorter `out` loses what does not fit.
    fn put(&self, out: &mut [u8]);

    /// Reads the value from the start of `bytes`; what is missing reads as 0.
    /// Use [`Wire::decode`] for anything that came from outside.
    fn take(bytes: &[u8]) -> Self;

    /// The value as bytes, padding zeroed.
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; Self::SIZE];
        self.put(&mut out);
        out
    }

    /// Reads a value from exactly [`Self::SIZE`] bytes.
    ///
    /// # Errors
    /// When `bytes` is shorter or longer.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() == Self::SIZE {
            Ok(Self::take(bytes))
        } else {
            Err(DecodeError::new::<Self>(Self::SIZE, bytes.len()))
        }
    }

    /// Reads a value from the start of `bytes` and returns the rest as well.
    ///
    /// # Errors
    /// When `bytes` is shorter than [`Self::SIZE`].
    fn decode_prefix(bytes: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        match bytes.split_at_checked(Self::SIZE) {
            Some((head, rest)) => Ok((Self::take(head), rest)),
            None => Err(DecodeError::new::<Self>(Self::SIZE, bytes.len())),
        }
    }
}

/// A body whose length does not fit what it claims to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The struct that was expected.
    pub what: &'static str,
    /// Bytes needed.
    pub need: usize,
    /// Bytes there were.
    pub got: usize,
}

impl DecodeError {
    /// An error for `T`.
    #[must_use]
    pub fn new<T: Wire>(need: usize, got: usize) -> Self {
        Self {
            what: T::NAME,
            need,
            got,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} bytes where {} are needed",
            self.what, self.got, self.need
        )
    }
}

impl std::error::Error for DecodeError {}

/// Whether a list may be followed by unused bytes. Some replies of the C
/// daemon are larger than their entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The list fills the body exactly.
    Exact,
    /// Unused bytes may follow.
    Slack,
}

/// Decodes `count` entries from the start of `bytes`.
///
/// # Errors
/// When `bytes` is too short for `count` entries or, under [`Tail::Exact`], longer.
pub fn decode_entries<T: Wire>(
    bytes: &[u8],
    count: usize,
    tail: Tail,
) -> Result<Vec<T>, DecodeError> {
    let need = count.saturating_mul(T::SIZE);
    let wrong = match tail {
        Tail::Exact => bytes.len() != need,
        Tail::Slack => bytes.len() < need,
    };
    if wrong || T::SIZE == 0 {
        return Err(DecodeError::new::<T>(need, bytes.len()));
    }
    Ok(bytes
        .chunks_exact(T::SIZE)
        .take(count)
        .map(T::take)
        .collect())
}

/// Decodes a header and the entries it counts.
///
/// # Errors
/// When the body is too short or, under [`Tail::Exact`], longer than its count says.
pub fn decode_list<H: Wire, T: Wire>(
    bytes: &[u8],
    tail: Tail,
    count: impl FnOnce(&H) -> usize,
) -> Result<(H, Vec<T>), DecodeError> {
    let (head, rest) = H::decode_prefix(bytes)?;
    let n = count(&head);
    let entries = decode_entries(rest, n, tail)?;
    Ok((head, entries))
}

/// Decodes a 4-byte count and the entries that follow: the form of most lists.
///
/// # Errors
/// As [`decode_list`]; a negative count reads as one that cannot fit.
pub fn decode_counted<T: Wire>(bytes: &[u8], tail: Tail) -> Result<Vec<T>, DecodeError> {
    let (_, list) = decode_list::<i32, T>(bytes, tail, |n| count_of(*n))?;
    Ok(list)
}

/// Decodes a body that is entries and nothing else.
///
/// # Errors
/// When the length is no multiple of the entry's size.
pub fn decode_bare<T: Wire>(bytes: &[u8]) -> Result<Vec<T>, DecodeError> {
    decode_entries(bytes, bytes.len() / T::SIZE.max(1), Tail::Exact)
}

/// A signed count from the wire; negative ones can never fit a body.
#[must_use]
pub fn count_of(n: i32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Encodes a header and the entries behind it.
#[must_use]
pub fn encode_list<H: Wire, T: Wire>(head: &H, entries: &[T]) -> Vec<u8> {
    let mut out = head.encode();
    append_entries(&mut out, entries);
    out
}

/// Encodes a 4-byte count and the entries behind it.
#[must_use]
pub fn encode_counted<T: Wire>(entries: &[T]) -> Vec<u8> {
    encode_list(&i32::try_from(entries.len()).unwrap_or(i32::MAX), entries)
}

/// Appends entries to a body.
pub fn append_entries<T: Wire>(out: &mut Vec<u8>, entries: &[T]) {
    let start = out.len();
    out.resize(start + entries.len() * T::SIZE, 0);
    if let Some(room) = out.get_mut(start..) {
        for (entry, slot) in entries.iter().zip(room.chunks_exact_mut(T::SIZE.max(1))) {
            entry.put(slot);
        }
    }
}

/// Writes a field at its offset.
pub(crate) fn put_at<T: Wire>(out: &mut [u8], offset: usize, value: &T) {
    if let Some(slot) = out.get_mut(offset..) {
        value.put(slot);
    }
}

/// Reads a field at its offset.
pub(crate) fn take_at<T: Wire>(bytes: &[u8], offset: usize) -> T {
    T::take(bytes.get(offset..).unwrap_or(&[]))
}

/// Compile-time check of one field: it starts behind the one before, with no
/// more than alignment between them. Returns where it ends.
pub(crate) const fn field_end(previous_end: usize, offset: usize, size: usize) -> usize {
    assert!(offset >= previous_end, "field overlaps the one before it");
    assert!(
        offset - previous_end < 8,
        "a field is missing before this one"
    );
    offset + size
}

/// Compile-time check of a struct's size.
pub(crate) const fn size_holds(end: usize, size: usize) {
    assert!(end <= size, "fields reach past the struct");
    assert!(size - end < 8, "a field is missing at the end");
}

macro_rules! wire_int {
    ($($t:ty),+) => {$(
        impl Wire for $t {
            const NAME: &'static str = stringify!($t);
            const SIZE: usize = size_of::<$t>();
            fn put(&self, out: &mut [u8]) {
                put_bytes(out, &self.to_ne_bytes());
            }
            fn take(bytes: &[u8]) -> Self {
                Self::from_ne_bytes(take_bytes(bytes))
            }
        }
    )+};
}
wire_int!(u8, u16, u32, u64, i16, i32);

pub(crate) fn put_bytes<const N: usize>(out: &mut [u8], value: &[u8; N]) {
    if let Some(slot) = out.first_chunk_mut::<N>() {
        *slot = *value;
    }
}

pub(crate) fn take_bytes<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk::<N>().copied().unwrap_or([0; N])
}

impl<T: Wire, const N: usize> Wire for [T; N] {
    const NAME: &'static str = T::NAME;
    const SIZE: usize = T::SIZE * N;
    fn put(&self, out: &mut [u8]) {
        for (i, value) in self.iter().enumerate() {
            put_at(out, i * T::SIZE, value);
        }
    }
    fn take(bytes: &[u8]) -> Self {
        std::array::from_fn(|i| take_at(bytes, i * T::SIZE))
    }
}

/// Declares a message: the struct, its encoding, its decoding and its size.
///
/// Each field names its offset; the size of the whole stands in brackets. A
/// wrong offset, an overlap or a hole of 8 bytes or more does not compile.
macro_rules! wire_struct {
    (
        $(#[$meta:meta])*
        pub struct $name:ident[$size:literal] {
            $( $(#[$fmeta:meta])* $off:literal $field:ident: $ty:ty, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$fmeta])* pub $field: $ty, )+
        }

        impl $crate::wire::Wire for $name {
            const NAME: &'static str = stringify!($name);
            const SIZE: usize = $size;
            fn put(&self, out: &mut [u8]) {
                $( $crate::wire::put_at(out, $off, &self.$field); )+
            }
            fn take(bytes: &[u8]) -> Self {
                Self { $( $field: $crate::wire::take_at(bytes, $off), )+ }
            }
        }

        const _: () = {
            let end = 0;
            $( let end = $crate::wire::field_end(end, $off, <$ty as $crate::wire::Wire>::SIZE); )+
            $crate::wire::size_holds(end, $size);
        };
    };
}
pub(crate) use wire_struct;
