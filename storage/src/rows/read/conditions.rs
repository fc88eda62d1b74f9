//! A [`MemoryFilter`] as the conditions of a statement.
//!
//! Parameters 1 and 2 are the reader's sight and the clock (`sight`); those of the filter follow.
//! The text depends only on which conditions are present, never on their values, so the statements stay in the
//! connection's cache.
//!
//! Invariants: a value reaches SQL as a parameter, never as text; names that the store has never seen match
//! nothing.
//!
//! Not here: order and limits.

use std::fmt::Write as _;

use types::Tag;

use super::sight::Sight;
use crate::{
    request::{MemoryFilter, NamespaceFilter},
    rows::{fault::SqlFault, row::signed},
    sql::{Connection, Value},
};

/// Conditions joined by AND, with their parameters.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    /// `base` is `usable!()` or a relative, which needs parameters 1 and 2.
    pub(crate) fn new(sight: &Sight, now_ms: u64, base: &str) -> Self {
        Self { text: base.to_owned(), values: vec![sight.parameter(), signed(now_ms).into()] }
    }

    /// The text behind WHERE.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The parameters, in order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    /// The name that the next parameter bound will have.
    pub(crate) fn next_name(&self) -> String {
        format!("?{}", self.values.len() + 1)
    }

    /// Binds a value and gives the name of its parameter.
    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> String {
        let name = self.next_name();
        self.values.push(value.into());
        name
    }

    /// Adds `before`, the parameter bound to `value`, and `after`.
    pub(crate) fn and(&mut self, before: &str, value: impl Into<Value>, after: &str) {
        let name = self.bind(value);
        let _ = write!(self.text, " AND {before}{name}{after}");
    }

    /// Adds that a column is one of these.
    pub(crate) fn any_of(&mut self, column: &str, values: impl IntoIterator<Item = Vec<u8>>) {
        let names: Vec<String> = values.into_iter().map(|value| self.bind(value)).collect();
        let _ = write!(self.text, " AND {column} IN ({})", names.join(", "));
    }

    /// Adds everything the filter asks for.
    pub(crate) fn filter_all(
        &mut self,
        connection: &Connection,
        filter: &MemoryFilter,
        now_ms: u64,
    ) -> Result<(), SqlFault> {
        if let Some(namespaces) = &filter.namespaces {
            let json = json_numbers(&namespace_ids(connection, namespaces)?);
            self.and("namespace IN (SELECT CAST(value AS INTEGER) FROM json_each(", json, "))");
        }
        self.filter(filter, now_ms);
        Ok(())
    }

    /// Adds everything the filter asks for except the namespaces.
    pub(crate) fn filter(&mut self, filter: &MemoryFilter, now_ms: u64) {
        if !filter.kinds.is_empty() {
            let mask: i64 = filter.kinds.iter().map(|kind| 1i64 << kind.number()).sum();
            self.and("((1 << kind) & ", mask, ") <> 0");
        }
        if !filter.tiers.is_empty() {
            let mask: i64 = filter.tiers.iter().map(|tier| 1i64 << tier.number()).sum();
            self.and("((1 << tier) & ", mask, ") <> 0");
        }
        for tag in &filter.tags_all {
            self.and(
                "EXISTS (SELECT 1 FROM tags t CROSS JOIN memory_tags mt ON mt.tag = t.id \
                 WHERE mt.row = memories.row AND t.name = ",
                tag.as_str().to_owned(),
                ")",
            );
        }
        if !filter.tags_any.is_empty() {
            let tags: Vec<&str> = filter.tags_any.iter().map(Tag::as_str).collect();
            self.and(
                "EXISTS (SELECT 1 FROM memory_tags mt WHERE mt.row = memories.row \
                 AND mt.tag IN (SELECT t.id FROM tags t WHERE t.name IN (SELECT value FROM json_each(",
                serde_json::Value::from(tags).to_string(),
                "))))",
            );
        }
        if let Some(author) = &filter.author {
            let author = author.as_str().to_owned();
            self.and("author = (SELECT n.id FROM names n WHERE n.name = ", author, ")");
        }
        self.numbers(filter);
        self.validity(filter, now_ms);
    }

    fn numbers(&mut self, filter: &MemoryFilter) {
        if let Some(from_ms) = filter.created_from_ms {
            self.and("created_ms >= ", signed(from_ms), "");
        }
        if let Some(until_ms) = filter.created_until_ms {
            self.and("created_ms < ", signed(until_ms), "");
        }
        if let Some(least) = filter.priority_min {
            self.and("priority >= ", i64::from(least), "");
        }
        if let Some(least) = filter.confidence_min_permille {
            self.and("confidence_permille >= ", i64::from(least), "");
        }
    }

    fn validity(&mut self, filter: &MemoryFilter, now_ms: u64) {
        if filter.include_invalid {
            return;
        }
        let at = self.bind(signed(filter.as_of_ms.unwrap_or(now_ms)));
        let _ = write!(
            self.text,
            " AND (valid_from_ms IS NULL OR valid_from_ms <= {at}) \
             AND (valid_until_ms IS NULL OR valid_until_ms > {at})"
        );
    }
}

/// Ids of the namespaces that a filter names and the store knows, ascending.
pub(crate) fn namespace_ids(
    connection: &Connection,
    filter: &NamespaceFilter,
) -> Result<Vec<i64>, SqlFault> {
    let (text, value) = match filter {
        NamespaceFilter::Exactly(only) => {
            ("SELECT id FROM namespaces WHERE name = ?1", only.as_str().to_owned())
        }
        NamespaceFilter::WithAncestors(lowest) => {
            let names: Vec<String> = lowest.with_ancestors().map(|n| n.to_string()).collect();
            (
                "SELECT id FROM namespaces WHERE name IN (SELECT value FROM json_each(?1)) ORDER BY id",
                serde_json::Value::from(names).to_string(),
            )
        }
        // '0' is the character behind '/', so the range is exactly the names below.
        NamespaceFilter::Within(top) => (
            "SELECT id FROM namespaces WHERE name = ?1 \
             OR name > ?1 || '/' AND name < ?1 || '0' ORDER BY id",
            top.as_str().to_owned(),
        ),
    };
    let mut statement = connection.prepare_cached(text)?;
    let ids = statement.query_map([value], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(ids)
}

/// The ids as a JSON array, for `IN (SELECT value FROM json_each(…))`.
pub(crate) fn json_numbers(ids: &[i64]) -> String {
    serde_json::Value::from(ids).to_string()
}

/// A glob of `*` and `?` as SQLite spells it: `[` opens a class there and is literal here.
pub(crate) fn sqlite_glob(glob: &str) -> String {
    glob.replace('[', "[[]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_know_two_wildcards_only() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let cases = [
            ("disk*", "disk full", true),
            ("disk*", "a disk", false),
            ("d?sk", "disk", true),
            ("[d]isk", "disk", false),
            ("[d]isk", "[d]isk", true),
            ("a]*", "a]b", true),
            ("Disk", "disk", false),
        ];
        for (glob, title, fits) in cases {
            let found: bool = connection
                .query_row("SELECT ?2 GLOB ?1", [sqlite_glob(glob).as_str(), title], |r| r.get(0))
                .unwrap();
            assert_eq!(found, fits, "{glob} against {title}");
        }
    }
}
