//! Finds libdpdk, generates the bindings and compiles DPDK's inlines.
//!
//! The traps it steps around: the pkg-config crate keeps only `-I` (DPDK also
//! needs `-include rte_config.h -march=`), thread-locals must not reach the
//! bindings, and drivers of a static libdpdk register in constructors, so
//! their archives are linked whole.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

/// Functions the daemon calls; inlines among them get a C symbol.
const FUNCTIONS: &[&str] = &[
    // environment
    "rte_eal_init",
    "rte_eal_cleanup",
    "rte_eal_has_hugepages",
    "rte_eal_hotplug_add",
    "rte_eal_hotplug_remove",
    "rte_eal_remote_launch",
    "rte_eal_wait_lcore",
    "rte_eal_get_lcore_state",
    "rte_version",
    "rte_strerror",
    "rte_log_set_global_level",
    "rte_lcore_id",
    "rte_lcore_count",
    "rte_lcore_is_enabled",
    "rte_lcore_to_socket_id",
    "rte_get_main_lcore",
    "rte_socket_count",
    "rte_socket_id_by_idx",
    "rte_rdtsc",
    "rte_get_tsc_hz",
    "rte_malloc_get_socket_stats",
    // pools and packets
    "rte_pktmbuf_pool_create",
    "rte_mempool_free",
    "rte_mempool_avail_count",
    "rte_mempool_in_use_count",
    "rte_pktmbuf_alloc",
    "rte_pktmbuf_alloc_bulk",
    "rte_pktmbuf_copy",
    "rte_pktmbuf_free_bulk",
    // rings
    "rte_ring_create",
    "rte_ring_free",
    "rte_ring_enqueue_burst",
    "rte_ring_dequeue_burst",
    "rte_ring_count",
    "rte_ring_free_count",
    // ports
    "rte_eth_dev_count_avail",
    "rte_eth_find_next",
    "rte_eth_dev_get_name_by_port",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_info_get",
    "rte_eth_dev_configure",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_rx_queue_setup",
    "rte_eth_tx_queue_setup",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_dev_close",
    "rte_eth_dev_reset",
    "rte_eth_dev_set_link_up",
    "rte_eth_dev_set_link_down",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_get_mtu",
    "rte_eth_promiscuous_enable",
    "rte_eth_promiscuous_disable",
    "rte_eth_promiscuous_get",
    "rte_eth_allmulticast_enable",
    "rte_eth_allmulticast_disable",
    "rte_eth_allmulticast_get",
    "rte_eth_macaddr_get",
    "rte_eth_dev_default_mac_addr_set",
    "rte_eth_dev_mac_addr_add",
    "rte_eth_dev_mac_addr_remove",
    "rte_eth_dev_set_mc_addr_list",
    "rte_eth_dev_rss_hash_conf_get",
    "rte_eth_dev_rss_reta_query",
    "rte_eth_dev_rss_reta_update",
    "rte_eth_stats_get",
    "rte_eth_stats_reset",
    "rte_eth_xstats_get",
    "rte_eth_xstats_get_names",
    "rte_eth_rx_burst",
    "rte_eth_tx_burst",
    "dpvs_.*",
];

const TYPES: &[&str] = &[
    "rte_rmt_call_main_t",
    "rte_lcore_state_t",
    "rte_eth_dev_info",
    "rte_eth_conf",
    "rte_eth_rxconf",
    "rte_eth_txconf",
    "rte_eth_stats",
    "rte_eth_xstat",
    "rte_eth_xstat_name",
    "rte_eth_rss_conf",
    "rte_eth_rss_reta_entry64",
    "rte_ether_addr",
    "rte_malloc_socket_stats",
    "dpvs_link",
    "dpvs_steer",
];

const VARS: &[&str] = &["DPVS_.*", "RTE_VER_.*"];

/// What the final link names in the shared case. The linker drops what is
/// not used, and drivers are loaded by EAL itself.
const SHARED: &[&str] = &[
    "rte_eal",
    "rte_ethdev",
    "rte_net_bond",
    "rte_mbuf",
    "rte_mempool",
    "rte_ring",
];

/// Archives of the static case: the base, then the drivers that need no
/// further library. Others (mlx5, af_xdp, pcap) need the shared build.
const STATIC: &[&str] = &[
    "rte_common_iavf",
    "rte_bus_pci",
    "rte_bus_vdev",
    "rte_bus_auxiliary",
    "rte_bus_vmbus",
    "rte_mempool_ring",
    "rte_mempool_stack",
    "rte_net_af_packet",
    "rte_net_bond",
    "rte_net_e1000",
    "rte_net_ena",
    "rte_net_i40e",
    "rte_net_iavf",
    "rte_net_ice",
    "rte_net_igc",
    "rte_net_ixgbe",
    "rte_net_memif",
    "rte_net_null",
    "rte_net_ring",
    "rte_net_tap",
    "rte_net_vhost",
    "rte_net_virtio",
    "rte_net_vmxnet3",
    "rte_vhost",
    "rte_stack",
    "rte_security",
    "rte_sched",
    "rte_ip_frag",
    "rte_gso",
    "rte_cryptodev",
    "rte_dmadev",
    "rte_hash",
    "rte_timer",
    "rte_pci",
    "rte_ethdev",
    "rte_meter",
    "rte_net",
    "rte_mbuf",
    "rte_mempool",
    "rte_rcu",
    "rte_ring",
    "rte_eal",
    "rte_telemetry",
    "rte_kvargs",
];

