//! genhash against a web server of the test's own and against nginx, with what
//! the C program prints as the measure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

/// MD5 of `<html>hello</html>` and a line end.
const HELLO: &str = "b328c4e3d6de7ace5192977fc079f644\n";

fn genhash(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_genhash"));
    command.args(words).output().unwrap()
}

fn said(words: &[&str]) -> (i32, String, String) {
    let out = genhash(words);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        out.status.code().unwrap(),
        text(out.stdout),
        text(out.stderr),
    )
}

/// A server for one request: its port, and what it was asked.
fn server(answer: &'static [u8]) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        stream.write_all(answer).unwrap();
        String::from_utf8(request).unwrap()
    });
    (port, asked)
}

const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\nContent-Type: text/html\r\n\
                      Connection: close\r\n\r\n<html>hello</html>\n";

#[test]
fn requests_and_digests() {
    for (words, line, close) in [
        (&[][..], "HTTP/1.0", false),
        (&["-P", "1.0"], "HTTP/1.0", false),
        (&["-P", "1.0c"], "HTTP/1.0", true),
        (&["--protocol=1.1"], "HTTP/1.1", true),
    ] {
        let (port, asked) = server(PAGE);
        let mut all = vec!["-s", "127.0.0.1", "-p", &port, "-u", "/x?y=1"];
        all.extend(words);
        assert_eq!(
            said(&all),
            (0, HELLO.to_owned(), String::new()),
            "{words:?}"
        );
        let close = if close { "Connection: close\r\n" } else { "" };
        let wanted = format!(
            "GET /x?y=1 {line}\r\nUser-Agent: KeepAliveClient\r\n{close}\
             Host: 127.0.0.1:{port}\r\n\r\n"
        );
        assert_eq!(asked.join().unwrap(), wanted);
    }
    let (port, asked) = server(PAGE);
    said(&[
        "-s127.0.0.1",
        "--port",
        &port,
        "--url=/",
        "-V",
        "www.example.test",
    ]);
    assert!(
        asked
            .join()
            .unwrap()
            .contains("\r\nHost: www.example.test\r\n")
    );
    // Chunks are taken as they are.
    let (port, _) =
        server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let chunked = said(&["-s", "127.0.0.1", "-p", &port, "-u", "/"]);
    assert_eq!(chunked.1, "79e9489e3bd3f0cb0158215341de046d\n");
}

