//! dpvs.conf: any text is a configuration or a list of errors, each of which
//! can be shown; what was read can be planned and reloaded over another.

use std::path::Path;

use dpvs::conf::{self, Conf};

use crate::{Target, text};

/// The target.
pub const TARGET: Target = Target {
    name: "dpvs_conf",
    run,
    seeds,
    words: &[
        "global_defs {\n",
        "netif_defs {\n",
        "<init> ",
        "device dpdk0 {\n",
        "rx {\n",
        "}\n",
        "queue_number 8\n",
        "worker_defs {\n",
        "worker cpu1 {\n",
        "type slave\n",
        "cpu_id 1\n",
        "port dpdk0 {\n",
        "rx_queue_ids 0\n",
        "tx_queue_ids 0\n",
        "isol_rx_cpu_ids 9\n",
        "bonding bond0 {\n",
        "slave dpdk0\n",
        "ipvs_defs {\n",
        "conn {\n",
        "tcp {\n",
        "timeout {\n",
        "include ",
        "!",
        "#",
        "\"",
        "4294967296",
        "-1",
        "0x10",
        "18446744073709551615",
    ],
};

fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // Files of this machine are not part of the input.
    if text.contains("include") {
        return;
    }
    match conf::parse(Path::new("fuzz.conf"), &text) {
        Ok(parsed) => {
            for diag in &parsed.warnings {
                assert!(!diag.to_string().is_empty());
            }
            match conf::plan(&parsed.conf) {
                Ok(plan) => assert!(
                    plan.workers.len() <= parsed.conf.workers.len(),
                    "more workers planned than there are"
                ),
                Err(errors) => assert!(!errors.is_empty(), "refused without a reason"),
            }
            // Over itself nothing changes.
            let again = conf::reload(&parsed.conf, &parsed);
            assert_eq!(again.conf, parsed.conf, "a reload of the same file");
            assert!(again.applied.is_empty() && again.needs_restart.is_empty());
            let _ = conf::reload(&Conf::default(), &parsed);
        }
        Err(errors) => {
            assert!(!errors.0.is_empty(), "refused without a reason");
            assert!(!errors.to_string().is_empty());
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    text::samples(&[
        "conf/dpvs.null.conf",
        "conf/dpvs.one-arm.conf",
        "conf/dpvs.two-arm.conf",
        "conf/dpvs.bond-vlan.conf",
        "conf/dpvs.conf.items",
    ])
}
