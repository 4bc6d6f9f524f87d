//! Where the programs under test are.
//!
//! `DPVS_BIN_DIR` when set, else the release build of the workspace, as `make`
//! leaves it. A program that is missing is an error that says how to build it,
//! never a silently skipped test.

use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

/// The top of the source tree.
///
/// # Errors
/// When this crate has been moved out of it.
pub fn repository() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .map(Path::to_owned)
        .ok_or_else(|| Error::new(format!("{} has no parent folder", here.display())))
}

/// The folder of the programs under test.
///
/// # Errors
/// When the source tree cannot be found.
pub fn dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("DPVS_BIN_DIR") {
        return std::path::absolute(&dir).what(|| "DPVS_BIN_DIR");
    }
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => std::path::absolute(&target).what(|| "CARGO_TARGET_DIR")?,
        None => repository()?.join("target"),
    };
    Ok(target.join("release"))
}

/// The program `name`.
///
/// # Errors
/// When it has not been built.
pub fn path(name: &str) -> Result<PathBuf> {
    let path = dir()?.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::new(format!(
        "there is no {}: run `make build`, or set DPVS_BIN_DIR to the folder of the programs",
        path.display()
    )))
}
