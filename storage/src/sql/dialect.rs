//! SQLite's words in PostgreSQL's.
//!
//! | SQLite | PostgreSQL |
//! |---|---|
//! | `?1` | `$1` |
//! | `?1 IS NULL` | `CAST($1 AS text) IS NULL`: absence alone has no type |
//! | `json_each(?1)` | `jsonb_array_elements_text(CAST(CAST($1 AS text) AS jsonb))` |
//! | `CAST(value AS INTEGER) FROM json_each` | the same, as `bigint` |
//! | `max(a, b)`, `min(a, b)` | `greatest(a, b)`, `least(a, b)` |
//! | `t.a = ?1 COLLATE NOCASE` | `lower(t.a) = lower($1)` |
//! | `a GLOB ?1` | `a ~ hivemem_glob($1)`, a function of the schema |
//! | `t INDEXED BY i` | `t`: the planner knows better |
//! | `a CROSS JOIN b ON …` (the order of a join is the writer's) | `a JOIN b ON …` (it is the planner's) |
//!
//! A parameter is first compared with what has a type, and then with NULL: PostgreSQL takes its type from its first use.
//!
//! Invariant: what is between quotation marks is left as it is.
//!
//! Not here: what needs more than other words; such statements are written so that both understand them.

/// Translates a statement.
pub(crate) fn postgres(text: &str) -> String {
    let text = text
        .replace("CROSS JOIN", "JOIN")
        .replace("CAST(value AS INTEGER)", "CAST(value AS bigint)");
    let text = of_two(of_two(text, "max(", "greatest("), "min(", "least(");
    let text = glob(&no_case(&not_indexed(text)));
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text.as_str();
    while let Some(at) = rest.find(['?', '\'']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        rest = match from.strip_prefix('?') {
            Some(number) => {
                let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
                let (number, after) = number.split_at(end);
                parameter(&mut out, number, after);
                after
            }
            None => {
                let end = from[1..].find('\'').map_or(from.len(), |end| end + 2);
                out.push_str(&from[..end]);
                &from[end..]
            }
        };
    }
    out.push_str(rest);
    out
}

/// A statement that inserts so many rows from one that inserts one, whose values are all its parameters.
pub(crate) fn of_rows(text: &str, rows: usize) -> String {
    const VALUES: &str = "VALUES ";
    let at = text.find(VALUES).map_or(text.len(), |at| at + VALUES.len());
    let (before, from) = text.split_at(at);
    let (row, after) = from.split_at(group_end(from));
    let parameters = row.matches('?').count();
    let mut out = String::with_capacity(before.len() + after.len() + rows * (row.len() + 16));
    out.push_str(before);
    for number in 0..rows {
        if number > 0 {
            out.push_str(", ");
        }
        numbered(&mut out, row, number * parameters);
    }
    out + after
}

/// Where the parenthesis is closed that a text begins with.
fn group_end(text: &str) -> usize {
    let mut depth = 0_u32;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return at + 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Writes a row with other numbers for its parameters.
fn numbered(out: &mut String, row: &str, more: usize) {
    let mut parts = row.split('?');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let (number, after) = part.split_at(end);
        let number = number.parse::<usize>().unwrap_or_default() + more;
        out.push_str(&format!("?{number}{after}"));
    }
}

/// Renames a function where it has two arguments: with one it is an aggregate.
fn of_two(text: String, name: &str, renamed: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(name) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let arguments = &from[name.len()..];
        out.push_str(if has_two(arguments) { renamed } else { name });
        rest = arguments;
    }
    out + rest
}

