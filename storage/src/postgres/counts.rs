//! In how many memories words are, and whether many pass a filter.
//!
//! A word that few memories have is counted, which takes the server a look at each of them. What share of all has a word that
//! many have comes from the server's statistics instead: the most common elements of a column of arrays, found in a sample
//! (lossy counting: Manku and Motwani 2002; `array_typanalyze.c` of PostgreSQL), which it makes anew by itself as a table changes.
//!
//! Invariants: `CNT-1` a count is made again once more than a hundredth as many changes were made; `CNT-2` statistics are about
//! words in [`SAMPLED_ROWS_MIN`] memories or more, of a sample of up to 150,000 memories, and are not used once more than a fifth
//! of the memories has changed since.
//!
//! Not here: what a word is worth (`index::lexical::idf`).

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::{
    passing::{Passing, once},
    words,
};
use crate::{
    index::text::Term,
    rows::{
        fault::SqlFault,
        row::{signed, unsigned},
    },
    sql::{self, Connection},
};

/// Memories that have a word from which on they are not counted.
pub(super) const SAMPLED_ROWS_MIN: u64 = 1_000;
/// Changes after which is counted again, in 1/1000 of what was counted.
const AGE_PERMILLE: u64 = 10;
/// Most words whose counts are remembered.
const COUNTS_MAX: usize = 65_536;
/// Most filters that are remembered.
const FILTERS_MAX: usize = 1_024;
/// A share is in parts of this.
const WHOLE: u64 = 1_000_000_000;

/// Words that a share of the memories has, if that is still so: parts of [`WHOLE`].
const SHARES: &str = "SELECT e.number, CAST(round(CAST(e.share * 1e9 AS numeric)) AS bigint)
    FROM pg_stats s, unnest(CAST(CAST(s.most_common_elems AS text) AS bigint[]),
        s.most_common_elem_freqs) e (number, share)
    WHERE s.schemaname = current_schema() AND s.tablename = 'texts' AND s.attname = 'terms'
        AND e.number IS NOT NULL AND e.share * CAST(?1 AS bigint) >= CAST(?2 AS bigint)
        AND 5 * pg_stat_get_mod_since_analyze(CAST('texts' AS regclass)) <= CAST(?1 AS bigint)";

/// What was counted, and at which position.
#[derive(Clone, Copy)]
struct Counted {
    rows: u64,
    position: u64,
}

impl Counted {
    fn is_of(&self, position: u64) -> bool {
        position.saturating_sub(self.position) * 1000 <= self.rows * AGE_PERMILLE
    }
}

#[derive(Default)]
struct Known {
    all: Option<Counted>,
    /// Of all memories, by the numbers of words.
    shares: BTreeMap<i64, u64>,
    words: BTreeMap<Term, Counted>,
    /// Filters that many memories pass.
    broad: BTreeMap<String, Counted>,
}

/// In how many memories words are, as far as was asked.
pub(super) struct Counts {
    sampled_rows_min: u64,
    known: Mutex<Known>,
}

impl Counts {
    /// Counts words that fewer memories have than so many.
    pub(super) fn new(sampled_rows_min: u64) -> Self {
        Self { sampled_rows_min, known: Mutex::default() }
    }

    /// How many memories there are, and how many of them have each of the terms.
    pub(super) fn of(
        &self,
        connection: &Connection,
        position: u64,
        terms: impl Iterator<Item = Term>,
    ) -> Result<(u64, Vec<u64>), SqlFault> {
        let all = self.all(connection, position)?;
        let rows = terms.map(|term| self.word(connection, term, all, position));
        Ok((all, rows.collect::<Result<_, _>>()?))
    }

    /// How many memories pass a filter: `most` where it is as many or more, which is remembered.
    pub(super) fn passing(
        &self,
        connection: &Connection,
        position: u64,
        passing: &Passing,
        most: u64,
    ) -> Result<u64, SqlFault> {
        let known = self.known.lock().broad.get(&passing.question).copied();
        if let Some(known) = known.filter(|known| known.is_of(position)) {
            return Ok(known.rows);
        }
        let rows = passing.count(connection, most)?;
        if rows >= most {
            let mut known = self.known.lock();
            if known.broad.len() >= FILTERS_MAX {
                known.broad.clear();
            }
            known.broad.insert(passing.question.clone(), Counted { rows, position });
        }
        Ok(rows)
    }

    fn all(&self, connection: &Connection, position: u64) -> Result<u64, SqlFault> {
        let known = self.known.lock().all;
        if let Some(all) = known.filter(|all| all.is_of(position)) {
            return Ok(all.rows);
        }
        let text = "SELECT count(*) FROM texts";
        let rows = unsigned(connection.query_row(text, [], |row| row.get(0))?);
        let shares = self.shares(connection, rows)?;
        let mut known = self.known.lock();
        known.all = Some(Counted { rows, position });
        known.shares = shares;
        Ok(rows)
    }

    fn shares(&self, connection: &Connection, all: u64) -> Result<BTreeMap<i64, u64>, SqlFault> {
        if all < self.sampled_rows_min {
            return Ok(BTreeMap::new());
        }
        let mut statement = connection.prepare_cached(SHARES)?;
        let shares = statement.query_map((signed(all), signed(self.sampled_rows_min)), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let shares: Result<BTreeMap<i64, i64>, sql::Error> = shares.collect();
        Ok(shares?.into_iter().map(|(number, share)| (number, unsigned(share))).collect())
    }

    fn word(
        &self,
        connection: &Connection,
        term: Term,
        all: u64,
        position: u64,
    ) -> Result<u64, SqlFault> {
        let number = words::number(term);
        {
            let known = self.known.lock();
            if let Some(share) = known.shares.get(&number) {
                return Ok(u64::try_from(u128::from(all) * u128::from(*share) / u128::from(WHOLE))
                    .unwrap_or(all));
            }
            if let Some(counted) = known.words.get(&term).filter(|known| known.is_of(position)) {
                return Ok(counted.rows);
            }
        }
        let text = format!("SELECT count(*) FROM texts WHERE terms @> {}", once("?1", "bigint[]"));
        let rows = connection.query_row(&text, [words::array([number])], |row| row.get(0))?;
        let rows = unsigned(rows);
        let mut known = self.known.lock();
        if known.words.len() >= COUNTS_MAX {
            known.words.clear();
        }
        known.words.insert(term, Counted { rows, position });
        Ok(rows)
    }
}
