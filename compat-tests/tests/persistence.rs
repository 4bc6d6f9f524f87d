//! Clients that come back, and servers that are full, leave, die or are missing, end
//! to end: curl, nginx, SIP datagrams and the daemon with two workers.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use compat_tests::lab::many::{SERVERS, client};
use compat_tests::lab::modes::{LOCAL4, SOON, at};
use compat_tests::lab::{Lab, START, Slot, addr};
use compat_tests::privilege::root_or_skip;
use compat_tests::{Context, Result, wait};

const SECOND: Duration = Duration::from_secs(1);

/// A service at a port of the VIP with these servers.
fn service(lab: &Lab, kind: &str, port: u16, how: &str, servers: &[(&str, &str)]) -> Result<()> {
    let vip = format!("{kind} {}:{port}", addr::VIP4);
    let mut text = format!("-A {vip} {how}\n-P {vip} -z {LOCAL4} -F dpdk1\n");
    let to = match (kind, port) {
        (_, 0) => 0,
        ("-u", _) => 5353,
        _ => 80,
    };
    for (server, how) in servers {
        text += &format!("-a {vip} -r {server}:{to} -b {how}\n");
    }
    lab.restore(&text)
}

fn edit(lab: &Lab, port: u16, server: &str, how: &[&str]) -> Result<()> {
    let (vip, server) = (format!("{}:{port}", addr::VIP4), format!("{server}:80"));
    lab.set(&[&["-e", "-t", &vip, "-r", &server, "-b"], how].concat())
}

/// A socket of a client's, waiting a moment for answers.
fn socket(lab: &Lab, from: &str) -> Result<UdpSocket> {
    lab.client.enter(|| {
        let socket = UdpSocket::bind((from, 0)).what(|| "UDP client")?;
        let moment = Some(Duration::from_millis(700));
        socket.set_read_timeout(moment).what(|| "time-out")?;
        Ok(socket)
    })
}

/// Which server answers a datagram, if one does.
fn ask(socket: &UdpSocket, port: u16, data: &[u8]) -> Result<Option<String>> {
    let to = at(addr::VIP4, port)?;
    socket.send_to(data, to).what(|| "datagram")?;
    let mut buffer = [0; 2048];
    let Ok(len) = socket.recv(&mut buffer) else {
        return Ok(None);
    };
    Ok(Some(
        String::from_utf8_lossy(&buffer[..len.min(2)]).into_owned(),
    ))
}

#[test]
fn clients_come_back_and_servers_come_and_go() -> Result<()> {
    if !root_or_skip("clients_come_back_and_servers_come_and_go")? {
        return Ok(());
    }
    let _turn = Slot::wait()?;
    let mut lab = Lab::with_many("persist", |conf| conf)?;
    lab.with_logs(|lab| {
        let _echo = lab.echo_servers(5353)?;
        persistence(lab)?;
        all_ports(lab)?;
        sip(lab)?;
        one_packet(lab)?;
        thresholds(lab)?;
        lower_threshold(lab)?;
        quiescent(lab)?;
        conn_timeout(lab)?;
        dead_server(lab)?;
        by_keepalived(lab)?;
        lab.still_running()
    })
}

const TWO: [(&str, &str); 2] = [(SERVERS[0], ""), (SERVERS[2], "")];

fn persistence(lab: &Lab) -> Result<()> {
    service(lab, "-t", 2001, "-s rr -p 3 -M 255.255.255.252", &TWO)?;
    // Four neighbours are one client, to both workers.
    for group in [[3, 4, 5, 6], [7, 8, 9, 10]] {
        let mut seen = Vec::new();
        for n in group {
            seen.extend(lab.answers(&client(n), 2001, 4)?);
        }
        assert_eq!(seen.len(), 16, "{seen:?}");
        seen.dedup();
        assert_eq!(seen.len(), 1, "{seen:?}");
    }
    let list = lab.listed("-t", 2001, &["--persistent-conn"])?;
    let templates = |w: &Vec<String>| w.get(1).and_then(|n| n.parse::<u32>().ok());
    let sum: u32 = list.values().filter_map(templates).sum();
    assert!(sum >= 2, "{list:?}");
    // They are listed with the network for a client, and gone after their time.
    let count = || -> Result<usize> {
        let list = lab.ipvsadm(&["-Lnc", "--persistent-conn"])?.success()?;
        Ok(list.matches("192.0.2.10:2001 ").count())
    };
    let list = lab.ipvsadm(&["-Lnc", "--persistent-conn"])?.success()?;
    assert!(list.contains("192.0.2.104:0 "), "{list}");
    wait::until_true("the templates' end", 4 * SOON, || Ok(count()? == 0))?;
    let saved = lab.ipvsadm(&["-Sn"])?.success()?;
    assert!(saved.contains("-s rr -p 3 -M 255.255.255.252"), "{saved}");
    Ok(())
}

