//! The completion of bash, in bash.

use super::*;
use std::path::Path;
use std::process::Command as Process;

/// What bash offers for a line; a word that ends it is completed.
fn offered(line: &str) -> Option<Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/completion/dpip.bash");
    let program = format!(
        "dpip() {{ printf '%s\\n' '1: dpdk0: socket 0' '    UP ' '2: dpdk1: socket 0'; }}\n\
         source {}\n\
         line={line:?}\n\
         read -ra COMP_WORDS <<<\"$line\"\n\
         case \"$line\" in *' ') COMP_WORDS+=('') ;; esac\n\
         COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
         _dpip\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        script.display()
    );
    let out = Process::new("bash").args(["-c", &program]).output().ok()?;
    assert!(
        out.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout).unwrap();
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    words.sort();
    Some(words)
}

#[test]
fn bash_offers_what_may_come_next() {
    for (line, wanted) in [
        ("dpip l", "limit link lldp"),
        ("dpip -s -i 2 ad", "addr"),
        ("dpip iftraf ", "disable enable help show"),
        ("dpip addr add 10.0.0.1/24 sc", "scope"),
        ("dpip addr add 10.0.0.1/24 scope ", "global host link site"),
        ("dpip addr add 10.0.0.1/24 dev ", "dpdk0 dpdk1"),
        ("dpip route add default via ", ""),
        ("dpip link show dpdk0 s", "status"),
        ("dpip link show ", "cpu dpdk0 dpdk1 status"),
        ("dpip link set dpdk0 promisc ", "off on"),
        ("dpip tunnel add t0 mode ", "gre ipip"),
        (
            "dpip ipset create foo hash:ip,",
            "hash:ip,port hash:ip,port,ip hash:ip,port,net",
        ),
        ("dpip qsch add dev dpdk0 root t", "tbf"),
        ("dpip --js", "--json"),
        ("dpip -i ", ""),
        ("dpip nonsense ", ""),
    ] {
        let Some(words) = offered(line) else {
            eprintln!("no bash here: completion is not tried");
            return;
        };
        assert_eq!(words.join(" "), wanted, "{line}");
    }
}

#[test]
fn what_is_offered_is_understood() {
    for object in crate::OBJECTS {
        for row in object.rows {
            for word in keywords(object, row.command) {
                let typed = row_words(object).contains(&word);
                assert!(
                    object.keyword(word).is_some() || typed,
                    "{}: {word}",
                    object.name
                );
            }
        }
    }
}

/// Words that a positional argument may be.
fn row_words(object: &Object) -> Vec<&'static str> {
    let args = object.rows.iter().flat_map(|row| row.args);
    let places = args.filter(|arg| arg.key.is_empty());
    places.flat_map(|arg| choices(object, arg.value)).collect()
}