#[test]
fn verbose() {
    let (port, _) = server(PAGE);
    let (code, out, _) = said(&["-v", "-s", "127.0.0.1", "-p", &port, "-u", "/"]);
    assert_eq!(code, 0);
    let wanted = "\
-----------------------[    HTTP Header Buffer    ]-----------------------
0000  48 54 54 50 2f 31 2e 31 - 20 32 30 30 20 4f 4b 0d   HTTP/1.1 200 OK.
0016  0a 43 6f 6e 74 65 6e 74 - 2d 4c 65 6e 67 74 68 3a   .Content-Length:
0032  20 31 39 0d 0a 43 6f 6e - 74 65 6e 74 2d 54 79 70    19..Content-Typ
0048  65 3a 20 74 65 78 74 2f - 68 74 6d 6c 0d 0a 43 6f   e: text/html..Co
0064  6e 6e 65 63 74 69 6f 6e - 3a 20 63 6c 6f 73 65 0d   nnection: close.
0080  0a 0d 0a                -                           ...             
-----------------------[ HTTP Header Ascii Buffer ]-----------------------
HTTP/1.1 200 OK
Content-Length: 19
Content-Type: text/html
Connection: close


-----------------------[        HTML Buffer        ]-----------------------
0000  3c 68 74 6d 6c 3e 68 65 - 6c 6c 6f 3c 2f 68 74 6d   <html>hello</htm
0016  6c 3e 0a                -                           l>.             

-----------------------[    HTML hash resulting    ]-----------------------
0000  b3 28 c4 e3 d6 de 7a ce - 51 92 97 7f c0 79 f6 44   .(....z.Q....y.D
-----------------------[ HTML hash final resulting ]-----------------------
b328c4e3d6de7ace5192977fc079f644

Global response time for [/] = ";
    let plain = out.replace('\r', "");
    let time = plain
        .strip_prefix(wanted)
        .unwrap_or_else(|| panic!("{plain}"));
    let time = time.strip_suffix(" usecs\n").unwrap();
    assert!(time.parse::<u64>().is_ok(), "{time}");
}

#[test]
fn servers_that_are_none() {
    // Said on standard output, and no error, as ever.
    // Held but not listened on: nobody else may get it meanwhile.
    let gone = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    gone.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let port = gone.local_addr().unwrap().as_socket().unwrap().port();
    let port = port.to_string();
    let refused = said(&["-s", "127.0.0.1", "-p", &port, "-u", "/"]);
    assert_eq!(
        refused,
        (0, "Connection failed\n".to_owned(), String::new())
    );
    let (port, _) = server(b"SSH-2.0-whatever\r\n");
    let odd = said(&["-s", "127.0.0.1", "-p", &port, "-u", "/"]);
    assert_eq!(odd.1, "no data received from remote webserver\n");
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port().to_string();
    let silent = said(&["-s", "127.0.0.1", "-p", &port, "-u", "/", "-t", "1"]);
    assert_eq!((silent.0, silent.1.as_str()), (0, "Timeout\n"));
}

#[test]
fn wrong_words() {
    for (words, line) in [
        (&[][..], ""),
        (&["-h"], ""),
        (&["--bogus"], ""),
        (&["-s", "10.0.0.11"], ""),
        (&["-s"], ""),
        (
            &["-s", "bogus", "-p", "80", "-u", "/"],
            "server should be an IP, not bogus\n",
        ),
        (
            &["-s", "::1", "-p", "x", "-u", "/"],
            "invalid port number 'x'\n",
        ),
        (
            &["-s", "::1", "-p", "70000", "-u", "/"],
            "invalid port number '70000'\n",
        ),
        (
            &["-s", "::1", "-p", "0", "-u", "/"],
            "invalid port number '0'\n",
        ),
        (&["-P", "9"], "invalid HTTP protocol version '9'\n"),
        (&["-t", "x"], "invalid timeout 'x'\n"),
        (&["-m", "x"], "invalid fwmark 'x'\n"),
        (&["-H", "SHA1"], "Unknown option -H\n"),
        (
            &["-s", "::1", "-p", "80", "-u", "/", "extra"],
            "Unexpected argument(s): extra\n",
        ),
        (
            &["-S", "-s", "::1", "-p", "80", "-u", "/"],
            "genhash: there is no TLS in this build\n",
        ),
    ] {
        let (code, out, err) = said(words);
        assert_eq!((code, out.as_str()), (1, ""), "{words:?}");
        let rest = err
            .strip_prefix(line)
            .unwrap_or_else(|| panic!("{words:?}: {err}"));
        assert!(
            rest.starts_with("Usage: genhash COMMAND [OPTIONS]\n"),
            "{words:?}: {err}"
        );
    }
}

/// A real web server that keeps connections open, and a page of a megabyte.
#[test]
fn nginx() {
    if Command::new("nginx")
        .arg("-v")
        .stderr(Stdio::null())
        .status()
        .is_err()
    {
        eprintln!("nginx is not installed: genhash is not tried with it");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display().to_string();
    // An address of its own, so that nobody else has the port.
    let [.., high, low] = std::process::id().to_be_bytes();
    let (own, port) = (format!("127.80.{high}.{low}"), 8080);
    let page: Vec<u8> = (0..1_000_000u32).map(|n| b'a' + (n % 26) as u8).collect();
    std::fs::write(dir.path().join("page"), &page).unwrap();
    let conf = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/log;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {at}; proxy_temp_path {at};\n\
         fastcgi_temp_path {at}; uwsgi_temp_path {at}; scgi_temp_path {at};\n\
         server {{ listen {own}:{port}; root {at}; }} }}\n"
    );
    std::fs::write(dir.path().join("conf"), conf).unwrap();
    let mut nginx = Command::new("nginx")
        .args(["-e", &format!("{at}/log"), "-c", &format!("{at}/conf")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let up = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(50));
        TcpStream::connect((own.as_str(), port)).is_ok()
    });
    let port = port.to_string();
    let answers = ["1.0", "1.1"]
        .map(|version| said(&["-s", &own, "-p", &port, "-u", "/page", "-P", version]));
    let _ = nginx.kill();
    let _ = nginx.wait();
    assert!(up, "nginx does not listen");
    for answer in answers {
        assert_eq!(answer.1, "78e6ab78dbf743dd228e404685954668\n");
    }
}
