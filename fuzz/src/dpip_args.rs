//! dpip: any words give a request or a message, in every form of output.
//! Nobody listens at the socket it asks, so that every listing ends there.

use std::io::{Write, sink};
use std::sync::atomic::{AtomicUsize, Ordering};

use dpvs_ctl::Client;

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "dpip",
    run,
    seeds,
    words: &[
        "link ",
        "addr ",
        "route ",
        "neigh ",
        "vlan ",
        "tunnel ",
        "qsch ",
        "cls ",
        "ipv6 ",
        "iftraf ",
        "eal-mem ",
        "ipset ",
        "flow ",
        "maddr ",
        "lldp ",
        "drop ",
        "completion bash",
        "show ",
        "list ",
        "add ",
        "del ",
        "set ",
        "replace ",
        "flush ",
        "create ",
        "destroy ",
        "enable ",
        "test ",
        "help ",
        "dev ",
        "dpdk0 ",
        "via ",
        "src ",
        "scope ",
        "host ",
        "kni_host ",
        "sapool ",
        "lladdr ",
        "00:11:22:33:44:55 ",
        "mtu ",
        "-6 ",
        "-4 ",
        "-f inet6 ",
        "-s ",
        "-v ",
        "-j ",
        "-p ",
        "-o ",
        "-w ",
        "-F ",
        "-i 1 ",
        "-c 1 ",
        "--",
        "10.0.0.1/24 ",
        "2001:db8::1/64 ",
        "default ",
        "/",
        "-1 ",
        "4294967296 ",
        "broadcast ",
        "valid_lft ",
        "prefered_lft ",
        "forever ",
        "id ",
        "proto ",
        "802.1q ",
        "status ",
        "cpu ",
        "cpu1 ",
        "promisc on ",
        "bond-mode ",
        "bond-slave ",
        "mode gre ",
        "remote ",
        "local ",
        "ikey ",
        "ttl inherit ",
        "handle ",
        "root ",
        "ingress ",
        "parent ",
        "1:2 ",
        "tbf ",
        "pfifo ",
        "rate 10m ",
        "burst ",
        "latency ",
        "limit ",
        "match ",
        "pattern ",
        "tcp,from=",
        "target drop ",
        "ipset match deny,dst ",
        "type kni ",
        "bitmap:ip ",
        "bitmap:port ",
        "hash:ip,port,net ",
        "range ",
        "hashsize ",
        "maxelem ",
        "comment ",
        "nomatch ",
        "seg ",
        "pool ",
        "neigh ",
        "total ",
        "\n",
    ],
};

/// Counts what is written, as somebody who reads it would.
struct Reader<'a>(&'a AtomicUsize);

impl Write for Reader<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.fetch_add(bytes.len(), Ordering::Relaxed);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

static SAID: AtomicUsize = AtomicUsize::new(0);

fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines().take(16) {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        SAID.store(0, Ordering::Relaxed);
        let client = Client::at("/nonexistent/dpvs.ipc");
        let code = dpip::run(
            "dpip",
            &argv,
            client,
            Box::new(sink()),
            Box::new(Reader(&SAID)),
        );
        let said = SAID.load(Ordering::Relaxed);
        assert!(code == 0 || said > 0, "refused without a reason: {line}");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "addr add 10.0.0.1/24 dev dpdk0 sapool\naddr show -s\n-6 addr flush dev dpdk0\n",
        "route add default via 10.0.0.254 dev dpdk0\n-6 route add 2001:db8::/64 dev dpdk0\nroute show\n",
        "neigh add 1.1.1.1 lladdr 00:11:22:33:44:55 dev dpdk0\nneigh del fe80::1 dev dpdk1\n",
        "vlan add link dpdk0 id 100 proto 802.1q\nvlan show\nmaddr show dev dpdk0\nipv6 show cpu 1\n",
        "link set dpdk0 promisc on\nlink show bond0 status\n-s -i 1 -c 1 link show cpu\n-w link show\n",
        "qsch add dev dpdk0 root tbf rate 10m burst 50000 latency 10\nqsch del dev dpdk0 handle 1:\n",
        "cls add dev d match pattern tcp,from=10.0.0.1:1-1024,to=[::1]:5,oif=x target drop\n",
        "tunnel add t0 mode gre local 1.1.1.1 remote 2.2.2.2 key 10 ttl inherit tos 0x10\n",
        "ipset create foo bitmap:ip range 192.168.0.0/16 comment\nipset add foo 10.0.0.1 comment x\n",
        "flow add type kni dev dpdk0 1.2.3.4\nflow show\ndrop show total\nlldp show neigh dev d\n",
        "-j -p eal-mem show ring\niftraf show dev all\ncompletion zsh\nl h\n--stat ll s d x\n",
    ]
    .iter()
    .map(|s| s.as_bytes().to_vec())
    .collect()
}
