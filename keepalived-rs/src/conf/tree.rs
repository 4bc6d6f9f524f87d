//! Lines into a tree of statements and blocks.
//!
//! `{` opens the block of the statement before it, also on a line of its own;
//! `}` closes it. DIFFERS: keepalived goes on reading at the wrong level after
//! an unknown block or a `}` at the end of a data line; here a block always
//! ends at its own brace, so one mistake gives one message.

use super::diag::{Diags, Pos};
use super::lex::{self, Token};
use super::source::Line;

/// A keyword with its words and, perhaps, its block.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) pos: Pos,
    /// The keyword first. Never empty in a finished tree.
    pub(crate) words: Vec<String>,
    /// The line from the keyword on, quotes kept, for script commands.
    pub(crate) raw: String,
    pub(crate) block: Option<Vec<Node>>,
}

impl Node {
    /// The keyword.
    pub(crate) fn key(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Word `n`, counted from 0 at the keyword.
    pub(crate) fn word(&self, n: usize) -> Option<&str> {
        self.words.get(n).map(String::as_str)
    }

    /// The statements of the block; none when there is no block.
    pub(crate) fn children(&self) -> &[Node] {
        self.block.as_deref().unwrap_or_default()
    }
}

/// Deeper than any real file; what is nested deeper is dropped.
const MAX_NESTING: usize = 32;

/// Builds the tree.
pub(crate) fn build(lines: &[Line], diags: &mut Diags) -> Vec<Node> {
    // The block being filled at each depth; the last statement of block n owns block n + 1.
    let mut stack: Vec<Vec<Node>> = vec![Vec::new()];
    let mut too_deep = 0usize;
    for line in lines {
        let tokens = match lex::tokens(&line.text) {
            Ok(t) => t,
            Err(lex::UnmatchedQuote) => {
                diags.error(
                    Some(&line.pos),
                    format!("Unmatched quote: '{}'", shown(&line.text)),
                );
                continue;
            }
        };
        let mut words = Vec::new();
        for token in tokens {
            match token {
                Token::Word(w) => words.push(w),
                Token::Open => {
                    flush(&mut stack, &mut words, line, too_deep);
                    open(&mut stack, &mut too_deep, line, diags);
                }
                Token::Close => {
                    flush(&mut stack, &mut words, line, too_deep);
                    if too_deep > 0 {
                        too_deep -= 1;
                    } else if !close(&mut stack) {
                        diags.error(Some(&line.pos), "Extra '}' found");
                    }
                }
            }
        }
        flush(&mut stack, &mut words, line, too_deep);
    }
    let open = stack.len() - 1 + too_deep;
    if open > 0 {
        diags.error(
            None,
            format!("There are {open} missing '}}'s or extra '{{'s"),
        );
        while close(&mut stack) {}
    }
    stack.pop().unwrap_or_default()
}

fn flush(stack: &mut [Vec<Node>], words: &mut Vec<String>, line: &Line, too_deep: usize) {
    if words.is_empty() || too_deep > 0 {
        words.clear();
        return;
    }
    // `a { b`: the raw text of b starts at b.
    let raw = words
        .first()
        .and_then(|w| line.text.find(w.as_str()))
        .and_then(|at| line.text.get(at..))
        .unwrap_or(&line.text);
    if let Some(top) = stack.last_mut() {
        top.push(Node {
            pos: line.pos.clone(),
            words: std::mem::take(words),
            raw: raw.trim().to_owned(),
            block: None,
        });
    }
}

fn open(stack: &mut Vec<Vec<Node>>, too_deep: &mut usize, line: &Line, diags: &mut Diags) {
    if *too_deep > 0 || stack.len() >= MAX_NESTING {
        if *too_deep == 0 {
            diags.error(
                Some(&line.pos),
                format!("blocks are nested more than {MAX_NESTING} deep - ignoring"),
            );
        }
        *too_deep += 1;
        return;
    }
    if let Some(top) = stack.last_mut() {
        let owns = top.last_mut().is_some_and(|n| n.block.is_none());
        if !owns {
            diags.error(Some(&line.pos), "Unexpected '{' - ignoring the block");
            // A nameless owner; `close` drops it with its block.
            top.push(Node {
                pos: line.pos.clone(),
                words: Vec::new(),
                raw: String::new(),
                block: None,
            });
        }
        stack.push(Vec::new());
    }
}

fn close(stack: &mut Vec<Vec<Node>>) -> bool {
    if stack.len() < 2 {
        return false;
    }
    let block = stack.pop().unwrap_or_default();
    if let Some(top) = stack.last_mut() {
        match top.last_mut() {
            Some(owner) if owner.words.is_empty() => {
                top.pop();
            }
            Some(owner) => owner.block = Some(block),
            None => {}
        }
    }
    true
}

/// At most 60 characters, for messages.
pub(crate) fn shown(text: &str) -> String {
    let mut s: String = text.chars().take(60).collect();
    if s.len() < text.len() {
        s.push_str("...");
    }
    s
}

#[cfg(test)]
mod tests {
    use super::super::source::Reader;
    use super::*;

    fn tree(text: &str) -> (Vec<Node>, u8) {
        let mut d = Diags::default();
        let lines = Reader::new("", "", false, &mut d).read_text(text);
        let t = build(&lines, &mut d);
        (t, d.exit_code())
    }

    fn flat(nodes: &[Node]) -> String {
        let mut s = String::new();
        for n in nodes {
            s.push_str(&n.words.join(" "));
            match &n.block {
                Some(b) => s.push_str(&format!("[{}] ", flat(b).trim())),
                None => s.push_str("; "),
            }
        }
        s
    }

    #[test]
    fn brace_styles() {
        for text in [
            "a b {\nc\nd {\ne\n}\n}\nf\n",
            "a b\n{\nc\nd\n{\ne }\n}\nf",
            "a b { c\nd { e } }\nf",
        ] {
            let (t, rc) = tree(text);
            assert_eq!(flat(&t).trim(), "a b[c; d[e;]] f;", "{text}");
            assert_eq!(rc, 0);
        }
    }

    #[test]
    fn brace_errors() {
        assert_eq!(tree("a {\nb\n").1, 5);
        assert_eq!(flat(&tree("a {\nb\n").0).trim(), "a[b;]");
        assert_eq!(tree("a\n}\n").1, 5);
        let (t, rc) = tree("{\nx\n}\na {\n}\n{\ny\n}\nb\n");
        assert_eq!((flat(&t).trim(), rc), ("a[] b;", 5));
        let deep = "a {\n".repeat(5000) + &"}\n".repeat(5000) + "z\n";
        let (t, rc) = tree(&deep);
        assert_eq!((t.len(), rc), (2, 5));
    }

    #[test]
    fn raw_text_keeps_quotes() {
        let (t, _) = tree("notify '/bin/x \"a b\"' root\n");
        assert_eq!(t[0].raw, "notify '/bin/x \"a b\"' root");
    }
}
