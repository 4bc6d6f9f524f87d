//! What a fuzz target is: a judge of bytes, and bytes to start from.

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// As the program is called.
    pub name: &'static str,
    /// Judges one input.
    pub run: fn(&[u8]),
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces worth putting into an input.
    pub words: &'static [&'static str],
}
