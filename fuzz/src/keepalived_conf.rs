//! keepalived.conf: any text gives a configuration and findings, which can be
//! shown, in bounded time. The sources are keepalived's own; it has no library.

use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::{Target, text};

#[allow(dead_code, unused_imports)]
#[rustfmt::skip]
#[path = "../../keepalived-rs/src/conf/mod.rs"]
mod conf;

/// The target.
pub const TARGET: Target = Target {
    name: "keepalived_conf",
    run,
    seeds,
    words: &[
        "global_defs {\n",
        "vrrp_instance VI_1 {\n",
        "virtual_server 192.0.2.1 80 {\n",
        "}\n",
        "real_server 10.0.0.1 80 {\n",
        "local_address_group lg {\n",
        "192.0.2.1-20\n",
        "laddr_group_name lg\n",
        "virtual_server_group g {\n",
        "virtual_server group g {\n",
        "TCP_CHECK {\n",
        "HTTP_GET {\n",
        "url {\n",
        "path /\n",
        "MISC_CHECK {\n",
        "misc_path \"",
        "advert_int 1\n",
        "virtual_ipaddress {\n",
        "unicast_peer {\n",
        "~SEQ(N, 1, 3) ",
        "~LST(A, x, y) ",
        "$A=",
        "${A}",
        "@lb1 ",
        "@^lb1 ",
        "\\\n",
        "!",
        "#",
        "\"",
        "delay_loop 5\n",
        "lb_algo rr\n",
        "lb_kind FNAT\n",
        "protocol UDP\n",
        "match SRC,DST {\n",
    ],
};

/// In memory where there is such a place: a file is written for every input.
fn file() -> &'static PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let shm = PathBuf::from("/dev/shm");
        let dir = if shm.is_dir() {
            shm
        } else {
            std::env::temp_dir()
        };
        dir.join(format!("fuzz-keepalived-{}.conf", std::process::id()))
    })
}

fn run(data: &[u8]) {
    // Files of this machine are not part of the input.
    if data.windows(7).any(|w| w == b"include") {
        return;
    }
    let path = file();
    let written = std::fs::File::create(path).and_then(|mut f| f.write_all(data));
    written.expect("a file for the input");
    let loaded = conf::load(
        path,
        &conf::LoadOptions {
            config_id: "lb1",
            all_config: data.first().is_some_and(|b| b & 1 == 0),
            if_exists: &|name| name != "none0",
        },
    );
    // One file a process; the last one is removed here too.
    let _ = std::fs::remove_file(path);
    assert!(loaded.found, "the file was there");
    for diag in loaded.diags.iter() {
        assert!(!diag.to_string().is_empty());
    }
    let _ = (loaded.diags.exit_code(), loaded.diags.worst());
    let _ = format!("{:?}", loaded.config);
}

fn seeds() -> Vec<Vec<u8>> {
    let mut all = text::samples(&[
        "conf/keepalived/keepalived.conf.sample",
        "conf/keepalived/keepalived.lab.conf",
        "conf/lab/keepalived.conf",
    ]);
    all.push(
        b"$A=1\n~SEQ(N, 3) virtual_server 192.0.2.$N 80 {\n lb_kind FNAT\n}\n@lb1 x ${A}\n"
            .to_vec(),
    );
    all
}
