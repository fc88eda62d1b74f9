//! The memories that say most of what a question asks for.
//!
//! They are ranked by the impacts that an index in memory would have (`words`), so both rank alike. Not all that have a word are
//! looked at where that word is common (MaxScore: Turtle and Flood 1995, on an index in two layers of impact):
//!
//! 1. Those that have a word at great impact, or two of the words, are ranked. Any other has one word at less, so a word that
//!    is worth too little even then is done with.
//! 2. Of the words that are left, the rarest are asked for, then the common ones, if a memory with no other could be among the best.
//!
//! Invariants: `PGR-1` where the common words together are in more than [`COMMON_ROWS_MAX`] memories, and only there, a memory
//! that has none of the rare ones may be missed.
//!
//! Not here: in how many memories a word is (`recall`).

use std::{cmp::Reverse, fmt::Write as _};

use super::{
    passing::{Passing, once},
    words,
};
use crate::{
    index::text::Term,
    rows::{fault::SqlFault, read::conditions::Conditions},
    sql::{Connection, params_from_iter},
};

/// Memories with one of the words that are ranked at once, first; four times as many each time after. Tests have few memories.
const STEP_ROWS: u64 = if cfg!(test) { 3 } else { 2_000 };
/// Memories with one of the common words up to which they are ranked too.
const COMMON_ROWS_MAX: u64 = 100_000;
/// Words of a question up to which those of great impact are looked for first: each two of them are asked for, too.
const GREAT_TERMS_MAX: usize = 6;
/// Memories with one of the words up to which all are ranked at once. Tests have few memories.
const GREAT_ROWS_MIN: u64 = if cfg!(test) { 3 } else { 1_000 };

/// A term of a question.
pub(super) struct Weighed {
    pub(super) written: String,
    pub(super) term: Term,
    pub(super) required: bool,
    /// In how many memories it is.
    pub(super) rows: u64,
    /// What one of its impact is worth.
    pub(super) weight: u32,
}

impl Weighed {
    fn number(&self) -> i64 {
        words::number(self.term)
    }
}

/// The best rows by words, with raw scores. The rarest of the terms are first.
pub(super) fn by_words(
    connection: &Connection,
    passing: &Passing,
    terms: &[Weighed],
    wanted: u32,
) -> Result<Vec<(i64, i64)>, SqlFault> {
    best_of(terms, wanted, |having| passing.ranked(connection, &having, terms, wanted))
}

/// The same, where `ranked` gives the best of those that have what they must.
fn best_of<E>(
    terms: &[Weighed],
    wanted: u32,
    ranked: impl Fn(Having) -> Result<Vec<(i64, i64)>, E>,
) -> Result<Vec<(i64, i64)>, E> {
    if terms.is_empty() || wanted == 0 {
        return Ok(Vec::new());
    }
    if terms.iter().any(|term| term.required) {
        let required = terms.iter().filter(|term| term.required);
        return ranked(Having::All(required.map(Weighed::number).collect()));
    }
    let layered = terms.len() <= GREAT_TERMS_MAX && rows_of(terms) > GREAT_ROWS_MIN;
    let mut best = if layered { ranked(Having::great(terms))? } else { Vec::new() };
    let (mut open, mut asked, mut step_rows) = (terms, false, STEP_ROWS);
    loop {
        open = promising(open, layered, worst(&best, wanted));
        let is_full = best.len() >= wanted as usize;
        if open.is_empty() || (rows_of(open) > COMMON_ROWS_MAX && (asked || is_full)) {
            return Ok(best);
        }
        let (now, later) = open.split_at(prefix(open, step_rows));
        let more = ranked(Having::Any(now.iter().map(Weighed::number).collect()))?;
        best = merged(best, more, wanted);
        (open, asked, step_rows) = (later, true, step_rows * 4);
    }
}

/// In how many memories the terms are, at most.
fn rows_of(terms: &[Weighed]) -> u64 {
    terms.iter().map(|term| term.rows).sum()
}

/// How many of the terms, rarest first, are in no more than `most` memories; 1 at least.
fn prefix(terms: &[Weighed], most: u64) -> usize {
    let fits = |count: &usize| rows_of(&terms[..*count]) <= most;
    (2..=terms.len()).take_while(fits).last().unwrap_or(1)
}

