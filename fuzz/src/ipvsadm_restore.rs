//! The restore reader: bytes as lines of a restore. What a line adds is saved
//! again, and what is saved reads back as the same.

use dpvs_ctl::msg::dest_flag;
use ipvsadm::args::{self, Cmd, Command};
use ipvsadm::names::Names;
use ipvsadm::table::{DestRow, Row};
use ipvsadm::{restore, save};

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "ipvsadm_restore",
    run,
    seeds,
    words: crate::ipvsadm_args::TARGET.words,
};

fn read(line: &[u8], skip: bool, names: &Names) -> Option<Command> {
    let mut words = Vec::new();
    if !restore::read_words(line, skip, &mut words) {
        return None;
    }
    assert!(!words.is_empty() && words.iter().all(|w| !w.is_empty()));
    args::parse("ipvsadm", &words, names, true).ok()
}

fn run(data: &[u8]) {
    let names = Names::offline();
    for line in data.split(|b| *b == b'\n').take(64) {
        let _ = read(line, true, &names);
        let Some(command) = read(line, false, &names) else {
            continue;
        };
        let mut row = Row {
            service: command.service,
            pe: command.pe,
            dests: Vec::new(),
        };
        match command.cmd {
            Cmd::AddService => {}
            Cmd::AddDest => {
                let mut dest = command.dest;
                dest.flags &= dest_flag::INHIBITED;
                let encap = command.encap;
                row.dests.push(DestRow { dest, encap });
            }
            _ => continue,
        }
        let saved = save::lines(&row, &names, true);
        let again = saved
            .last()
            .and_then(|line| read(line.as_bytes(), false, &names))
            .unwrap_or_else(|| panic!("not read back: {saved:?}"));
        if row.dests.is_empty() {
            // Only persistent services have a mask to save, and names of
            // schedulers and engines may hold what no word can.
            let plain = |c: &Command| (c.service.key(), c.service.flags, c.service.conn_timeout);
            assert_eq!(plain(&again), plain(&command), "{saved:?}");
        } else {
            assert_eq!(again.dest, command.dest, "{saved:?}");
            assert_eq!(again.encap, command.encap, "{saved:?}");
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = (crate::ipvsadm_args::TARGET.seeds)();
    seeds.push(b"# a comment\n\n\t-C\r\nipvsadm -A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1 -m -T 10.0.0.1-10.0.0.2-7 -w 3".to_vec());
    seeds
}