/// Whether there is a comma before the parenthesis is closed.
fn has_two(arguments: &str) -> bool {
    let mut depth = 0;
    for c in arguments.chars() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return false,
            ')' => depth -= 1,
            ',' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

fn not_indexed(mut text: String) -> String {
    const INDEXED: &str = " INDEXED BY ";
    while let Some(at) = text.find(INDEXED) {
        let name = at + INDEXED.len();
        let end = text[name..].find([' ', '\n', ')']).map_or(text.len(), |end| name + end);
        text.replace_range(at..end, "");
    }
    text
}

fn no_case(text: &str) -> String {
    const NO_CASE: &str = " COLLATE NOCASE";
    let mut out = text.to_owned();
    while let Some(at) = out.find(NO_CASE) {
        let right = out[..at].rfind(' ').map_or(0, |space| space + 1);
        let left_end = out[..right].trim_end_matches(['=', ' ']).len();
        let left = out[..left_end].rfind([' ', '(']).map_or(0, |space| space + 1);
        let compared = format!("lower({}) = lower({})", &out[left..left_end], &out[right..at]);
        out.replace_range(left..at + NO_CASE.len(), &compared);
    }
    out
}

fn glob(text: &str) -> String {
    const GLOB: &str = " GLOB ";
    let mut out = text.to_owned();
    while let Some(at) = out.find(GLOB) {
        let from = at + GLOB.len();
        let end = out[from..].find([' ', ')']).map_or(out.len(), |end| from + end);
        let matched = format!(" ~ hivemem_glob({})", &out[from..end]);
        out.replace_range(at..end, &matched);
    }
    out
}

/// Writes a parameter, of which PostgreSQL must know the type where it is taken apart.
fn parameter(out: &mut String, number: &str, after: &str) {
    const APART: &str = "json_each(";
    if out.ends_with(APART) {
        out.truncate(out.len() - APART.len());
        out.push_str(&format!("jsonb_array_elements_text(CAST(CAST(${number} AS text) AS jsonb)"));
    } else if after.starts_with(" IS ") {
        out.push_str(&format!("CAST(${number} AS text)"));
    } else {
        out.push('$');
        out.push_str(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_becomes_many() {
        let one = "INSERT INTO t (a, b) VALUES (?1, CAST(CAST(?2 AS text) AS c)) ON CONFLICT (a) DO NOTHING";
        let three = "INSERT INTO t (a, b) VALUES (?1, CAST(CAST(?2 AS text) AS c)), \
                     (?3, CAST(CAST(?4 AS text) AS c)), (?5, CAST(CAST(?6 AS text) AS c)) \
                     ON CONFLICT (a) DO NOTHING";
        assert_eq!(of_rows(one, 1), one);
        assert_eq!(of_rows(one, 3), three);
    }

    #[test]
    fn parameters_and_arrays_are_translated_and_texts_are_not() {
        let cases = [
            (
                "SELECT a FROM t WHERE b = ?1 AND c > ?12",
                "SELECT a FROM t WHERE b = $1 AND c > $12",
            ),
            ("?1 IS NULL OR a = ?1", "CAST($1 AS text) IS NULL OR a = $1"),
            ("SELECT '?1' WHERE a = ?2", "SELECT '?1' WHERE a = $2"),
            (
                "a IN (SELECT value FROM json_each(?3))",
                "a IN (SELECT value FROM jsonb_array_elements_text(CAST(CAST($3 AS text) AS jsonb)))",
            ),
            (
                "a IN (SELECT CAST(value AS INTEGER) FROM json_each(?1))",
                "a IN (SELECT CAST(value AS bigint) FROM jsonb_array_elements_text(CAST(CAST($1 AS text) AS jsonb)))",
            ),
            ("a CROSS JOIN b ON b.c = a.c", "a JOIN b ON b.c = a.c"),
            (
                "max(a, b) + max(c) + min(f(a, b)) + min(f(a), b)",
                "greatest(a, b) + max(c) + min(f(a, b)) + least(f(a), b)",
            ),
            ("a AND t.b = ?3 COLLATE NOCASE AND c", "a AND lower(t.b) = lower($3) AND c"),
            ("SELECT a FROM t INDEXED BY t_a\n WHERE a = ?1", "SELECT a FROM t\n WHERE a = $1"),
            ("a AND title GLOB ?7 AND b", "a AND title ~ hivemem_glob($7) AND b"),
        ];
        for (sqlite, expected) in cases {
            assert_eq!(postgres(sqlite), expected);
        }
    }
}