fn fail(what: &str) -> ! {
    eprintln!("error: {what}");
    println!("cargo:warning={}", what.lines().next().unwrap_or(what));
    exit(1)
}

fn pkg_config(args: &[&str]) -> String {
    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    match Command::new(&program).args(args).arg("libdpdk").output() {
        Ok(out) if out.status.success() => String::from_utf8_lossy(&out.stdout).trim().to_owned(),
        _ => fail(
            "DPDK's development files were not found (pkg-config knows no libdpdk).\n\
             On Debian or Ubuntu: apt-get install libdpdk-dev libclang-14-dev clang-14 pkg-config\n\
             For a DPDK built by hand, put its lib/pkgconfig folder into PKG_CONFIG_PATH.",
        ),
    }
}

fn main() {
    println!("cargo:rerun-if-changed=wrapper.h");
    println!("cargo:rerun-if-changed=build.rs");
    for var in ["PKG_CONFIG", "PKG_CONFIG_PATH", "LIBCLANG_PATH"] {
        println!("cargo:rerun-if-env-changed={var}");
    }
    println!("cargo:rustc-check-cfg=cfg(dpdk_23_11, dpdk_24_11)");

    let version = pkg_config(&["--modversion"]);
    let mut parts = version
        .split(['.', '-'])
        .map(|p| p.parse::<u32>().unwrap_or(0));
    let number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if number < (22, 11) {
        fail(&format!(
            "DPDK {version} is too old: 22.11 or newer is needed"
        ));
    }
    for (name, since) in [("dpdk_23_11", (23, 11)), ("dpdk_24_11", (24, 11))] {
        if number >= since {
            println!("cargo:rustc-cfg={name}");
        }
    }
    println!("cargo:version={version}");

    let cflags: Vec<String> = pkg_config(&["--cflags"])
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let shims = out.join("shims.c");

    bind(&cflags, &out, &here, &shims);
    compile(&cflags, &here, &shims);
    link();
}

fn bind(cflags: &[String], out: &std::path::Path, here: &std::path::Path, shims: &std::path::Path) {
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(cflags)
        .clang_arg(format!("-I{}", here.display()))
        .clang_arg("-Wno-deprecated-declarations")
        .wrap_static_fns(true)
        .wrap_static_fns_path(shims)
        .clang_macro_fallback()
        .clang_macro_fallback_build_dir(out)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .generate_comments(false)
        .derive_default(true)
        .use_core()
        .rust_edition(bindgen::RustEdition::Edition2024)
        // A thread-local would become an ordinary static: it links with
        // rust-lld and crashes.
        .blocklist_var("per_lcore_.*")
        // Only their addresses are used; their members are reached by the
        // offsets in wrapper.h.
        .opaque_type("rte_mbuf|rte_mempool|rte_ring|rte_device|rte_memzone|rte_flow")
        // Packed within packed: rustc cannot express them.
        .opaque_type("rte_ether_hdr|rte_arp_.*|rte_l2tpv2_.*|rte_gtp_.*")
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()));
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in VARS {
        builder = builder.allowlist_var(name);
    }
    let bindings = match builder.generate() {
        Ok(bindings) => bindings,
        Err(error) => fail(&format!(
            "bindgen could not read DPDK's headers: {error}\n\
             It needs libclang and clang's own headers; on Debian or Ubuntu:\n\
             apt-get install libclang-14-dev clang-14"
        )),
    };
    if let Err(error) = bindings.write_to_file(out.join("bindings.rs")) {
        fail(&format!("cannot write the bindings: {error}"));
    }
}

/// One file of C: the inlines, one call each. Always optimised, since the
/// burst functions are among them.
fn compile(cflags: &[String], here: &std::path::Path, shims: &std::path::Path) {
    let mut cc = cc::Build::new();
    cc.file(shims).include(here).opt_level(3).warnings(false);
    for flag in cflags {
        cc.flag(flag);
    }
    cc.flag("-Wno-deprecated-declarations");
    if let Err(error) = cc.try_compile("dpdk_shims") {
        fail(&format!(
            "the C compiler could not build DPDK's inlines: {error}\n\
             On Debian or Ubuntu: apt-get install gcc libdpdk-dev"
        ));
    }
}

fn link() {
    let dir = pkg_config(&["--variable=libdir"]);
    println!("cargo:rustc-link-search=native={dir}");
    if env::var_os("CARGO_FEATURE_STATIC_DPDK").is_some() {
        for name in STATIC {
            // Releases differ in what they ship; what is missing is not used.
            if PathBuf::from(&dir).join(format!("lib{name}.a")).exists() {
                println!("cargo:rustc-link-lib=static:+whole-archive={name}");
            }
        }
        for name in ["numa", "bsd", "fdt", "atomic"] {
            println!("cargo:rustc-link-lib=dylib={name}");
        }
    } else {
        for name in SHARED {
            println!("cargo:rustc-link-lib=dylib={name}");
        }
    }
}