/// One server for all ports of a client, at the ports it asked for.
fn all_ports(lab: &Lab) -> Result<()> {
    service(lab, "-t", 0, "-s rr -p 60", &TWO)?;
    let mut seen = Vec::new();
    for n in 0..3 {
        let mut mine = Vec::new();
        for port in [80, 8080, 80] {
            let answers = lab.answers(&client(n), port, 2)?;
            let right = format!(":{port}");
            assert!(
                answers.len() == 2 && answers.iter().all(|a| a.ends_with(&right)),
                "{port}: {answers:?}"
            );
            let host = |a: String| a.split(':').next().map(str::to_owned);
            mine.extend(answers.into_iter().filter_map(host));
        }
        mine.dedup();
        assert_eq!(mine.len(), 1, "{mine:?}");
        seen.extend(mine);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 2, "{seen:?}");
    let list = lab.ipvsadm(&["-Lnc", "--persistent-conn"])?.success()?;
    assert!(list.contains("192.0.2.10:0 "), "{list}");
    let saved = lab.ipvsadm(&["-Sn"])?.success()?;
    assert!(saved.contains("-A -t 192.0.2.10:0 -s rr -p 60"), "{saved}");
    lab.set(&["-D", "-t", "192.0.2.10:0"])?;
    assert_eq!(lab.answers(&client(0), 8080, 1)?, Vec::<String>::new());
    Ok(())
}

/// A call is where its Call-ID is, whoever sends.
fn sip(lab: &Lab) -> Result<()> {
    let all = SERVERS.map(|s| (s, ""));
    service(lab, "-u", 5060, "-s rr -p 60 --pe sip", &all)?;
    let mut calls = Vec::new();
    for call in 0..6 {
        let mut seen = Vec::new();
        for (n, method) in [(0, "INVITE"), (1, "ACK"), (2, "BYE")] {
            let from = client(n);
            let message = format!(
                "{method} sip:bob@192.0.2.10 SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {from}:5060;branch=z9hG4bK{call}{n}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:alice@{from}>;tag=1\r\n\
                 To: <sip:bob@192.0.2.10>\r\nCall-ID: {call}-77ef@lab\r\n\
                 CSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
            );
            seen.push(ask(&socket(lab, &from)?, 5060, message.as_bytes())?);
        }
        assert!(seen[0].is_some(), "call {call}: {seen:?}");
        seen.dedup();
        assert_eq!(seen.len(), 1, "call {call}: {seen:?}");
        calls.extend(seen);
    }
    calls.sort();
    calls.dedup();
    assert!(calls.len() > 1, "{calls:?}");
    let saved = lab.ipvsadm(&["-Sn"])?.success()?;
    assert!(saved.contains("-p 60 --pe sip"), "{saved}");
    Ok(())
}

/// Each datagram of one socket is scheduled for itself.
fn one_packet(lab: &Lab) -> Result<()> {
    service(lab, "-u", 2002, "-s rr -o", &TWO)?;
    let socket = socket(lab, &client(0))?;
    for _ in 0..10 {
        socket
            .send_to(b"log", at(addr::VIP4, 2002)?)
            .what(|| "datagram")?;
    }
    let mut list = Default::default();
    wait::until_true("five datagrams at each server", SOON, || {
        list = lab.listed("-u", 2002, &["--stats"])?;
        Ok(list
            .values()
            .all(|w| w.get(..2).is_some_and(|n| n == ["5", "5"])))
    })
    .map_err(|e| compat_tests::Error::new(format!("{e}: {list:?}")))?;
    let conns = lab.ipvsadm(&["-Lnc"])?.success()?;
    assert!(!conns.contains("192.0.2.10:2002 "), "{conns}");
    Ok(())
}

