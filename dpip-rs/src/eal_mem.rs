//! `dpip eal-mem`: memory of the DPDK environment.
//!
//! Knows the four messages about memory and their tables.

use dpvs_ctl::msg::{EalPool, EalRing, EalSeg, EalZone};
use serde_json::json;

use crate::Cx;
use crate::failure::Failure;
use crate::help;
use crate::out::Record;
use crate::table::{Command, Object, Row, opt_pos};

pub(crate) const OBJECT: Object = Object {
    name: "eal-mem",
    about: "memory of the DPDK environment",
    short_keys: false,
    rows: &[Row {
        command: Command::Show,
        args: &[opt_pos("seg|zone|ring|pool")],
        about: "List memory segments (unless told otherwise), memory zones, rings, or pools of \
                objects.",
    }],
    terms: &[],
    notes: "Any command word does the same.",
    run,
};

/// Does an `eal-mem` command, whatever it is called.
pub(crate) fn run(cx: &mut Cx, _: Command, words: &[String]) -> Result<(), Failure> {
    let usage = |what: &str| Failure::invalid(what).and(help::object(&OBJECT).trim_end());
    let what = match words {
        [] => "seg",
        [what] => what,
        _ => return Err(usage("too many arguments!")),
    };
    let (heading, records) = match what {
        "seg" => (
            seg_heading(),
            cx.client.eal_segs()?.iter().map(seg).collect(),
        ),
        "zone" => {
            let zones = cx.client.eal_zones()?;
            (zone_heading(), zones.iter().enumerate().map(zone).collect())
        }
        "ring" => (
            ring_heading(),
            cx.client.eal_rings()?.iter().map(ring).collect(),
        ),
        "pool" => (
            pool_heading(),
            cx.client.eal_pools()?.iter().map(pool).collect(),
        ),
        _ => return Err(usage("eal mem parameter invalid!")),
    };
    cx.out.heading(&heading)?;
    let records: Vec<Record> = records;
    records
        .into_iter()
        .try_for_each(|record| cx.out.emit(record))
}

fn seg_heading() -> String {
    format!(
        "{:<10} {:>16} {:>16} {:>20} {:>20} {:>10} {:>10} {:>20}\n",
        "socket_id",
        "iova(Hex)",
        "virt_addr(Hex)",
        "len(KB)",
        "hugepage_size(KB)",
        "nchannel",
        "nrank",
        "free_len(KB)"
    )
}

fn seg(seg: &EalSeg) -> Record {
    let EalSeg {
        socket_id,
        iova,
        virt_addr,
        nchannel,
        nrank,
        ..
    } = *seg;
    let [len, page, free] = [seg.len, seg.hugepage_sz, seg.free_seg_len].map(|bytes| bytes / 1024);
    Record::new(
        format!(
            "{socket_id:<10} {iova:>16x} {virt_addr:>16x} {len:>20} {page:>20} {nchannel:>10} \
             {nrank:>10} {free:>20}\n"
        ),
        json!({
            "socket_id": socket_id,
            "iova": iova,
            "virt_addr": virt_addr,
            "len": seg.len,
            "hugepage_size": seg.hugepage_sz,
            "nchannel": nchannel,
            "nrank": nrank,
            "free_len": seg.free_seg_len,
        }),
    )
}

fn zone_heading() -> String {
    format!(
        "{:<8} {:>32} {:>16} {:>16} {:>20} {:>20} {:>10}\n",
        "zone_id",
        "zone_name",
        "iova(Hex)",
        "virt_addr(Hex)",
        "len(KB)",
        "hugepage_size(KB)",
        "socket_id"
    )
}

fn zone((number, zone): (usize, &EalZone)) -> Record {
    let EalZone {
        name,
        iova,
        virt_addr,
        socket_id,
        ..
    } = *zone;
    let [len, page] = [zone.len, zone.hugepage_sz].map(|bytes| bytes / 1024);
    Record::new(
        format!(
            "{number:<8} {name:>32} {iova:>16x} {virt_addr:>16x} {len:>20} {page:>20} \
             {socket_id:>10}\n"
        ),
        json!({
            "zone_id": number,
            "zone_name": name.text(),
            "iova": iova,
            "virt_addr": virt_addr,
            "len": zone.len,
            "hugepage_size": zone.hugepage_sz,
            "socket_id": socket_id,
        }),
    )
}

fn ring_heading() -> String {
    format!(
        "{:<20} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}\n",
        "ring_name",
        "flags",
        "size",
        "cons_tail",
        "cons_head",
        "prod_tail",
        "prod_head",
        "used",
        "avail"
    )
}

fn ring(ring: &EalRing) -> Record {
    let EalRing {
        name,
        flags,
        size,
        cons_tail,
        cons_head,
        prod_tail,
        prod_head,
        used,
        avail,
    } = *ring;
    Record::new(
        format!(
            "{name:<20} {flags:>10} {size:>10} {cons_tail:>10} {cons_head:>10} {prod_tail:>10} \
             {prod_head:>10} {used:>10} {avail:>10}\n"
        ),
        json!({
            "ring_name": name.text(),
            "flags": flags,
            "size": size,
            "cons_tail": cons_tail,
            "cons_head": cons_head,
            "prod_tail": prod_tail,
            "prod_head": prod_head,
            "used": used,
            "avail": avail,
        }),
    )
}

fn pool_heading() -> String {
    format!(
        "{:<20} {:>10} {:>10} {:>11} {:>12} {:>17} {:>10} {:>10} {:>10}\n",
        "pool_name",
        "flags",
        "elt_size",
        "header_size",
        "trailer_size",
        "private_data_size",
        "size",
        "used",
        "Mem(MB)"
    )
}

fn pool(pool: &EalPool) -> Record {
    let EalPool {
        name,
        flags,
        size,
        elt_size,
        header_size,
        trailer_size,
        private_data_size,
        ..
    } = *pool;
    let used = size.saturating_sub(pool.count);
    let object = u64::from(elt_size) + u64::from(header_size) + u64::from(trailer_size);
    let bytes = object * u64::from(size);
    let mb = bytes >> 20;
    Record::new(
        format!(
            "{name:<20} {flags:>10} {elt_size:>10} {header_size:>11} {trailer_size:>12} \
             {private_data_size:>17} {size:>10} {used:>10} {mb:>10}\n"
        ),
        json!({
            "pool_name": name.text(),
            "flags": flags,
            "elt_size": elt_size,
            "header_size": header_size,
            "trailer_size": trailer_size,
            "private_data_size": private_data_size,
            "size": size,
            "used": used,
            "bytes": bytes,
        }),
    )
}
