//! Help, versions, unknown words, and no daemon at all.

use std::path::Path;

use crate::standin::{Said, dpip};

fn alone(line: &str) -> Said {
    dpip(Path::new("/nonexistent/dpvs.ipc"), line)
}

#[test]
fn nothing_asked_is_no_error() {
    let said = alone("");
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""));
    assert!(said.err.starts_with("Usage: dpip "), "{said:?}");
    for line in ["-v", "-h", "--help", "-6 -s"] {
        let said = alone(line);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{line}");
        assert!(said.err.starts_with("Usage: dpip "), "{line}: {said:?}");
    }
}

#[test]
fn versions() {
    for line in ["-V", "--version", "link show -V"] {
        let said = alone(line);
        assert_eq!(
            (said.code, said.out.as_str()),
            (Some(0), "dpip-1.10-2\n"),
            "{line}"
        );
    }
}

#[test]
fn objects_explain_themselves() {
    for object in ["link", "addr", "route", "neigh", "maddr", "vlan", "ipv6"] {
        for (line, code) in [
            (format!("{object} help"), 0),
            (object.to_owned(), 1),
            (format!("-h {object}"), 1),
            (format!("{object} show -h"), 1),
        ] {
            let said = alone(&line);
            assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{line}");
            assert!(
                said.err.starts_with("Usage: dpip ") && said.err.contains(object),
                "{line}: {said:?}"
            );
        }
    }
}

#[test]
fn unknown_words() {
    for (line, err) in [
        ("link dance", "invalid command dance\n"),
        ("nonsense dance", "invalid command dance\n"),
        (
            "nonsense show",
            "dpip: invalid object, use `-h' for help.\n",
        ),
        ("nonsense", "dpip: invalid object, use `-h' for help.\n"),
        ("lin show", "dpip: invalid object, use `-h' for help.\n"),
        (
            "-x link show",
            "dpip: invalid option -- 'x'\nInvalid option: -x\n",
        ),
        ("-D link show", "Invalid option: -D\n"),
        ("-f ipx link show", "invalid family\n"),
    ] {
        let said = alone(line);
        assert_eq!(
            (said.code, said.err.as_str(), said.out.as_str()),
            (Some(1), err, ""),
            "{line}"
        );
    }
}

#[test]
fn objects_of_later_say_so() {
    for object in [
        "tunnel", "qsch", "cls", "iftraf", "eal-mem", "ipset", "flow", "lldp",
    ] {
        for line in [
            format!("{object} show"),
            object.to_owned(),
            format!("{object} help"),
        ] {
            let said = alone(&line);
            assert_eq!(
                (said.code, said.err),
                (
                    Some(1),
                    format!("dpip: object `{object}' is not supported by this version of dpip\n")
                ),
                "{line}"
            );
        }
    }
}

#[test]
fn no_daemon_is_said_clearly() {
    for line in [
        "addr show",
        "route show",
        "-6 route show",
        "neigh show",
        "vlan show x",
        "link show x",
    ] {
        let said = alone(line);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{line}");
        assert!(
            said.err
                .starts_with("dpip: no dpvs daemon answers on /nonexistent/dpvs.ipc"),
            "{line}: {said:?}"
        );
        assert_eq!(said.err.lines().count(), 1, "{line}: {said:?}");
    }
    assert!(
        alone("link show")
            .err
            .contains("Fail to get configured NIC list: ")
    );
    assert!(
        alone("link show cpu")
            .err
            .contains("Fail to get configured CPU information: ")
    );
}

#[test]
fn a_count_needs_an_interval() {
    let said = alone("-c 3 addr show");
    assert!(
        said.err
            .starts_with("missing option '-i'\ndpip: no dpvs daemon"),
        "{said:?}"
    );
    let said = alone("-s -c 3 link show");
    assert_eq!(said.code, Some(1));
    let head = "missing option '-i'\nmiss statistics display interval\nUsage: dpip ";
    assert!(said.err.starts_with(head), "{said:?}");
    let said = alone("link show cpux");
    assert!(
        said.err.starts_with("invalid cpu: cpux\nUsage: dpip "),
        "{said:?}"
    );
}
