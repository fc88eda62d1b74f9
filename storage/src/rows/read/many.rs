//! Statements about many memories at once: a walk asks for a whole layer, not for one memory after the other.
//!
//! Invariant: `MNY-1` texts come in few widths, so that each is prepared once and kept; a list that is shorter repeats its
//! last id, which changes no answer.
//!
//! Not here: what is asked.

use types::MemoryId;

use crate::{
    rows::fault::SqlFault,
    sql::{Connection, Row, Value, params_from_iter},
};

/// Widths of a list, ascending.
const WIDTHS: [usize; 3] = [1, 8, 64];

/// What the rows say that a statement answers whose text is `before`, the word IN with a list of the ids, and `after`.
/// The values are its first parameters.
///
/// # Errors
/// Those of the database, and of `read`.
pub(crate) fn rows<T>(
    connection: &Connection,
    (before, after): (&str, &str),
    values: &[Value],
    ids: &[MemoryId],
    read: impl Fn(Row<'_>) -> Result<T, SqlFault>,
) -> Result<Vec<T>, SqlFault> {
    let mut found = Vec::new();
    let widest = WIDTHS[WIDTHS.len() - 1];
    for part in ids.chunks(widest) {
        let width = WIDTHS.into_iter().find(|width| *width >= part.len()).unwrap_or(widest);
        let Some(last) = part.last() else { continue };
        let filled = part.iter().chain(std::iter::repeat(last)).take(width);
        let named = filled.map(|id| Value::from(id.as_bytes().to_vec()));
        let all: Vec<Value> = values.iter().cloned().chain(named).collect();
        let mut statement = connection.prepare_cached(&text(before, after, values.len(), width))?;
        let mut rows = statement.query(params_from_iter(&all))?;
        while let Some(row) = rows.next()? {
            found.push(read(row)?);
        }
    }
    Ok(found)
}

fn text(before: &str, after: &str, first: usize, width: usize) -> String {
    let mut text = String::with_capacity(before.len() + after.len() + 8 * width);
    text.push_str(before);
    for at in 1..=width {
        text.push_str(if at == 1 { " IN (?" } else { ", ?" });
        text.push_str(&(first + at).to_string());
    }
    text.push(')');
    text.push_str(after);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_few_widths() {
        assert_eq!(text("SELECT 1 WHERE id", " AND x", 2, 1), "SELECT 1 WHERE id IN (?3) AND x");
        assert!(text("id", "", 0, 8).ends_with("?7, ?8)"));
        let connection = Connection::sqlite(rusqlite::Connection::open_in_memory().unwrap());
        connection.execute("CREATE TABLE t (id BLOB PRIMARY KEY, n INTEGER)", []).unwrap();
        let ids: Vec<MemoryId> = (0..150).map(|n| MemoryId(uuid::Uuid::from_u128(n))).collect();
        for (n, id) in ids.iter().enumerate().skip(1) {
            let values = (id.as_bytes().as_slice(), n as i64);
            connection.execute("INSERT INTO t VALUES (?1, ?2)", values).unwrap();
        }
        for count in [0, 1, 2, 8, 9, 64, 65, 150] {
            let around = ("SELECT n FROM t WHERE n <> ?1 AND id", " ORDER BY n");
            let read = |row: Row<'_>| Ok(row.get::<i64>(0)?);
            let mut found =
                rows(&connection, around, &[Value::from(5)], &ids[..count], read).unwrap();
            found.sort_unstable();
            let wanted: Vec<i64> = (1..count as i64).filter(|n| *n != 5).collect();
            assert_eq!(found, wanted, "MNY-1: of {count}");
        }
    }
}