/// Without the terms, the lightest, that a row must have others beside to be better than the worst.
fn promising(terms: &[Weighed], layered: bool, worst: i64) -> &[Weighed] {
    let can_be_better = |from: &usize| ceiling(&terms[*from..], layered) >= worst;
    &terms[..(0..terms.len()).take_while(can_be_better).count()]
}

/// What a row that has been asked for by none of its words can score if it has only these.
fn ceiling(terms: &[Weighed], layered: bool) -> i64 {
    let weights = terms.iter().map(|term| i64::from(term.weight));
    if layered {
        // It has one of them, and not at great impact.
        return weights.max().unwrap_or(0) * i64::from(words::GREAT - 1);
    }
    weights.sum::<i64>() * i64::from(u8::MAX)
}

/// The best of both.
fn merged(mut best: Vec<(i64, i64)>, more: Vec<(i64, i64)>, wanted: u32) -> Vec<(i64, i64)> {
    best.extend(more);
    best.sort_by_key(|(row, score)| (Reverse(*score), *row));
    best.dedup();
    best.truncate(wanted as usize);
    best
}

/// The score of the last of so many best rows; 0 where there are fewer.
fn worst(best: &[(i64, i64)], wanted: u32) -> i64 {
    best.last().filter(|_| best.len() >= wanted as usize).map_or(0, |(_, score)| *score)
}

/// Which words a row must have to be ranked, by their numbers.
enum Having {
    All(Vec<i64>),
    Any(Vec<i64>),
    AnyOrPair(Vec<i64>, Vec<[i64; 2]>),
}

impl Having {
    /// One of the terms at great impact, or two of them.
    fn great(terms: &[Weighed]) -> Self {
        let great = terms.iter().map(|term| words::great(term.term)).collect();
        let pairs = terms.iter().enumerate().flat_map(|(at, one)| {
            terms[at + 1..].iter().map(move |other| [one.number(), other.number()])
        });
        Self::AnyOrPair(great, pairs.collect())
    }

    /// As a condition on `t.terms`.
    fn bind(&self, conditions: &mut Conditions) -> String {
        let mut one = |operator: &str, numbers: &[i64]| {
            let given = conditions.bind(words::array(numbers.iter().copied()));
            format!("t.terms {operator} {}", once(&given, "bigint[]"))
        };
        match self {
            Self::All(numbers) => one("@>", numbers),
            Self::Any(numbers) => one("&&", numbers),
            Self::AnyOrPair(numbers, pairs) => {
                let mut text = one("&&", numbers);
                for pair in pairs {
                    let _ = write!(text, " OR {}", one("@>", pair));
                }
                format!("({text})")
            }
        }
    }
}

/// Binds the terms and their weights, and gives the raw score of `t`.
pub(super) fn score(conditions: &mut Conditions, terms: &[Weighed]) -> String {
    let mut text = String::from("CAST(0");
    for term in terms {
        let (number, weight) =
            (conditions.bind(term.number()), conditions.bind(i64::from(term.weight)));
        let _ = write!(
            text,
            " + coalesce(CAST({weight} AS bigint) * get_byte(t.impacts, \
             array_position(t.terms, CAST({number} AS bigint)) - 1), 0)"
        );
    }
    text.push_str(" AS bigint)");
    text
}

