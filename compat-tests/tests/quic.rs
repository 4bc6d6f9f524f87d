//! QUIC end to end, with an implementation that is not ours: connections stay at their
//! server although the client's address and port change, because the server's
//! connection ids name it.
//!
//! The servers are `quinn` with ids made as DPVS's patches for QUIC servers make them.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use compat_tests::lab::many::{SERVERS, client};
use compat_tests::lab::modes::{LOCAL4, at};
use compat_tests::lab::{Lab, Slot, addr};
use compat_tests::netns::Netns;
use compat_tests::privilege::root_or_skip;
use compat_tests::{Context, Error, Result, run};
use quinn::rustls::RootCertStore;
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, ServerConfig,
    TokioRuntime, TransportConfig,
};
use tokio::runtime::{Builder, Runtime};

const PORT: u16 = 4433;

/// Ids that name a server's address and port: an octet of chance, three bits for the
/// address's length less one, one that a port follows; address and port from the
/// octet's lower half on; chance.
struct Named(Ipv4Addr);

impl ConnectionIdGenerator for Named {
    fn generate_cid(&mut self) -> ConnectionId {
        // Not for secrets, but never twice the same.
        let chance = RandomState::new().hash_one(PORT).to_be_bytes();
        let mut fields = self.0.octets().to_vec();
        fields.extend(PORT.to_be_bytes());
        let mut id = vec![chance[0], (4 - 1) << 5 | 0x10];
        for byte in fields {
            if let Some(last) = id.last_mut() {
                *last |= byte >> 4;
            }
            id.push(byte << 4);
        }
        if let Some(last) = id.last_mut() {
            *last |= chance[1] & 15;
        }
        id.extend(&chance[2..6]);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        12
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// A server that answers each stream by its name; it runs as long as the test.
fn serve(
    ns: &Netns,
    own: &'static str,
    cert: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
) -> Result<JoinHandle<()>> {
    let socket = ns.enter(|| UdpSocket::bind((own, PORT)).what(|| "QUIC server"))?;
    let addr: Ipv4Addr = own.parse().map_err(|_| Error::new("address"))?;
    let config = ServerConfig::with_single_cert(vec![cert], PrivateKeyDer::Pkcs8(key))
        .map_err(|e| Error::new(format!("certificate: {e}")))?;
    let mut endpoint = EndpointConfig::default();
    endpoint.cid_generator(move || Box::new(Named(addr)));
    let runtime = runtime()?;
    let work = async move {
        let server = Endpoint::new(endpoint, Some(config), socket, Arc::new(TokioRuntime));
        let Ok(server) = server else { return };
        while let Some(incoming) = server.accept().await {
            tokio::spawn(async move {
                let Ok(conn) = incoming.await else { return };
                while let Ok((mut send, mut recv)) = conn.accept_bi().await {
                    let _ = recv.read_to_end(1000).await;
                    let _ = send.write_all(own.as_bytes()).await;
                    let _ = send.finish();
                }
            });
        }
    };
    Ok(std::thread::spawn(move || runtime.block_on(work)))
}

fn runtime() -> Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.what(|| "runtime")
}

/// A certificate of the test's own.
fn certificate(lab: &Lab) -> Result<(CertificateDer<'static>, PrivatePkcs8KeyDer<'static>)> {
    let path = |name: &str| lab.file(name).display().to_string();
    let conf = "[req]\ndistinguished_name=dn\nx509_extensions=v3\nprompt=no\n[dn]\nCN=lab\n\
        [v3]\nsubjectAltName=DNS:lab\nbasicConstraints=critical,CA:FALSE\n";
    std::fs::write(path("quic.cnf"), conf).what(|| "quic.cnf")?;
    let (cnf, pem, der, key) = (
        path("quic.cnf"),
        path("quic.pem"),
        path("quic.der"),
        path("key"),
    );
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -outform DER -config";
    let args: Vec<&str> = make.split_whitespace().collect();
    run::must(
        "openssl",
        &[&args, &[&cnf[..], "-keyout", &pem, "-out", &der][..]].concat(),
    )?;
    let args = ["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"];
    run::must(
        "openssl",
        &[&args[..], &["-in", &pem, "-out", &key]].concat(),
    )?;
    let read = |path: &str| std::fs::read(path).what(|| path.to_owned());
    Ok((read(&der)?.into(), read(&key)?.into()))
}

/// A client's socket at an address and some port.
fn socket(ns: &Netns, from: &str) -> Result<UdpSocket> {
    let from: IpAddr = from.parse().map_err(|_| Error::new("address"))?;
    ns.enter(|| UdpSocket::bind((from, 0)).what(|| "QUIC client"))
}

/// Which server a connection's next stream reaches.
async fn asked(conn: &quinn::Connection) -> Result<String> {
    let ask = async {
        let (mut send, mut recv) = conn.open_bi().await.map_err(|e| e.to_string())?;
        send.write_all(b"who?").await.map_err(|e| e.to_string())?;
        send.finish().map_err(|e| e.to_string())?;
        recv.read_to_end(100).await.map_err(|e| e.to_string())
    };
    match tokio::time::timeout(Duration::from_secs(6), ask).await {
        Ok(Ok(name)) => Ok(String::from_utf8_lossy(&name).into_owned()),
        Ok(Err(e)) => Err(Error::new(e)),
        Err(_) => Err(Error::new("no answer")),
    }
}

/// Connects, asks, and asks again after each change of the client's address and port.
async fn roam(lab: &Lab, port: u16, roots: &RootCertStore, moves: u8) -> Result<Vec<String>> {
    let first = socket(&lab.client, &client(0))?;
    let config = EndpointConfig::default();
    let endpoint = Endpoint::new(config, None, first, Arc::new(TokioRuntime));
    let endpoint = endpoint.what(|| "QUIC client")?;
    let config = ClientConfig::with_root_certificates(Arc::new(roots.clone()));
    let mut config = config.map_err(|e| Error::new(e.to_string()))?;
    let mut transport = TransportConfig::default();
    let idle = Duration::from_secs(4).try_into();
    transport.max_idle_timeout(Some(idle.map_err(|_| Error::new("time-out"))?));
    config.transport_config(Arc::new(transport));
    let to = at(addr::VIP4, port)?;
    let conn = endpoint.connect_with(config, to, "lab");
    let conn = conn.map_err(|e| Error::new(e.to_string()))?;
    let conn = conn
        .await
        .map_err(|e| Error::new(format!("handshake: {e}")))?;
    let mut seen = vec![asked(&conn).await?];
    for n in 1..=moves {
        // Another port, every second time another address, too.
        let fresh = socket(&lab.client, &client(n / 2))?;
        endpoint.rebind(fresh).what(|| "another port")?;
        let answer = asked(&conn).await;
        seen.push(answer.map_err(|e| Error::new(format!("after move {n} from {seen:?}: {e}")))?);
    }
    conn.close(0_u8.into(), b"");
    endpoint.wait_idle().await;
    Ok(seen)
}

#[test]
fn a_quic_connection_stays_at_its_server_when_the_client_moves() -> Result<()> {
    if !root_or_skip("a_quic_connection_stays_at_its_server")? {
        return Ok(());
    }
    let _turn = Slot::wait()?;
    let mut lab = Lab::with_many("quic", |conf| conf)?;
    lab.with_logs(|lab| {
        let (cert, key) = certificate(lab)?;
        for (i, own) in SERVERS.iter().enumerate() {
            serve(&lab.servers[i / 2], own, cert.clone(), key.clone_key())?;
        }
        let mut text = String::new();
        for (port, how) in [(PORT, "--quic"), (PORT + 1, "")] {
            let vip = format!("-u {}:{port}", addr::VIP4);
            text += &format!("-A {vip} -s rr {how}\n-P {vip} -z {LOCAL4} -F dpdk1\n");
            for server in SERVERS {
                text += &format!("-a {vip} -r {server}:{PORT} -b\n");
            }
        }
        lab.restore(&text)?;
        let mut roots = RootCertStore::empty();
        roots.add(cert).map_err(|e| Error::new(e.to_string()))?;
        let runtime = runtime()?;
        let mut all = Vec::new();
        for _ in 0..3 {
            let mut seen = runtime.block_on(roam(lab, PORT, &roots, 6))?;
            assert_eq!(seen.len(), 7);
            seen.dedup();
            assert_eq!(seen.len(), 1, "moved to another server: {seen:?}");
            all.extend(seen);
        }
        // Who named whom: the first packets were scheduled in turn.
        all.sort();
        all.dedup();
        assert!(all.len() > 1, "{all:?}");
        let conns = lab.ipvsadm(&["-Lnc"])?.success()?;
        assert!(conns.matches("192.0.2.10:4433 ").count() >= 21, "{conns}");
        // Without the flag the scheduler sends a moved client elsewhere, sooner or later.
        let without = runtime.block_on(roam(lab, PORT + 1, &roots, 12));
        assert!(without.is_err(), "the test above cannot fail: {without:?}");
        lab.still_running()
    })
}
