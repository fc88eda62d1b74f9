//! The memories that say most of what a question asks for.
//!
//! They are ranked by the impacts that an index in memory would have (`words`), so both rank alike. Not all that have a word are
//! looked at where that word is common (MaxScore: Turtle and Flood 1995, on an index in two layers of impact):
//!
//! 1. Of a rare word all that have it are ranked; of another those that have it at great impact, or with one of the words after it.
//!    The rarest words are first. The last ones are done with as soon as all of them together, at their greatest impact, would not
//!    make a memory one of the best.
//! 2. What is not ranked yet has only one of the words that were asked for, at less. If it could still be one of the best, all that
//!    have the word are ranked, the rarest first again.
//!
//! Invariants: `PGR-1` where the common words together are in more than [`COMMON_ROWS_MAX`] memories, and only there, a memory
//! that has none of the rare ones may be missed.
//!
//! Not here: in how many memories a word is (`counts`).

use std::{cmp::Reverse, fmt::Write as _, iter::successors};

use super::{
    passing::{Passing, once},
    words,
};
use crate::{
    index::text::Term,
    rows::{fault::SqlFault, read::conditions::Conditions},
    sql::{Connection, params_from_iter},
};

/// Memories that are ranked at once, about, first; four times as many each time after. Tests have few memories.
const STEP_ROWS: u64 = if cfg!(test) { 3 } else { 2_000 };
/// Memories with a rare word at most.
const RARE_ROWS_MAX: u64 = if cfg!(test) { 2 } else { 500 };
/// One in so many of the memories that have a word has it at great impact, about.
const GREAT_ONE_IN: u64 = 8;
/// Memories with one of the common words up to which they are ranked too.
const COMMON_ROWS_MAX: u64 = 100_000;
/// Words up to which each two are asked for; with more, all are taken for rare.
const PAIRED_TERMS_MAX: usize = 6;

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

    /// What it adds to a score at an impact.
    fn worth(&self, impact: u8) -> i64 {
        i64::from(self.weight) * i64::from(impact)
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
    let (mut best, mut asked) = (Vec::new(), Asked { terms, all: 0, some: 0 });
    for step_rows in successors(Some(STEP_ROWS), |rows| Some(rows.saturating_mul(4))) {
        let is_full = best.len() >= wanted as usize;
        let Some(having) = asked.next(worst(&best, wanted), is_full, step_rows) else { break };
        best = merged(best, ranked(having)?, wanted);
    }
    Ok(best)
}

/// What was asked for: all that have one of the first terms; of the next those that have it at great impact, or with a term after it.
///
/// So what was not ranked has none of the first; and if it has one of the next, then no other, and at less.
struct Asked<'t> {
    terms: &'t [Weighed],
    all: usize,
    some: usize,
}

impl Asked<'_> {
    /// What to ask for next, where a row that is worth less than the worst is none of the best.
    fn next(&mut self, worst: i64, is_full: bool, step_rows: u64) -> Option<Having> {
        let later = promising(&self.terms[self.some..], worst);
        let cost = |term: &Weighed| match self.is_rare(term) {
            true => term.rows,
            false => term.rows / GREAT_ONE_IN,
        };
        if let Some(now) = first_of(later, cost, step_rows, is_full || self.some > 0) {
            let rare = now.iter().filter(|term| self.is_rare(term)).count();
            let having = Having::rare_or_great(rare, now.len(), &self.terms[self.some..]);
            (self.all, self.some) = (self.all + rare, self.some + now.len());
            return Some(having);
        }
        let open = &self.terms[self.all..self.some];
        let can_be_better = |term: &&Weighed| term.worth(words::GREAT - 1) >= worst;
        let open = &open[..open.iter().take_while(can_be_better).count()];
        let now = first_of(open, |term| term.rows, step_rows, is_full || self.all > 0)?;
        self.all += now.len();
        Some(Having::Any(now.iter().map(Weighed::number).collect()))
    }

    /// Whether all that have it are asked for at once. No rare one comes after another.
    fn is_rare(&self, term: &Weighed) -> bool {
        term.rows <= RARE_ROWS_MAX || self.terms.len() - self.some > PAIRED_TERMS_MAX
    }
}

/// Those of the terms that are asked for at once, if any is.
fn first_of(
    terms: &[Weighed],
    cost: impl Fn(&Weighed) -> u64,
    step_rows: u64,
    is_enough: bool,
) -> Option<&[Weighed]> {
    let sum = |terms: &[Weighed]| terms.iter().map(&cost).sum::<u64>();
    let fits = |count: &usize| sum(&terms[..*count]) <= step_rows;
    let now = &terms[..(2..=terms.len()).take_while(fits).last().unwrap_or(1).min(terms.len())];
    let is_too_much = is_enough && sum(now) > step_rows && sum(terms) > COMMON_ROWS_MAX;
    (!now.is_empty() && !is_too_much).then_some(now)
}

/// Without the terms, the lightest, that a row must have others beside to be better than the worst.
fn promising(terms: &[Weighed], worst: i64) -> &[Weighed] {
    let ceiling = |from: usize| terms[from..].iter().map(|term| term.worth(u8::MAX)).sum::<i64>();
    &terms[..(0..terms.len()).take_while(|from| ceiling(*from) >= worst).count()]
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
    /// One of the first terms; or one of the next, up to an end, at great impact or with one after it.
    fn rare_or_great(rare: usize, end: usize, terms: &[Weighed]) -> Self {
        let great = terms[rare..end].iter().map(|term| words::great(term.term));
        let numbers = terms[..rare].iter().map(Weighed::number).chain(great).collect();
        let pairs = (rare..end).flat_map(|at| {
            terms[at + 1..].iter().map(move |other| [terms[at].number(), other.number()])
        });
        Self::AnyOrPair(numbers, pairs.collect())
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