impl Passing {
    /// The best of those that a query of words finds.
    fn ranked(
        &self,
        connection: &Connection,
        having: &Having,
        terms: &[Weighed],
        wanted: u32,
    ) -> Result<Vec<(i64, i64)>, SqlFault> {
        let mut conditions = self.conditions.clone();
        let having = having.bind(&mut conditions);
        let score = score(&mut conditions, terms);
        // Ranked first, so that only so many of the memories are looked at as it takes until enough have passed.
        let text = format!(
            "SELECT t.row, t.score FROM (SELECT t.row, {score} AS score FROM texts t \
             WHERE {having} ORDER BY score DESC, t.row) t \
             CROSS JOIN memories ON memories.row = t.row \
             WHERE {} ORDER BY t.score DESC, t.row LIMIT {wanted}",
            conditions.text()
        );
        let mut statement = connection.prepare_cached(&text)?;
        let values = params_from_iter(conditions.values());
        let rows = statement.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::index::lexical::idf;

    /// The impact of each term that it has, and whether it passes the filter.
    type Text = (Vec<Option<u8>>, bool);

    /// The first term. No other has twice its number, which is what a great one goes by.
    const FIRST: Term = 1_000;

    fn has(text: &Text, number: i64) -> bool {
        let is = |(term, impact): (Term, &Option<u8>)| match impact {
            None => false,
            Some(impact) => {
                words::number(term) == number
                    || (words::great(term) == number && *impact >= words::GREAT)
            }
        };
        (FIRST..).zip(&text.0).any(is)
    }

    fn ranked(texts: &[Text], terms: &[Weighed], wanted: u32, having: &Having) -> Vec<(i64, i64)> {
        let passes = |text: &Text| match having {
            Having::All(numbers) => numbers.iter().all(|number| has(text, *number)),
            Having::Any(numbers) => numbers.iter().any(|number| has(text, *number)),
            Having::AnyOrPair(numbers, pairs) => {
                numbers.iter().any(|number| has(text, *number))
                    || pairs.iter().any(|pair| pair.iter().all(|number| has(text, *number)))
            }
        };
        let worth = |text: &Text, term: &Weighed| {
            let impact = text.0[(term.term - FIRST) as usize];
            i64::from(term.weight) * impact.map_or(0, i64::from)
        };
        let score = |text: &Text| terms.iter().map(|term| worth(text, term)).sum();
        let found = texts.iter().zip(0..).filter(|(text, _)| text.1 && passes(text));
        merged(found.map(|(text, row)| (row, score(text))).collect(), Vec::new(), wanted)
    }

    /// The first so many terms as a question has them.
    fn question(texts: &[Text], terms: usize) -> Vec<Weighed> {
        let weighed = |at: usize| {
            let rows = texts.iter().filter(|text| text.0[at].is_some()).count();
            Weighed {
                written: at.to_string(),
                term: FIRST + at as Term,
                required: false,
                rows: rows as u64,
                weight: idf::weight(texts.len() as u32, rows as u32),
            }
        };
        let mut weighed: Vec<Weighed> = (0..terms).map(weighed).collect();
        weighed.sort_by_key(|term| (term.rows, term.term));
        weighed
    }

    const TERMS: usize = 8;

    fn texts() -> impl Strategy<Value = Vec<Text>> {
        // Each term is rarer than the one before.
        let impact = |at: usize| prop::option::weighted(0.9 / (at + 1) as f64, 1..=255u8);
        let impacts: Vec<_> = (0..TERMS).map(impact).collect();
        prop::collection::vec((impacts, prop::bool::weighted(0.8)), 1..60)
    }

    proptest! {
        #[test]
        fn no_better_one_is_missed(texts in texts(), terms in 1..=TERMS, wanted in 1..20u32) {
            let terms = question(&texts, terms);
            let numbers = terms.iter().map(Weighed::number).collect();
            let all = ranked(&texts, &terms, wanted, &Having::Any(numbers));
            let ask = |having| Ok::<_, ()>(ranked(&texts, &terms, wanted, &having));
            prop_assert_eq!(best_of(&terms, wanted, ask), Ok(all));
        }
    }

    #[test]
    fn common_words_are_not_asked_for_where_they_are_worth_too_little() {
        // All have the first term at little impact; ten have the second, at great impact.
        let text = |at: usize| {
            let mut impacts = vec![Some(1), (at < 10).then_some(200)];
            impacts.resize(TERMS, None);
            (impacts, true)
        };
        let texts: Vec<Text> = (0..1_000).map(text).collect();
        let terms = question(&texts, 2);
        let asked = std::cell::Cell::new(0);
        let ask = |having| {
            asked.set(asked.get() + 1);
            Ok::<_, ()>(ranked(&texts, &terms, 10, &having))
        };
        let best = best_of(&terms, 10, ask).unwrap_or_default();
        assert_eq!(best.iter().map(|(row, _)| *row).collect::<Vec<_>>(), Vec::from_iter(0..10));
        assert_eq!(asked.get(), 1, "those of great impact are enough");
    }
}
