//! What the targets of text share: samples of the repository as seeds.

use std::fs;
use std::path::Path;

/// The files of the repository with these paths.
pub(crate) fn samples(paths: &[&str]) -> Vec<Vec<u8>> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    paths
        .iter()
        .map(|p| fs::read(top.join(p)).unwrap_or_else(|e| panic!("{p}: {e}")))
        .collect()
}
