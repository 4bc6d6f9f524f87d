//! Huge pages for a measurement, given back afterwards.
//!
//! Reserved at run time, as root, where the kernel has them and memory is free.
//! Without them the programs run on ordinary pages and the report says so.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Context, Result};

const COUNT: &str = "/proc/sys/vm/nr_hugepages";
/// Bytes of a page.
const PAGE: usize = 2 << 20;

/// Pages to go back to, plus one; 0 while none are reserved here.
static GIVE_BACK: AtomicUsize = AtomicUsize::new(0);

/// Gives back what is reserved: for a run that is interrupted.
pub fn give_back() {
    if let Some(before) = GIVE_BACK.swap(0, Ordering::SeqCst).checked_sub(1) {
        let _ = fs::write(COUNT, before.to_string());
    }
}

/// Where packet memory is.
#[derive(Debug)]
pub enum Memory {
    /// In 2 MB pages, reserved until this is dropped.
    Huge,
    /// In ordinary pages.
    Ordinary,
}

impl Memory {
    /// Tries to have so many bytes in free huge pages.
    #[must_use]
    pub fn reserve(bytes: usize) -> Self {
        match Self::try_reserve(bytes) {
            Ok(true) => Self::Huge,
            Ok(false) | Err(_) => Self::Ordinary,
        }
    }

    fn try_reserve(bytes: usize) -> Result<bool> {
        let before = read_count()?;
        if info("Hugepagesize:")? != PAGE >> 10 {
            return Ok(false);
        }
        let used = before.saturating_sub(info("HugePages_Free:")?);
        let want = used + bytes.div_ceil(PAGE);
        GIVE_BACK.store(before + 1, Ordering::SeqCst);
        if want > before {
            fs::write(COUNT, want.to_string()).what(|| COUNT)?;
        }
        if read_count()? >= want {
            return Ok(true);
        }
        give_back();
        Ok(false)
    }

    /// EAL's options for it, for a process that needs so many bytes.
    #[must_use]
    pub fn eal_args(&self, bytes: usize) -> Vec<String> {
        match self {
            Self::Huge => vec!["--in-memory".into()],
            Self::Ordinary => vec![
                "--no-huge".into(),
                "--no-shconf".into(),
                "-m".into(),
                (bytes >> 20).to_string(),
            ],
        }
    }

    /// For the report.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Huge => "2 MB pages",
            Self::Ordinary => "ordinary pages",
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if matches!(self, Self::Huge) {
            give_back();
        }
    }
}

fn read_count() -> Result<usize> {
    let text = fs::read_to_string(COUNT).what(|| COUNT)?;
    text.trim().parse().what(|| COUNT)
}

fn info(name: &str) -> Result<usize> {
    let text = fs::read_to_string("/proc/meminfo").what(|| "/proc/meminfo")?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or("0");
    value.parse().what(|| format!("/proc/meminfo {name}"))
}
