//! One line of keepalived.conf into words and braces.
//!
//! `#` and `!` start a comment outside double quotes unless escaped; blanks
//! separate words; only the double quote groups. Script commands are split a
//! second time by `script_words`, which also knows the single quote and
//! backslash escapes. Knows nothing of files or keywords.

use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, take_while, take_while1};
use nom::character::complete::{char, one_of};
use nom::combinator::{map, value};
use nom::multi::fold_many0;
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

/// A word or a brace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Word(String),
    Open,
    Close,
}

fn blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// Cuts a comment off and takes the escapes of `#` and `!` away.
pub(crate) fn strip_comment(line: &str) -> String {
    fn piece(i: &str) -> IResult<&str, String> {
        alt((
            map(preceded(char('\\'), one_of("#!")), String::from),
            map(
                (char('"'), take_while(|c| c != '"'), tag("\"")),
                |(_, s, _): (_, &str, _)| format!("\"{s}\""),
            ),
            // An unmatched quote is kept for the word splitter to complain about.
            map(
                (char('"'), take_while(|c| c != '"')),
                |(_, s): (_, &str)| format!("\"{s}"),
            ),
            map(tag("\\"), String::from),
            map(take_while1(|c| !"#!\"\\".contains(c)), String::from),
        ))
        .parse(i)
    }
    let folded: IResult<&str, String> = fold_many0(piece, String::new, |mut all, s| {
        all.push_str(&s);
        all
    })
    .parse(line);
    folded.map_or_else(|_| line.to_owned(), |(_, s)| s)
}

/// Why a line could not be split.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnmatchedQuote;

fn word(i: &str) -> IResult<&str, String> {
    let part = alt((
        delimited(char('"'), take_while(|c| c != '"'), char('"')),
        take_while1(|c| !blank(c) && c != '"'),
    ));
    let (rest, text) = fold_many1_string(part, i)?;
    Ok((rest, text))
}

fn fold_many1_string<'a>(
    mut part: impl Parser<&'a str, Output = &'a str, Error = nom::error::Error<&'a str>>,
    i: &'a str,
) -> IResult<&'a str, String> {
    let (mut rest, first) = part.parse(i)?;
    let mut all = first.to_owned();
    while let Ok((r, more)) = part.parse(rest) {
        all.push_str(more);
        rest = r;
    }
    Ok((rest, all))
}

/// Splits a line without comment.
pub(crate) fn tokens(line: &str) -> Result<Vec<Token>, UnmatchedQuote> {
    let mut rest = line.trim_matches(blank);
    let mut out = Vec::new();
    while !rest.is_empty() {
        let quoted = rest.starts_with('"');
        let (r, text) = word(rest).map_err(|_| UnmatchedQuote)?;
        // A quote that opens inside a word and is never closed stops `word` early.
        if r.starts_with('"') {
            return Err(UnmatchedQuote);
        }
        let whole = rest.get(..rest.len() - r.len()).unwrap_or_default();
        if quoted || whole.contains('"') {
            out.push(Token::Word(text));
        } else {
            split_braces(&text, &mut out);
        }
        rest = r.trim_start_matches(blank);
    }
    Ok(out)
}

/// `80{` and `}` glued to a word are braces too; `${NAME}` is not.
fn split_braces(text: &str, out: &mut Vec<Token>) {
    let mut head = text;
    while let Some(r) = head.strip_prefix('}') {
        out.push(Token::Close);
        head = r;
    }
    let mut tail = Vec::new();
    if !head.contains("${") && !head.contains('~') {
        loop {
            if let Some(r) = head.strip_suffix('{') {
                tail.push(Token::Open);
                head = r;
            } else if let Some(r) = head.strip_suffix('}').filter(|r| !r.contains('{')) {
                tail.push(Token::Close);
                head = r;
            } else {
                break;
            }
        }
    }
    if !head.is_empty() {
        out.push(Token::Word(head.to_owned()));
    }
    out.extend(tail.into_iter().rev());
}