/// Of many that come at once a server gets exactly as many as it may have.
fn thresholds(lab: &Lab) -> Result<()> {
    service(lab, "-t", 2003, "-s rr", &[(SERVERS[0], "-x 7")])?;
    assert_eq!(lab.answers(&client(0), 2003, 1)?.len(), 1);
    wait::until_true("an idle server", SOON, || {
        let list = lab.listed("-t", 2003, &[])?;
        Ok(list["31"].get(2..4).is_some_and(|n| n == ["0", "0"]))
    })?;
    let held = lab.hold(&client(0), 2003, 16)?;
    assert_eq!(held.len(), 7);
    let list = lab.listed("-t", 2003, &["--thresholds"])?;
    assert_eq!(list["31"].get(..3).map(<[_]>::concat), Some("707".into()));
    // Both workers have some.
    let conns = lab.ipvsadm(&["-Lnc"])?.success()?;
    let of = |worker| {
        let mine = |l: &&str| l.starts_with(worker) && l.contains("192.0.2.10:2003 ");
        conns.lines().filter(mine).count()
    };
    assert_eq!(of("[1]") + of("[2]"), 7, "{conns}");
    // More at once when it may have more.
    edit(lab, 2003, SERVERS[0], &["-x", "9"])?;
    assert_eq!(lab.hold(&client(0), 2003, 6)?.len(), 2);
    Ok(())
}

/// One that was full is so until it has less than the lower threshold.
fn lower_threshold(lab: &Lab) -> Result<()> {
    let how = "-s rr --conn-timeout 3";
    service(lab, "-u", 2004, how, &[(SERVERS[0], "-x 6 -y 3")])?;
    let sockets = (0..6)
        .map(|_| socket(lab, &client(0)))
        .collect::<Result<Vec<_>>>()?;
    for socket in &sockets {
        assert!(ask(socket, 2004, b"x")?.is_some());
    }
    assert_eq!(ask(&socket(lab, &client(1))?, 2004, b"x")?, None);
    // Three stay: not enough.
    for _ in 0..5 {
        for socket in &sockets[..3] {
            assert!(ask(socket, 2004, b"x")?.is_some());
        }
        std::thread::sleep(SECOND);
    }
    assert_eq!(ask(&socket(lab, &client(1))?, 2004, b"x")?, None);
    // None: it may have six again.
    let fresh = (0..7)
        .map(|_| socket(lab, &client(2)))
        .collect::<Result<Vec<_>>>()?;
    wait::until_true("room", 2 * SOON, || {
        Ok(ask(&fresh[0], 2004, b"x")?.is_some())
    })?;
    Ok(())
}

/// A request on a connection that is there.
fn again(stream: &mut TcpStream) -> bool {
    let _ = stream.set_read_timeout(Some(2 * SECOND));
    let mut buffer = [0; 1024];
    stream
        .write_all(b"GET /addr HTTP/1.1\r\nHost: a\r\n\r\n")
        .is_ok()
        && stream.read(&mut buffer).is_ok_and(|n| n > 0)
}

fn quiescent(lab: &Lab) -> Result<()> {
    service(lab, "-t", 2005, "-s rr", &[(SERVERS[0], "")])?;
    service(
        lab,
        "-t",
        2006,
        "-s rr --expire-quiescent",
        &[(SERVERS[0], "")],
    )?;
    for (port, lives) in [(2005, true), (2006, false)] {
        let mut held = lab.hold(&client(0), port, 1)?;
        assert!(again(&mut held[0]), "port {port}");
        edit(lab, port, SERVERS[0], &["-w", "0"])?;
        assert_eq!(again(&mut held[0]), lives, "port {port}");
        assert_eq!(lab.answers(&client(0), port, 1)?, Vec::<String>::new());
    }
    // A persistent client stays with a drained server, until dpvs.conf says otherwise.
    service(lab, "-t", 2007, "-s rr -p 100", &TWO)?;
    let first = lab.answers(&client(0), 2007, 1)?;
    let server = first[0].trim_end_matches(":80");
    edit(lab, 2007, server, &["-w", "0"])?;
    assert_eq!(lab.answers(&client(0), 2007, 1)?, first);
    lab.reload(|conf| {
        let line = "conn_init_timeout       3\n";
        conf.replace(line, &format!("{line}expire_quiescent_template\n"))
    })?;
    wait::until_true("another server", SOON, || {
        let answers = lab.answers(&client(0), 2007, 1)?;
        Ok(answers.len() == 1 && answers != first)
    })?;
    Ok(())
}

