use proptest::prelude::*;

use super::*;

fn known(src: &str, dst: &str) -> Ends {
    Ends::Known(src.parse().unwrap(), dst.parse().unwrap())
}

fn header(version: Version, len: usize, ends: Option<Ends>) -> Found {
    Found::Header { version, len, ends }
}

/// The examples of the specification, and the longest lines.
#[test]
fn text() {
    let ends = known("192.168.0.1:56324", "192.168.0.11:443");
    let line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
    assert_eq!(write(Version::V1, ends, true).bytes(), line);
    assert_eq!(read(line), header(Version::V1, line.len(), Some(ends)));
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let ends = known(&format!("[{longest}]:65535"), &format!("[{longest}]:65535"));
    let line = format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n");
    let made = write(Version::V1, ends, true);
    assert_eq!(made.bytes(), line.as_bytes());
    assert_eq!(
        read(made.bytes()),
        header(Version::V1, line.len(), Some(ends))
    );
    let unknown = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
    let found = header(Version::V1, unknown.len(), Some(Ends::Unknown));
    assert_eq!(read(format!("{unknown}GET /").as_bytes()), found);
    assert_eq!(
        write(Version::V1, Ends::Unknown, true).bytes(),
        b"PROXY UNKNOWN\r\n"
    );
}

#[test]
fn text_that_is_none() {
    for line in [
        "",
        "PROXY",
        "PROXY \r\n",
        "GET / HTTP/1.1\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 1\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 66443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 +6324 443\r\n",
        "PROXY TCP4 ::1 ::1 56324 443\r\n",
        "PROXY TCP6 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY  TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
    ] {
        assert_eq!(read(line.as_bytes()), Found::Nothing, "{line:?}");
    }
    // Longer than a line may be.
    let long = format!("PROXY UNKNOWN{}\r\n", " x".repeat(60));
    assert_eq!(read(long.as_bytes()), Found::Nothing);
}

#[test]
fn binary() {
    let signature = *b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a";
    let ends = known("198.51.100.7:40000", "192.0.2.10:80");
    let mut v4 = signature.to_vec();
    v4.extend([0x21, 0x11, 0, 12, 198, 51, 100, 7, 192, 0, 2, 10]);
    v4.extend([0x9c, 0x40, 0, 80]);
    assert_eq!(write(Version::V2, ends, true).bytes(), v4);
    assert_eq!(read(&v4), header(Version::V2, 28, Some(ends)));
    v4[13] = 0x12;
    assert_eq!(write(Version::V2, ends, false).bytes(), v4);

    // TLVs belong to the header; one may end beyond the payload.
    v4[15] = 12 + 7;
    assert_eq!(read(&v4), header(Version::V2, 35, Some(ends)));

    let ends = known("[2001:db8::1]:1", "[2001:db8::2]:65535");
    let v6 = write(Version::V2, ends, false);
    assert_eq!(v6.bytes().len(), 52);
    assert_eq!(v6.bytes()[12..16], [0x21, 0x22, 0, 36]);
    assert_eq!(read(v6.bytes()), header(Version::V2, 52, Some(ends)));

    let local = [&signature[..], &[0x20, 0, 0, 0]].concat();
    assert_eq!(read(&local), header(Version::V2, 16, Some(Ends::Unknown)));
    assert_eq!(write(Version::V2, Ends::Unknown, true).bytes(), local);
    let unix = [&signature[..], &[0x21, 0x31, 0, 216], &[0; 216]].concat();
    assert_eq!(read(&unix), header(Version::V2, 232, None));

    for bad in [
        &signature[..],
        &[&signature[..], &[0x11, 0x11, 0, 12], &[0; 12]].concat(),
        &[&signature[..], &[0x22, 0x11, 0, 12], &[0; 12]].concat(),
        &[&signature[..], &[0x21, 0x11, 0, 11], &[0; 12]].concat(),
        &[&signature[..], &[0x21, 0x21, 0, 12], &[0; 12]].concat(),
        &[&signature[..], &[0x21, 0x41, 0, 12], &[0; 12]].concat(),
        &[&signature[..], &[0x21, 0x11, 0xff, 0xff], &[0; 12]].concat(),
    ] {
        assert_eq!(read(bad), Found::Nothing, "{bad:x?}");
    }
}

#[test]
fn numbers_of_the_control_socket() {
    let all: Vec<_> = (0..=255)
        .filter(|n| Proxy::from_number(*n).is_some())
        .collect();
    assert_eq!(
        all.iter().filter(|n| **n < 0x20).collect::<Vec<_>>(),
        [&1, &2, &0x11, &0x12]
    );
    assert!(Proxy::from_number(0x12).unwrap().insecure);
    assert!(!Proxy::from_number(1).unwrap().insecure);
}

proptest! {
    /// What is written is read; and no bytes make the reader fail.
    #[test]
    fn there_and_back(src: (u128, u16), dst: (u128, u16), six: bool, text: bool, tail: Vec<u8>) {
        let addr = |(ip, port): (u128, u16)| -> SocketAddr {
            if six { (Ipv6Addr::from(ip), port).into() } else { (Ipv4Addr::from(ip as u32), port).into() }
        };
        let ends = Ends::Known(addr(src), addr(dst));
        let version = if text { Version::V1 } else { Version::V2 };
        let made = write(version, ends, true);
        let bytes = [made.bytes(), &tail].concat();
        prop_assert_eq!(read(&bytes), header(version, made.bytes().len(), Some(ends)));
        for cut in 0..made.bytes().len() {
            let _ = read(&bytes[..cut]);
        }
        let _ = read(&tail);
    }
}
