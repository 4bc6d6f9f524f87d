//! Help, versions, unknown words, and no daemon at all.

use std::path::Path;

use dpvs_ctl::ErrCode;

use crate::standin::{Said, StandIn, dpip};

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
    for object in [
        "link", "addr", "route", "neigh", "vlan", "tunnel", "qsch", "cls", "ipv6", "iftraf",
        "eal-mem", "ipset", "flow", "maddr", "lldp", "drop", "counter", "limit",
    ] {
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
        (
            "link dance",
            "invalid command dance\ndpip: the commands of link are: show, set, add, del, help; \
             `dpip link help' explains them\n",
        ),
        ("nonsense dance", "invalid command dance\n"),
        (
            "nonsense show",
            "dpip: invalid object, use `-h' for help.\n",
        ),
        ("nonsense", "dpip: invalid object, use `-h' for help.\n"),
        ("links show", "dpip: invalid object, use `-h' for help.\n"),
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
fn what_a_daemon_does_not_do_is_said_in_words() {
    let standin = StandIn::new(|_| Err(ErrCode::NOTSUPP));
    for (line, id, what) in [
        ("tunnel show", 98, "tunnel show"),
        ("qsch add dev d root pfifo limit 1", 84, "qsch add"),
        ("cls list dev d", 88, "cls show"),
        ("iftraf enable", 106, "iftraf enable"),
        ("eal-mem show", 7401, "eal-mem show"),
        ("ipset show", 105, "ipset show"),
        ("flow show type kni dev d", 102, "flow show"),
        ("lldp show dev d", 69, "lldp show"),
    ] {
        let said = standin.dpip(line);
        let err = format!(
            "[sockopt_msg_recv] errcode set in socket msg#{id} header: not support(-14)\n\
             dpip: this dpvs does not support `{what}' (its log says more)\n\
             dpip: not support\n"
        );
        assert_eq!((said.code, said.err), (Some(1), err), "{line}");
    }
    // Ours alone are asked of others as well.
    for line in ["drop show", "counter show", "flow show", "limit show"] {
        let said = standin.dpip(line);
        let why = "this dpvs does not tell; only the dpvs that comes with this dpip does";
        assert!(said.err.contains(why), "{line}: {said:?}");
        let said = StandIn::raw(|_| Vec::new()).dpip(line);
        assert_eq!(said.code, Some(1), "{line}");
        assert!(said.err.contains(why), "{line}: {said:?}");
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
