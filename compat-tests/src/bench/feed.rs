//! A port that brings the handshakes, once: `net_pcap` reading from a pipe.
//!
//! A replayed file begins at once and never ends; connections have to be opened
//! when the service is there, and once. The worker waits while its pipe is
//! empty, so a thread keeps it full of frames that nobody wants until it is
//! told what to send. When this is dropped the port has nothing more to read.

use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::bench::pcap::{FRAME, Records};
use crate::error::{Context, Error, Result};

/// The pipe before the director has opened it.
#[derive(Debug)]
pub struct Pipe {
    path: PathBuf,
    /// Holds the header until it is read.
    header: File,
}

impl Pipe {
    /// Makes it, with a file header waiting in it.
    ///
    /// # Errors
    /// When there is something of that name.
    pub fn create(path: &Path) -> Result<Self> {
        let what = || path.display().to_string();
        mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).what(what)?;
        // Open at both ends, so that nobody waits for the other one.
        let header = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .what(what)?;
        Records::begin(&header).what(what)?;
        Ok(Self {
            path: path.to_owned(),
            header,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins to feed the director, which has it open by now.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn feed(self) -> Result<Feed> {
        let what = || self.path.display().to_string();
        let file = OpenOptions::new().write(true).open(&self.path).what(what)?;
        // From here on writing fails when the director has gone.
        drop(self.header);
        let (queue, orders) = channel();
        let thread = std::thread::spawn(move || pump(file, &orders));
        Ok(Feed {
            queue: Some(queue),
            thread: Some(thread),
        })
    }
}

/// The running feed.
#[derive(Debug)]
pub struct Feed {
    queue: Option<Sender<(Vec<u8>, Sender<()>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Sends these frames; comes back when the director has read them.
    ///
    /// # Errors
    /// When it has gone.
    pub fn send(&self, frames: impl Iterator<Item = Vec<u8>>) -> Result<()> {
        let mut records = Records::resume(Vec::new());
        for frame in frames {
            records.frame(&frame).what(|| "frames in memory")?;
        }
        let (done, wait) = channel();
        let sent = self
            .queue
            .as_ref()
            .and_then(|queue| queue.send((records.into_inner(), done)).ok());
        sent.and_then(|()| wait.recv().ok())
            .ok_or_else(|| Error::new("the director reads no more handshakes"))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes what it is told to, and otherwise what nobody wants.
fn pump(file: File, orders: &Receiver<(Vec<u8>, Sender<()>)>) {
    // More of these than a pipe and a reader's buffer hold.
    const BEHIND: usize = 4096;
    let nobody = vec![0x88_u8; FRAME];
    let mut filler = Records::resume(BufWriter::new(&file));
    loop {
        match orders.try_recv() {
            Ok((bytes, done)) => {
                let pushed = filler
                    .write_all(&bytes)
                    .and_then(|()| (0..BEHIND).try_for_each(|_| filler.frame(&nobody)));
                if pushed.is_err() {
                    return;
                }
                let _ = done.send(());
            }
            Err(TryRecvError::Empty) => {
                if (0..32).try_for_each(|_| filler.frame(&nobody)).is_err() {
                    return;
                }
            }
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn frames_come_between_filling() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = Pipe::create(&dir.path().join("pipe")).unwrap();
        let mut file = File::open(pipe.path()).unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let feed = pipe.feed().unwrap();
        let frames: Vec<Vec<u8>> = (0..5).map(|n| vec![n; FRAME]).collect();
        feed.send(frames.clone().into_iter()).unwrap();
        drop(feed);
        let bytes = reader.join().unwrap();
        let read: Vec<&[u8]> = bytes[24..]
            .chunks(16 + FRAME)
            .map(|record| &record[16..])
            .filter(|frame| frame[0] != 0x88)
            .collect();
        assert_eq!(read, frames);
    }
}
