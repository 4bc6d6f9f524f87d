//! A stand-in for the daemon: takes requests on a socket of its own, keeps
//! them, and answers with whatever the test says.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use dpvs_ctl::ErrCode;
use dpvs_ctl::server::{Request, RequestDecoder};

/// The daemon's part of a test.
pub(crate) struct StandIn {
    socket: PathBuf,
    seen: Arc<Mutex<Vec<Request>>>,
    // Removes the socket when the test is over.
    _dir: tempfile::TempDir,
}

impl StandIn {
    /// A daemon that writes `answer`'s bytes, raw, to every request.
    pub(crate) fn raw(answer: impl Fn(&Request) -> Vec<u8> + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("dpvs.ipc");
        let listener = UnixListener::bind(&socket).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        // Ends with the test's process; a client that hangs does not block it.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if let Some(request) = read(&mut stream) {
                    let bytes = answer(&request);
                    log.lock().unwrap().push(request);
                    let _ = stream.write_all(&bytes);
                }
            }
        });
        Self {
            socket,
            seen,
            _dir: dir,
        }
    }

    /// A daemon that answers properly, with a body or a code.
    pub(crate) fn new(
        answer: impl Fn(&Request) -> Result<Vec<u8>, ErrCode> + Send + 'static,
    ) -> Self {
        Self::raw(move |request| match answer(request) {
            Ok(body) => request.reply(ErrCode::OK, &body),
            Err(code) => request.reply(code, &[]),
        })
    }

    /// Runs `dpip` with the words of `line`.
    pub(crate) fn dpip(&self, line: &str) -> Said {
        dpip(&self.socket, line)
    }

    /// Like [`Self::dpip`], but nobody reads what it prints.
    pub(crate) fn dpip_unread(&self, line: &str) -> Said {
        let mut child = command(&self.socket, line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        Said::from(child.wait_with_output().unwrap())
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn read(stream: &mut UnixStream) -> Option<Request> {
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut decoder = RequestDecoder::new();
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf) {
            Ok(0) | Err(_) => return None,
            Ok(n) => {
                if let Some(request) = decoder.push(&buf[..n]).unwrap() {
                    return Some(request);
                }
            }
        }
    }
}

/// What a run of `dpip` said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// Runs `dpip` against any socket.
pub(crate) fn dpip(socket: &Path, line: &str) -> Said {
    Said::from(command(socket, line).output().unwrap())
}

fn command(socket: &Path, line: &str) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(env!("CARGO_BIN_EXE_dpip"));
    command
        .arg0("dpip")
        .env("DPVS_IPC_FILE", socket)
        .args(line.split_whitespace());
    command
}

/// A file of golden output.
pub(crate) fn golden(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat-tests/golden/dpip");
    let path = dir.join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