/// An idle connection is over after the service's time; both ends hear of it.
fn conn_timeout(lab: &Lab) -> Result<()> {
    service(
        lab,
        "-t",
        2008,
        "-s rr --conn-timeout 2",
        &[(SERVERS[0], "")],
    )?;
    let mut held = lab.hold(&client(0), 2008, 1)?;
    assert!(again(&mut held[0]));
    let _ = held[0].set_read_timeout(Some(2 * SOON));
    let mut buffer = [0; 1024];
    let end = held[0].read(&mut buffer).map_err(|e| e.kind());
    assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
    Ok(())
}

/// A server that dies is taken out by what its connections tell, and comes back.
fn dead_server(lab: &mut Lab) -> Result<()> {
    let how = "-s rr --dest-check 1,1,3s,2-3600s";
    service(lab, "-t", 2009, how, &TWO)?;
    assert_eq!(lab.spread(&client(0), 2009, 8)?.len(), 2);
    lab.stop_nginx(1)?;
    wait::until_true("the dead server to be taken out", SOON, || {
        lab.answers(&client(0), 2009, 2)?;
        let list = lab.listed("-t", 2009, &[])?;
        let out = &list["33"];
        Ok(out.get(1).is_some_and(|w| w == "0") && out.contains(&"inhibited".into()))
    })?;
    let spread = lab.spread(&client(0), 2009, 6)?;
    assert_eq!(spread.get("31"), Some(&6), "{spread:?}");
    lab.start_nginx(1)?;
    wait::until_true("the server to be let back", 4 * SOON, || {
        Ok(lab.spread(&client(0), 2009, 4)?.contains_key("33"))
    })?;
    let saved = lab.ipvsadm(&["-Sn"])?.success()?;
    assert!(saved.contains("--dest-check 1,1,3s,2-3600s"), "{saved}");
    Ok(())
}

/// The same said in keepalived.conf; nobody is there but the sorry server.
fn by_keepalived(lab: &mut Lab) -> Result<()> {
    let dead = |server: &str| {
        format!(
            "real_server {server} 81 {{\n weight 3\n inhibit_on_failure\n \
             TCP_CHECK {{\n connect_timeout 1\n retry 0\n }}\n }}\n"
        )
    };
    let conf = format!(
        "global_defs {{\n router_id lab\n}}\n\
         local_address_group inside {{\n {LOCAL4} dpdk1\n}}\n\
         virtual_server {} 2010 {{\n delay_loop 1\n lb_algo conhash\n hash_target sip\n \
         lb_kind FNAT\n protocol TCP\n laddr_group_name inside\n persistence_timeout 50\n \
         persistence_granularity 255.255.255.0\n expire_quiescent_conn\n \
         establish_timeout 77\n sorry_server {} 80\n {}{}}}\n",
        addr::VIP4,
        SERVERS[3],
        dead(SERVERS[0]),
        dead(SERVERS[1]),
    );
    lab.start_keepalived_with(&conf)?;
    wait::until_true("the sorry server", START, || {
        Ok(lab.answers(&client(0), 2010, 1)? == [format!("{}:80", SERVERS[3])])
    })?;
    let vip = format!("{}:2010", addr::VIP4);
    let list = lab.ipvsadm(&["-Ln", "-t", &vip])?.success()?;
    for want in [
        "conhash",
        "persistent 50",
        "mask 255.255.255.0",
        "expire-quiescent",
        "conn-timeout 77",
    ] {
        assert!(list.contains(want), "{want}: {list}");
    }
    Ok(())
}