/// Splits a script command: both quotes group, a backslash escapes.
pub(crate) fn script_words(text: &str) -> Result<Vec<String>, UnmatchedQuote> {
    fn escape(i: &str) -> IResult<&str, String> {
        preceded(
            char('\\'),
            alt((
                value("\x07".to_owned(), char('a')),
                value("\x08".to_owned(), char('b')),
                value("\x1b".to_owned(), char('E')),
                value("\x0c".to_owned(), char('f')),
                value("\n".to_owned(), char('n')),
                value("\r".to_owned(), char('r')),
                value("\t".to_owned(), char('t')),
                value("\x0b".to_owned(), char('v')),
                map(nom::character::complete::anychar, String::from),
            )),
        )
        .parse(i)
    }
    fn inside(q: &'static str) -> impl Fn(&str) -> IResult<&str, String> {
        move |i| {
            let stop = if q == "\"" { "\"\\" } else { "'\\" };
            fold_many0(
                alt((escape, map(is_not(stop), |s: &str| s.to_owned()))),
                String::new,
                |mut a, s| {
                    a.push_str(&s);
                    a
                },
            )
            .parse(i)
        }
    }
    fn part(i: &str) -> IResult<&str, String> {
        alt((
            delimited(char('"'), inside("\""), char('"')),
            delimited(char('\''), inside("'"), char('\'')),
            escape,
            map(
                take_while1(|c: char| !blank(c) && !"\"'\\".contains(c)),
                |s: &str| s.to_owned(),
            ),
        ))
        .parse(i)
    }
    let mut rest = text.trim_matches(blank);
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (mut r, mut w) = part(rest).map_err(|_| UnmatchedQuote)?;
        while !r.is_empty() && !r.starts_with(blank) {
            let (r2, more) = part(r).map_err(|_| UnmatchedQuote)?;
            w.push_str(&more);
            r = r2;
        }
        out.push(w);
        rest = r.trim_start_matches(blank);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn w(s: &str) -> Token {
        Token::Word(s.to_owned())
    }

    #[test]
    fn comments_and_escapes() {
        assert_eq!(strip_comment("a b # c"), "a b ");
        assert_eq!(strip_comment("a ! b"), "a ");
        assert_eq!(strip_comment(r#"a "x # y" \# z ! w"#), r#"a "x # y" # z "#);
        assert_eq!(strip_comment(r#"a "unfinished"#), r#"a "unfinished"#);
        assert_eq!(strip_comment(r"a\b"), r"a\b");
    }

    #[test]
    fn words_and_braces() {
        assert_eq!(tokens("  a\tb  ").unwrap(), [w("a"), w("b")]);
        assert_eq!(tokens(r#"a "b c" d"#).unwrap(), [w("a"), w("b c"), w("d")]);
        assert_eq!(tokens(r#"a """#).unwrap(), [w("a"), w("")]);
        assert_eq!(
            tokens("real_server 1.2.3.4 80{ weight 1}").unwrap(),
            [
                w("real_server"),
                w("1.2.3.4"),
                w("80"),
                Token::Open,
                w("weight"),
                w("1"),
                Token::Close
            ]
        );
        assert_eq!(tokens("${A}").unwrap(), [w("${A}")]);
        assert_eq!(tokens("}}").unwrap(), [Token::Close, Token::Close]);
        assert_eq!(tokens(r#"a "b"#), Err(UnmatchedQuote));
        assert_eq!(tokens(r#"a b"c"#), Err(UnmatchedQuote));
        assert_eq!(tokens("\0\x01\x02").unwrap(), []);
    }

    #[test]
    fn script_splitting() {
        assert_eq!(
            script_words("/bin/x 'a b' c").unwrap(),
            ["/bin/x", "a b", "c"]
        );
        assert_eq!(
            script_words(r#"/bin/x "a'b" \"c"#).unwrap(),
            ["/bin/x", "a'b", "\"c"]
        );
        assert_eq!(script_words(r"a\tb").unwrap(), ["a\tb"]);
        assert_eq!(script_words("'a"), Err(UnmatchedQuote));
        assert_eq!(script_words("''").unwrap(), [""]);
        assert_eq!(script_words("\\"), Err(UnmatchedQuote));
    }
}
