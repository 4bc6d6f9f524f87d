//! One line of dpvs.conf cut into tokens.
//!
//! Words are separated by white space; `!` or `#` at the start of a word opens
//! a comment; `<...>` is a decoration that means nothing; `"a  b"` is one word
//! whose inner spaces collapse to one. This file does not know any keyword.

use nom::branch::alt;
use nom::bytes::complete::{take_till, take_till1, take_while};
use nom::character::complete::char;
use nom::combinator::{map, rest, value};
use nom::sequence::delimited;
use nom::{IResult, Offset, Parser};

/// A word of a line and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// The word, without quotes.
    pub(super) text: String,
    /// Column of its first character, counted in characters from 1.
    pub(super) column: usize,
    /// Width in characters as written, quotes included.
    pub(super) width: usize,
}

/// What is wrong with a line that cannot be cut into words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LexError {
    /// Column of the offending character, from 1.
    pub(super) column: usize,
    /// Width of the offending text in characters.
    pub(super) width: usize,
    /// What is wrong.
    pub(super) message: &'static str,
    /// What to do about it.
    pub(super) help: &'static str,
}

/// The words of a line, and whether decorations stood on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Words in order.
    pub(super) tokens: Vec<Token>,
    /// Whether at least one `<...>` was skipped.
    pub(super) notes: bool,
}

#[derive(Clone)]
enum Piece<'a> {
    Space,
    Comment,
    Note,
    Word(String),
    Open(&'a str),
}

fn note(input: &str) -> IResult<&str, Piece<'_>> {
    value(
        Piece::Note,
        delimited(char('<'), take_till(|c| c == '>'), char('>')),
    )
    .parse(input)
}

fn quoted(input: &str) -> IResult<&str, Piece<'_>> {
    map(
        delimited(char('"'), take_till(|c| c == '"'), char('"')),
        |inner: &str| Piece::Word(inner.split_whitespace().collect::<Vec<_>>().join(" ")),
    )
    .parse(input)
}

fn unclosed(input: &str) -> IResult<&str, Piece<'_>> {
    let (after, _) = alt((char('<'), char('"'))).parse(input)?;
    let (after, _) = rest(after)?;
    Ok((after, Piece::Open(input)))
}

fn comment(input: &str) -> IResult<&str, Piece<'_>> {
    let (after, _) = alt((char('!'), char('#'))).parse(input)?;
    value(Piece::Comment, rest).parse(after)
}

fn word(input: &str) -> IResult<&str, Piece<'_>> {
    map(take_till1(char::is_whitespace), |w: &str| {
        Piece::Word(w.to_owned())
    })
    .parse(input)
}

fn space(input: &str) -> IResult<&str, Piece<'_>> {
    let (after, found) = take_while(char::is_whitespace).parse(input)?;
    if found.is_empty() {
        return Err(nom::Err::Error(nom::error::Error::new(
            input,
            nom::error::ErrorKind::Space,
        )));
    }
    Ok((after, Piece::Space))
}

/// Cuts one line (without its line end) into words.
pub(super) fn line(text: &str) -> Result<Line, LexError> {
    let mut out = Line::default();
    let mut left = text;
    let mut column = 1;
    while !left.is_empty() {
        // `word` takes any non-empty rest, so one alternative always matches.
        let Ok((after, piece)) = alt((space, comment, note, quoted, unclosed, word)).parse(left)
            as IResult<&str, Piece<'_>>
        else {
            break;
        };
        let width = left
            .get(..left.offset(after))
            .map_or(0, |eaten| eaten.chars().count());
        match piece {
            Piece::Space => {}
            Piece::Comment => break,
            Piece::Note => out.notes = true,
            Piece::Word(text) => out.tokens.push(Token {
                text,
                column,
                width,
            }),
            Piece::Open(text) => {
                let quote = text.starts_with('"');
                return Err(LexError {
                    column,
                    width: text.trim_end().chars().count().max(1),
                    message: if quote {
                        "string without its closing `\"`"
                    } else {
                        "`<` without its `>`"
                    },
                    help: if quote {
                        "close the string on the same line"
                    } else {
                        "a `<...>` note ends on the line it starts on"
                    },
                });
            }
        }
        column += width;
        left = after;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        line(text)
            .unwrap()
            .tokens
            .into_iter()
            .map(|t| t.text)
            .collect()
    }

    #[test]
    fn words_comments_notes_and_quotes() {
        assert_eq!(
            words("  <init> mtu   1500 <1500, 1-9000 | ∞> # tail"),
            ["mtu", "1500"]
        );
        assert_eq!(words("! all of it"), Vec::<String>::new());
        assert_eq!(words("a#b c!d"), ["a#b", "c!d"]);
        assert_eq!(words("x \"a   b\" c"), ["x", "a b", "c"]);
        assert_eq!(
            words("x <a b> 9 [invalid id] 10"),
            ["x", "9", "[invalid", "id]", "10"]
        );
        assert_eq!(words("x\"y z"), ["x\"y", "z"]);
    }

    #[test]
    fn positions_count_characters() {
        let found = line("é  mtu").unwrap();
        assert_eq!(
            found.tokens[1],
            Token {
                text: "mtu".into(),
                column: 4,
                width: 3
            }
        );
    }

    #[test]
    fn unclosed_is_an_error_with_its_place() {
        assert_eq!(line("a \"b").unwrap_err().column, 3);
        assert_eq!(line("<init mtu").unwrap_err().column, 1);
    }

    proptest! {
        #[test]
        fn any_line_ends(text in "[^\r\n]{0,200}") {
            if let Ok(found) = line(&text) {
                for token in found.tokens {
                    prop_assert!(token.column >= 1 && token.width >= 1);
                }
            }
        }
    }
}
