//! Loads, lists and removes many services over one connection, then adds some by a
//! connection each, and says how long each took: `bulk SOCKET SERVICES SERVERS`.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Instant;

use dpvs_ctl::msg::{Dest, Service, ServiceDest, ServicesFront};
use dpvs_ctl::{Af, Be16, Client, CtlError, Ip16, Kind, Name, Session, Wire, id};

/// The n-th service, spread over addresses.
fn service(n: u32) -> Service {
    let at = SocketAddr::from(([10, 100, (n >> 8) as u8, n as u8], 80));
    Service {
        sched_name: Name::truncated("wrr"),
        ..Service::at(6, at)
    }
}

fn dest(n: u32, m: u32) -> Dest {
    let mut dest = Dest {
        af: Af::INET,
        addr: Ip16::from_ip([10, 200 + (m >> 8) as u8, m as u8, n as u8].into()),
        port: Be16::new(8080),
        weight: 1,
        ..Dest::default()
    };
    dest.set_fwd_mode(5);
    dest
}

/// Sends all, then takes what has not been answered yet.
fn all(
    session: &mut Session,
    requests: impl Iterator<Item = (u32, Kind, Vec<u8>)>,
) -> Result<Vec<Vec<u8>>, CtlError> {
    let mut answers = Vec::new();
    for (id, kind, body) in requests {
        session.send(id, kind, &body);
    }
    while session.pending() > 0 {
        answers.push(session.recv()?);
    }
    Ok(answers)
}

fn main() -> Result<(), CtlError> {
    let mut args = std::env::args().skip(1);
    let socket = args.next().unwrap_or_else(|| "/var/run/dpvs.ipc".into());
    let [services, servers] =
        [1000, 1].map(|or| args.next().map_or(or, |n| n.parse::<u32>().unwrap()));
    let client = Client::at(socket);
    let mut session = client.session();

    let start = Instant::now();
    all(
        &mut session,
        (0..services).flat_map(|n| {
            let add = (id::SO_SET_ADD, Kind::Set, service(n).encode());
            std::iter::once(add).chain((0..servers).map(move |m| {
                let both = ServiceDest {
                    service: service(n),
                    dest: dest(n, m),
                };
                (id::SO_SET_ADDDEST, Kind::Set, both.encode())
            }))
        }),
    )?;
    println!("load {:?}", start.elapsed());

    let start = Instant::now();
    let count = client.info()?.num_services;
    let front = ServicesFront {
        count: count as u16,
        ..ServicesFront::default()
    };
    let body = session.call(id::SO_GET_SERVICES, Kind::Get, &front.encode())?;
    println!("services {:?} ({} bytes)", start.elapsed(), body.len());
    let answers = all(
        &mut session,
        (0..services).map(|n| {
            let table = service(n).dest_table(servers, 0);
            (id::SO_GET_DESTS, Kind::Get, table.encode())
        }),
    )?;
    println!("list {:?} ({} answers)", start.elapsed(), answers.len());

    let start = Instant::now();
    session.call(id::SO_SET_FLUSH, Kind::Set, &[])?;
    println!("flush {:?}", start.elapsed());

    let mut each = Vec::new();
    for n in 0..services.min(1000) {
        let start = Instant::now();
        client.add_service(&service(n))?;
        each.push(start.elapsed());
    }
    each.sort_unstable();
    let middle = each.get(each.len() / 2).copied().unwrap_or_default();
    let mean = each.iter().sum::<std::time::Duration>() / services.clamp(1, 1000);
    println!("one by one {middle:?} in the middle, {mean:?} on average");
    client.flush_services()?;
    Ok(())
}
