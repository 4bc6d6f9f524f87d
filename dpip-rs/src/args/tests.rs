//! Command lines as people and scripts type them, and as nobody should.

use super::*;
use proptest::prelude::*;

fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn line(words: &[&str]) -> Line {
    match parse(&argv(words)) {
        Ok(Parsed::Line(line)) => line,
        other => panic!("{words:?} gave {other:?}"),
    }
}

fn problem(words: &[&str]) -> Vec<String> {
    parse(&argv(words)).unwrap_err().lines("dpip")
}

#[test]
fn options_may_stand_anywhere() {
    let expected = argv(&["link", "show", "dpdk0"]);
    for words in [
        &["-s", "-v", "link", "show", "dpdk0"][..],
        &["link", "-s", "show", "-v", "dpdk0"],
        &["link", "show", "dpdk0", "-sv"],
        &["link", "show", "dpdk0", "--stats", "--verb"],
        &["--stat", "link", "show", "dpdk0", "--verbose"],
    ] {
        let line = line(words);
        assert_eq!(line.words, expected, "{words:?}");
        assert!(line.options.stats && line.options.verbose, "{words:?}");
    }
}

#[test]
fn values_are_glued_or_the_next_word() {
    for words in [
        &["-i", "2", "-c", "3"][..],
        &["-i2", "-c3"],
        &["-vi2", "-sc", "3"],
        &["--interval=2", "--count", "3"],
        &["--int", "2", "--cou=3"],
    ] {
        let options = line(words).options;
        assert_eq!(
            (options.interval, options.count),
            (Some(2), Some(3)),
            "{words:?}"
        );
    }
    assert_eq!(line(&["-i", "0"]).options.interval, None);
    assert_eq!(line(&["-f", "inet6"]).options.family, Family::Inet6);
    assert_eq!(line(&["--family=inet"]).options.family, Family::Inet);
    assert_eq!(line(&["-4", "-6"]).options.family, Family::Inet6);
}

#[test]
fn two_dashes_end_the_options() {
    let line = line(&["addr", "--", "-s", "--"]);
    assert_eq!(line.words, argv(&["addr", "-s", "--"]));
    assert!(!line.options.stats);
    assert_eq!(
        parse(&argv(&["-"])),
        Ok(Parsed::Line(Line {
            words: argv(&["-"]),
            ..Line::default()
        }))
    );
}

#[test]
fn nothing_and_version() {
    assert_eq!(parse(&[]), Ok(Parsed::Nothing));
    assert_eq!(parse(&argv(&["-V"])), Ok(Parsed::Version));
    assert_eq!(parse(&argv(&["link", "-vV", "-x"])), Ok(Parsed::Version));
    assert_eq!(parse(&argv(&["--vers"])), Ok(Parsed::Version));
}

#[test]
fn bad_options_are_named() {
    assert_eq!(
        problem(&["-x"]),
        ["dpip: invalid option -- 'x'", "Invalid option: -x"]
    );
    assert_eq!(
        problem(&["-sx"]),
        ["dpip: invalid option -- 'x'", "Invalid option: -sx"]
    );
    assert_eq!(problem(&["-D"]), ["Invalid option: -D"]);
    assert_eq!(
        problem(&["--bogus=1"]),
        [
            "dpip: unrecognized option '--bogus'",
            "Invalid option: --bogus=1"
        ]
    );
    assert_eq!(
        problem(&["--ver"]),
        [
            "dpip: option '--ver' is ambiguous; possibilities: '--verbose' '--version'",
            "Invalid option: --ver"
        ]
    );
    assert_eq!(
        problem(&["--stats=1"]),
        [
            "dpip: option '--stats' doesn't allow an argument",
            "Invalid option: --stats=1"
        ]
    );
    assert_eq!(
        problem(&["link", "-i"]),
        [
            "dpip: option requires an argument -- 'i'",
            "Invalid option: -i"
        ]
    );
    assert_eq!(
        problem(&["--count"]),
        [
            "dpip: option '--count' requires an argument",
            "Invalid option: --count"
        ]
    );
    assert_eq!(problem(&["-f", "ipx"]), ["invalid family"]);
    assert_eq!(
        problem(&["-i", "soon"]),
        ["invalid interval: 'soon' is no number"]
    );
    assert_eq!(problem(&["-c", "-1"]), ["invalid count: '-1' is no number"]);
    // A negative number on its own is an option, as getopt has it.
    assert_eq!(problem(&["route", "-1"])[1], "Invalid option: -1");
}

proptest! {
    #[test]
    fn any_words_give_an_answer(words in proptest::collection::vec("(-{0,3}[a-zA-Z0-9=é]{0,8}|-[vhVs46CFDficjopw]{1,5})", 0..8)) {
        if let Err(error) = parse(&words) {
            prop_assert!(!error.lines("dpip").is_empty());
        }
    }

    #[test]
    fn plain_words_pass_in_order(words in proptest::collection::vec("[a-z0-9./:]{1,12}", 1..8)) {
        match parse(&words) {
            Ok(Parsed::Line(line)) => prop_assert_eq!(line.words, words),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
