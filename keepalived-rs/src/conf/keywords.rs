//! Every keyword that any keepalived knows, and what to say about a word that
//! none of them knows.
//!
//! The table is data (`keywords.txt`: block path, tab, keyword). A word in the
//! table that this program does not act upon yet is accepted with a note; a
//! word outside the table is an error with the nearest spelling.

use super::diag::Diags;
use super::tree::{Node, shown};

const TABLE: &str = include_str!("keywords.txt");

fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.lines().filter_map(|l| l.split_once('\t'))
}

/// Says what is to be said about a keyword no builder took.
pub(crate) fn not_taken(path: &str, node: &Node, diags: &mut Diags) {
    let key = node.key();
    if rows().any(|r| r == (path, key)) {
        diags.note(
            Some(&node.pos),
            format!("'{key}' is accepted but not supported yet: it has no effect"),
        );
        return;
    }
    let what = if node.block.is_some() {
        " - ignoring its block"
    } else {
        ""
    };
    diags.error_help(
        &node.pos,
        format!("Unknown keyword '{}'{what}", shown(key)),
        suggestion(path, key),
    );
}

/// What the writer may have meant.
fn suggestion(path: &str, key: &str) -> Option<String> {
    let near = rows()
        .filter(|(p, _)| *p == path)
        .map(|(_, k)| (distance(key, k), k))
        .min()
        .filter(|(d, k)| *d <= (k.len() / 3).clamp(1, 3));
    if let Some((_, k)) = near {
        return Some(format!("did you mean '{k}'?"));
    }
    let home = rows().find(|(_, k)| *k == key)?.0;
    Some(if home == "(root)" {
        format!("'{key}' belongs outside all blocks: is a '}}' missing before it?")
    } else {
        format!("'{key}' belongs into a {home} block")
    })
}

/// Edits between two words, counting a swap of neighbours as one; long words
/// are cut, they are no spelling of a keyword anyway.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(40).collect();
    let b: Vec<char> = b.chars().take(40).collect();
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let get = |v: &[usize], n: usize| v.get(n).copied().unwrap_or(usize::MAX / 2);
            let mut best = (get(&last, j) + usize::from(ca != cb))
                .min(get(&last, j + 1) + 1)
                .min(get(&row, j) + 1);
            let swapped =
                i > 0 && j > 0 && a.get(i - 1) == Some(cb) && b.get(j - 1) == Some(ca) && ca != cb;
            if swapped {
                best = best.min(get(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_whole() {
        assert!(rows().count() > 500);
        for (path, key) in [
            ("virtual_server", "laddr_group_name"),
            ("vrrp_instance", "dpdk_interface"),
            ("real_server/HTTP_GET/url", "status_code"),
            ("(root)", "local_address_group"),
        ] {
            assert!(rows().any(|r| r == (path, key)), "{path} {key}");
        }
    }

    #[test]
    fn suggestions() {
        let s = |p, k| suggestion(p, k).unwrap_or_default();
        assert_eq!(
            s("virtual_server", "dealy_loop"),
            "did you mean 'delay_loop'?"
        );
        assert_eq!(s("real_server", "wieght"), "did you mean 'weight'?");
        assert_eq!(
            s("virtual_server", "url"),
            "'url' belongs into a real_server/HTTP_GET block"
        );
        assert!(s("vrrp_instance", "virtual_server").contains("outside all blocks"));
        assert_eq!(suggestion("(root)", "zzzzzzzz"), None);
        assert!(distance(&"x".repeat(100_000), "abc") <= 100_000);
    }
}
