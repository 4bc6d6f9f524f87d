//! ipvsadm: any words give a command or a message; so does every line of a
//! restore. What a command would send is encoded and read back.

use dpvs_ctl::Wire;
use dpvs_ctl::msg::{Dest, Service};
use ipvsadm::args::{self, Command};
use ipvsadm::names::Names;
use ipvsadm::{address, restore, specs};

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "ipvsadm",
    run,
    seeds,
    words: &[
        "-A ",
        "-E ",
        "-D ",
        "-a ",
        "-e ",
        "-d ",
        "-L ",
        "-n ",
        "-t ",
        "-u ",
        "-f ",
        "-s ",
        "wrr ",
        "192.0.2.1:80 ",
        "[2001:db8::1]:80 ",
        "-r ",
        "-w ",
        "-x ",
        "-y ",
        "-b ",
        "-g ",
        "-m ",
        "-i ",
        "-p ",
        "-M ",
        "-P ",
        "-Q ",
        "-G ",
        "-z ",
        "-F ",
        "eth0 ",
        "-H ",
        "src-range=",
        "dst-range=",
        "proto=tcp,",
        "--sockpair ",
        "--dest-check ",
        "--conn-timeout ",
        "--proxy-protocol ",
        "v2-insecure ",
        "--tun-type ",
        "gue ",
        "--tun-port ",
        "--",
        "=",
        "-1 ",
        "4294967296 ",
        "65536 ",
        "\n",
        "-k ",
        "-2 ",
        "-U ",
        "-V ",
        "-B ",
        "-K ",
        "-O ",
        "-T ",
        "10.0.0.1-10.0.0.2-7 ",
        "--json ",
        "--pe sip ",
        "--hash-target qid ",
    ],
};

/// Each line is a command line; the words of a restore may also start with the
/// program's name.
fn run(data: &[u8]) {
    let names = Names::offline();
    let text = String::from_utf8_lossy(data);
    for line in text.lines().take(64) {
        let mut words = Vec::new();
        let _ = restore::read_words(line.as_bytes(), false, &mut words);
        for restoring in [false, true] {
            match args::parse("ipvsadm", &words, &names, restoring) {
                Ok(command) => sent(&command),
                Err(failure) => assert_ne!(failure.exit_code(), 0, "{line}: failed with success"),
            }
        }
        for word in &words {
            values(word, &names);
        }
    }
}

fn sent(command: &Command) {
    let service = Service::decode(&command.service.encode());
    assert_eq!(service.as_ref(), Ok(&command.service));
    let dest = Dest::decode(&command.dest.encode());
    assert_eq!(dest.as_ref(), Ok(&command.dest));
    // What is shown of them must not fail either.
    let _ = names_of(&command.service);
}

fn names_of(svc: &Service) -> (String, String) {
    (specs::match_name(svc), specs::match_spec(svc))
}

/// Every word as any of the little languages.
fn values(word: &str, names: &Names) {
    let _ = address::parse(word, 6, names);
    let _ = address::parse_ip(word, names);
    let _ = address::number(word, i64::MIN, i64::MAX);
    if let Some(encap) = specs::parse_vxlan(word) {
        let text = specs::vxlan_text(&encap).unwrap_or_default();
        assert_eq!(specs::parse_vxlan(&text), Some(encap), "{word}");
    }
    let _ = specs::parse_sockpair(word);
    let _ = specs::parse_acl(word, names);
    let _ = specs::parse_proxy_protocol(word);
    let _ = specs::parse_sched_flags(word, "sh");
    if let Some(spec) = specs::parse_match(word) {
        let svc = Service {
            af: spec.af,
            matched: spec.matched,
            ..Service::default()
        };
        let _ = names_of(&svc);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "-A -t 192.0.2.1:80 -s wrr -p 300 -M 255.255.255.0\n-a -t 192.0.2.1:80 -r 10.0.0.1:80 -b -w 5\n",
        "-A -t [2001:db8::1]:443 -s sh -b sh-port,sh-fallback\n-P -z [2001:db8::2] -F dpdk1 -t [2001:db8::1]:443\n",
        "-A -u 192.0.2.1:53 -s conhash --conn-timeout 60 --dest-check udp --proxy-protocol v2\n-L -n --stats --rate\n",
        "-A -H proto=tcp,src-range=192.0.2.0-192.0.2.9:1-9,oif=dpdk0 -s wlc\n-L -c --sockpair tcp:192.0.2.1:80:198.51.100.1:1\n",
        "ipvsadm -a -f 7 -r 10.0.0.1 -i --tun-type gue --tun-port 6080 --tun-nocsum -x 9 -y 3\n-U -k 1.2.3.4 -t 192.0.2.1:80\n",
        "-C\n-Z\n-R\n-S -n\n--set 1 2 3\n--start-daemon master --mcast-interface eth0 --syncid 5\n-h\n",
    ]
    .iter()
    .map(|s| s.as_bytes().to_vec())
    .collect()
}
