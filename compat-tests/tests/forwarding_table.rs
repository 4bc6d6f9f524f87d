//! The table of docs/forwarding.md, held to what there is: it has every mode with every
//! family and protocol, packet scripts that really have such a server, and tests in
//! namespaces that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use compat_tests::{Context, Error, Result, bins};

/// What has to be in the table: modes, client's and server's families, protocols
/// (facts of DPVS's dataplane, and what Linux's IPVS has beside it). ICMP means
/// ICMPv6 for IPv6 clients.
const REQUIRED: [(&[&str], &[&str], &[&str]); 4] = [
    (
        &["FullNAT", "NAT", "DR", "SNAT"],
        &["4-4", "6-6"],
        &["TCP", "UDP", "SCTP", "ICMP"],
    ),
    (
        &["FullNAT"],
        &["6-4", "4-6"],
        &["TCP", "UDP", "SCTP", "ICMP"],
    ),
    (
        &["IPIP", "GRE", "GUE"],
        &["4-4", "6-6", "6-4", "4-6"],
        &["TCP", "UDP", "SCTP", "ICMP"],
    ),
    (
        &["Local", "Bypass"],
        &["4-4", "6-6"],
        &["TCP", "UDP", "ICMP"],
    ),
];

/// Mode, families, protocol.
type Combination = (String, String, String);

/// The names in backquotes of a cell.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).what(|| path.display().to_string())
}

/// What the servers of a packet script are.
fn servers(script: &str) -> BTreeSet<Combination> {
    let family = |end: &str| if end.starts_with('[') { '6' } else { '4' };
    let mut found = BTreeSet::new();
    for line in script.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["dest", protocol, vip, server, rest @ ..] = &words[..] else {
            continue;
        };
        let has = |word| rest.contains(&word);
        let mode = match () {
            () if has("local") => "Local",
            () if has("bypass") => "Bypass",
            () if has("nat") => "NAT",
            () if has("dr") => "DR",
            () if has("snat") => "SNAT",
            () if has("tunnel") && has("gre") => "GRE",
            () if has("tunnel") && has("gue") => "GUE",
            () if has("tunnel") => "IPIP",
            () => "FullNAT",
        };
        let families = format!("{}-{}", family(vip), family(server));
        let protocol = protocol.trim_end_matches('6').to_uppercase();
        found.insert((mode.to_owned(), families, protocol));
    }
    found
}

#[test]
fn the_table_of_forwarding_modes_is_whole_and_true() -> Result<()> {
    let top = bins::repository()?;
    let text = read(&top.join("docs/forwarding.md"))?;
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|l| l.starts_with("| ") && !l.starts_with("| mode"))
        .map(|l| l.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut known: BTreeMap<Combination, &[&str]> = BTreeMap::new();
    for row in &rows {
        let [mode, families, protocols, scripts, ends] = row[..] else {
            return Err(Error::new(format!("not five columns: {row:?}")));
        };
        let (scripts, ends) = (names(scripts), names(ends));
        assert!(!scripts.is_empty(), "no packet script: {row:?}");
        assert!(!ends.is_empty(), "no end-to-end test: {row:?}");
        let mut shown = BTreeSet::new();
        for script in scripts {
            shown.append(&mut servers(&read(
                &top.join("dpvs/core/tests/scripts").join(script),
            )?));
        }
        for test in ends {
            let (file, name) = test
                .split_once("::")
                .ok_or_else(|| Error::new(format!("`{test}` is no test")))?;
            let source = read(&top.join("compat-tests/tests").join(file))?;
            assert!(
                source.contains(&format!("#[test]\nfn {name}()")),
                "there is no {test}: {row:?}"
            );
        }
        let mode = mode.split(' ').next().unwrap_or("");
        for families in families.split(", ") {
            for protocol in protocols.split(", ") {
                let is = (mode.to_owned(), families.to_owned(), protocol.to_owned());
                assert!(
                    shown.contains(&is),
                    "the scripts have no server of {is:?}: {row:?}"
                );
                known.insert(is, row);
            }
        }
    }
    for (modes, families, protocols) in REQUIRED {
        for mode in modes {
            for families in families {
                for protocol in protocols {
                    let is = (
                        (*mode).to_owned(),
                        (*families).to_owned(),
                        (*protocol).to_owned(),
                    );
                    assert!(known.contains_key(&is), "no row for {is:?}");
                }
            }
        }
    }
    Ok(())
}
