//! Names, turns and leftovers: what lets labs of several runs live side by
//! side, and a killed run be cleaned up by the next.
//!
//! Each lab has a folder under /run/dpvs-lab with an owner file that its maker
//! holds locked; the kernel drops the lock with the process, however it ends. A
//! folder whose lock is free belongs to nobody any more, unless it says `kept`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Context, Error, Result};
use crate::netns::Netns;

/// The namespaces of a lab, by what they are for.
const ROLES: [&str; 5] = ["client", "director", "lan", "rs1", "rs2"];

/// What the owner file of a lab says that stays on purpose.
const KEPT: &str = "kept";

/// How long a test waits for its turn.
const TURN: Duration = Duration::from_secs(1200);

/// The folder of all labs.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from("/run/dpvs-lab")
}

/// The name of a namespace of a lab.
#[must_use]
pub fn namespace(lab: &str, role: &str) -> String {
    format!("{lab}-{role}")
}

/// Whether a lab of that name is up or left behind.
#[must_use]
pub fn exists(name: &str) -> bool {
    root().join(name).exists()
}

/// The right to a lab's name, held while the value lives.
#[derive(Debug)]
pub struct Owner {
    dir: PathBuf,
    lock: Flock<File>,
}

impl Owner {
    /// Takes the name `name`.
    ///
    /// # Errors
    /// When a lab of that name is up.
    pub fn take(name: &str) -> Result<Self> {
        let _all = lock_all()?;
        let dir = root().join(name);
        if dir.exists() {
            return Err(Error::new(format!(
                "a lab called {name} is up already ({}); `make demo-down` removes those of \
                 `make demo` and `make demo-shell`",
                dir.display()
            )));
        }
        std::fs::create_dir_all(&dir).what(|| dir.display().to_string())?;
        let mut file = open(&dir.join("owner"))?;
        writeln!(file, "{}", std::process::id()).what(|| "owner file")?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, e)| Error::new(format!("owner of {}: {e}", dir.display())))?;
        Ok(Self { dir, lock })
    }

    /// The folder of the lab.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Says that the lab is to stay when its maker ends.
    ///
    /// # Errors
    /// When the owner file cannot be written.
    pub fn keep(&mut self) -> Result<()> {
        self.lock.set_len(0).what(|| "owner file")?;
        self.lock.rewind().what(|| "owner file")?;
        writeln!(self.lock, "{KEPT}").what(|| "owner file")
    }

    /// Whether [`Owner::keep`] was called.
    #[must_use]
    pub fn kept(&self) -> bool {
        kept(&self.dir)
    }
}

/// Removes every lab whose maker is gone and that was not meant to stay.
///
/// # Errors
/// When one of them cannot be removed.
pub fn sweep() -> Result<()> {
    let _all = lock_all()?;
    let Ok(entries) = std::fs::read_dir(root()) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let dir = entry.path();
        if !dir.is_dir() || kept(&dir) {
            continue;
        }
        let free = match File::open(dir.join("owner")) {
            Ok(file) => Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok(),
            Err(_) => true,
        };
        if free {
            remove(&entry.file_name().to_string_lossy())?;
        }
    }
    Ok(())
}

/// Removes a lab by its name: its processes, namespaces and files. A lab that
/// is not there is fine.
///
/// # Errors
/// When something of it stays.
pub fn remove(name: &str) -> Result<()> {
    for role in ROLES {
        Netns::named(&namespace(name, role)).remove()?;
    }
    let dir = root().join(name);
    match std::fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(format!("{}: {e}", dir.display())))
        }
        _ => Ok(()),
    }
}

fn kept(dir: &Path) -> bool {
    let mut word = String::new();
    File::open(dir.join("owner"))
        .and_then(|mut f| f.read_to_string(&mut word))
        .is_ok_and(|_| word.trim() == KEPT)
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .what(|| path.display().to_string())
}

/// Held while labs are made and swept, never for long.
fn lock_all() -> Result<Flock<File>> {
    std::fs::create_dir_all(root()).what(|| root().display().to_string())?;
    Flock::lock(open(&root().join("lock"))?, FlockArg::LockExclusive)
        .map_err(|(_, e)| Error::new(format!("{}: {e}", root().display())))
}

/// A turn: a dataplane spins on a processor, so only as many run at once as
/// there are pairs of processors.
#[derive(Debug)]
pub struct Slot {
    _lock: Flock<File>,
}

impl Slot {
    /// Waits for a turn.
    ///
    /// # Errors
    /// When none comes in twenty minutes.
    pub fn wait() -> Result<Self> {
        std::fs::create_dir_all(root()).what(|| root().display().to_string())?;
        let slots = std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(3));
        let start = Instant::now();
        while start.elapsed() < TURN {
            for slot in 0..slots {
                let file = open(&root().join(format!("slot{slot}")))?;
                match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    Ok(lock) => return Ok(Self { _lock: lock }),
                    Err((_, Errno::EWOULDBLOCK)) => {}
                    Err((_, e)) => return Err(Error::new(format!("slot {slot}: {e}"))),
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(Error::new(
            "waited twenty minutes for the other labs to end",
        ))
    }
}
