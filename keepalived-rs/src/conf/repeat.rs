//! Lines that stand for many: `~SEQ` counts, `~LST` goes through a list.
//!
//! Pure text work; the reader bounds what comes out in total.

/// Values of one sequence.
const MAX_VALUES: usize = 400_000;

/// A line to be repeated.
pub(super) struct Repeat<'a> {
    /// The names to fill in.
    pub(super) vars: Vec<String>,
    /// For each repetition, a value for each name.
    pub(super) values: Vec<Vec<String>>,
    /// What is repeated.
    pub(super) text: &'a str,
}

/// `~SEQ(VAR, [start, [step,]] end) text` and `~LST(VAR, a, b) text`.
pub(super) fn repeat(line: &str) -> Result<Repeat<'_>, String> {
    let (list, hex, spec) = if let Some(r) = line.strip_prefix("~SEQx") {
        (false, true, r)
    } else if let Some(r) = line.strip_prefix("~SEQ") {
        (false, false, r)
    } else {
        (true, false, line.strip_prefix("~LST").unwrap_or_default())
    };
    let inner = spec
        .trim_start()
        .strip_prefix('(')
        .ok_or("'(' is missing")?;
    let (args, text) = inner.split_once(')').ok_or("')' is missing")?;
    if list {
        let fields = tuple_split(args);
        let (vars, items) = fields.split_first().ok_or("a variable name is missing")?;
        let names = |s: &str| -> Vec<String> {
            s.trim_matches(['{', '}'])
                .split(',')
                .map(|v| v.trim().to_owned())
                .collect()
        };
        let vars = names(vars);
        if vars.iter().any(String::is_empty) {
            return Err("a variable name is missing".to_owned());
        }
        let values = items
            .iter()
            .filter(|i| !i.is_empty())
            .map(|i| names(i))
            .collect();
        return Ok(Repeat { vars, values, text });
    }
    let mut fields = args.split(',').map(str::trim);
    let var = fields
        .next()
        .filter(|v| !v.is_empty())
        .ok_or("a variable name is missing")?;
    let numbers: Vec<i64> = fields
        .map(|f| {
            f.parse::<i64>()
                .map_err(|_| format!("'{f}' is not a number"))
        })
        .collect::<Result<_, _>>()?;
    let (start, step, end) = match *numbers.as_slice() {
        [end] => (1, 1, end),
        [start, end] => (start, 1, end),
        [start, step, end] => (start, step, end),
        _ => return Err("one to three numbers are needed".to_owned()),
    };
    if step == 0 {
        return Err("the step is 0".to_owned());
    }
    let mut values = Vec::new();
    let mut at = start;
    while (step > 0 && at <= end) || (step < 0 && at >= end) {
        values.push(vec![if hex {
            format!("{at:x}")
        } else {
            at.to_string()
        }]);
        if values.len() > MAX_VALUES {
            return Err("too many values".to_owned());
        }
        let Some(next) = at.checked_add(step) else {
            break;
        };
        at = next;
    }
    Ok(Repeat {
        vars: vec![var.to_owned()],
        values,
        text,
    })
}

/// Splits at commas outside `{}`.
fn tuple_split(args: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut inside = false;
    for c in args.chars() {
        match c {
            '{' => inside = true,
            '}' => inside = false,
            ',' if !inside => {
                out.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = out.last_mut() {
            last.push(c);
        }
    }
    out.iter().map(|s| s.trim().to_owned()).collect()
}

/// Puts `value` where `$var` and `${var}` stand.
pub(super) fn replace_var(text: &str, var: &str, value: &str) -> String {
    let text = text.replace(&format!("${{{var}}}"), value);
    let needle = format!("${var}");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(&needle) {
        out.push_str(before);
        if after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            out.push_str(&needle);
        } else {
            out.push_str(value);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
