//! The index against a plain model: every search compared with a full scan in the simplest possible code.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::attributes::tests::attributes;
use super::filter::tests::{Plan, filter, plan, visible};
use super::lexical::{explain::milli, idf};
use super::text::Term;
use super::*;

const WORDS: &[&str] = &[
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa",
    "lambda", "the", "of", "foo_bar", "RaftLog", "v1.2.3",
];

/// A text in which early words are common and late ones rare.
fn text(length: usize) -> impl Strategy<Value = String> {
    let word = (0..WORDS.len(), 0..WORDS.len()).prop_map(|(a, b)| WORDS[a.min(b)]);
    proptest::collection::vec(word, 0..length).prop_map(|words| words.join(" "))
}

#[derive(Debug, Clone)]
enum Step {
    Put(i64, Attributes, String, String),
    Restate(i64, Attributes),
    Remove(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let rowid = 1i64..60;
    prop_oneof![
        8 => (rowid.clone(), attributes(), text(5), text(24))
            .prop_map(|(rowid, row, title, content)| Step::Put(rowid, row, title, content)),
        1 => (rowid.clone(), attributes()).prop_map(|(rowid, row)| Step::Restate(rowid, row)),
        1 => rowid.prop_map(Step::Remove),
    ]
}

fn change(step: &Step) -> Change {
    match step.clone() {
        Step::Put(rowid, attributes, title, content) => {
            Change::Put { rowid, attributes, prepared: prepare(&title, &content, []) }
        }
        Step::Restate(rowid, attributes) => Change::Restate { rowid, attributes },
        Step::Remove(rowid) => Change::Remove { rowid },
    }
}

/// What the index should hold: every text ever put, and the slot and attributes of each row now.
#[derive(Default)]
struct Model {
    texts: Vec<(i64, BTreeMap<Term, u8>, String)>,
    rows: BTreeMap<i64, (Slot, Attributes)>,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step.clone() {
            Step::Put(rowid, attributes, title, content) => {
                let slot = self.texts.len() as Slot;
                let terms = prepare(&title, &content, []).terms.into_iter().collect();
                self.texts.push((rowid, terms, format!("{title}\n{content}")));
                self.rows.insert(rowid, (slot, attributes));
            }
            Step::Restate(rowid, attributes) => {
                if let Some(row) = self.rows.get_mut(&rowid) {
                    row.1 = attributes;
                }
            }
            Step::Remove(rowid) => {
                self.rows.remove(&rowid);
            }
        }
    }

    fn visible(&self, plan: &Plan) -> Vec<Slot> {
        let seen = self.rows.values().filter(|(_, row)| visible(plan, row));
        let mut slots: Vec<Slot> = seen.map(|(slot, _)| *slot).collect();
        slots.sort_unstable();
        slots
    }

    fn search(&self, query: &Query, plan: &Plan, k: usize) -> Vec<(Slot, i64, u32)> {
        let slots = self.texts.len() as u32;
        let mut best = Vec::new();
        for slot in self.visible(plan) {
            let (rowid, terms, _) = &self.texts[slot as usize];
            let score: u32 = query
                .terms()
                .iter()
                .map(|term| {
                    let having = self.texts.iter().filter(|text| text.1.contains_key(&term.term));
                    let weight = idf::weight(slots, having.count() as u32);
                    weight * terms.get(&term.term).map_or(0, |impact| u32::from(*impact))
                })
                .sum();
            let complete = |term: &QueryTerm| !term.required || terms.contains_key(&term.term);
            if score > 0 && query.terms().iter().all(complete) {
                best.push((std::cmp::Reverse(score), slot, *rowid));
            }
        }
        best.sort_unstable();
        best.truncate(k);
        best.into_iter().map(|(score, slot, rowid)| (slot, rowid, milli(score.0))).collect()
    }
}

/// Applies the steps in batches of the given sizes, over and over.
fn build(steps: &[Step], sizes: &[usize]) -> (RecallIndex, Model) {
    let (index, mut model) = (RecallIndex::new(1), Model::default());
    let (mut rest, mut position) = (steps, 0);
    for size in sizes.iter().cycle() {
        let (batch, later) = rest.split_at((*size).min(rest.len()));
        batch.iter().for_each(|step| model.apply(step));
        position += 1;
        index.apply(position, batch.iter().map(change).collect()).expect("positions rise");
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    (index, model)
}

fn triples(hits: Vec<Hit>) -> Vec<(Slot, i64, u32)> {
    hits.into_iter().map(|hit| (hit.slot, hit.rowid, hit.score_milli)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn searches_equal_a_full_scan_and_never_leave_the_filter(
        steps in proptest::collection::vec(step(), 1..160),
        sizes in proptest::collection::vec(1usize..30, 1..4),
        plans in proptest::collection::vec(plan(), 1..4),
        asked in text(6),
        quoted in proptest::option::weighted(0.3, text(3)),
        k in 0usize..12,
    ) {
        let (index, model) = build(&steps, &sizes);
        let query = Query::parse(&match &quoted {
            Some(phrase) => format!("{asked} \"{phrase}\""),
            None => asked,
        });
        let snapshot = index.snapshot();
        prop_assert_eq!(snapshot.live() as usize, model.rows.len());
        for plan in &plans {
            let filter = filter(plan);
            let allowed = snapshot.prefilter(&filter);
            let visible = model.visible(plan);
            prop_assert_eq!(allowed.iter().collect::<Vec<_>>(), visible.clone());
            prop_assert_eq!(allowed.count() as usize, visible.len());
            for slot in 0..snapshot.slots() + 2 {
                prop_assert_eq!(snapshot.admits(&filter, slot), allowed.contains(slot));
            }
            let expected = model.search(&query, plan, k);
            prop_assert_eq!(triples(index.search(&query, &filter, k)), expected.clone());
            prop_assert_eq!(triples(index.search_among(&snapshot, &query, &allowed, k)), expected.clone());
            for (slot, rowid, score) in expected {
                prop_assert!(visible.binary_search(&slot).is_ok());
                prop_assert_eq!(snapshot.rowid(slot), Some(rowid));
                prop_assert_eq!(snapshot.scores_milli(&query, &[slot]), [score]);
                let parts = snapshot.explain(&query, slot);
                let sum: u32 = parts.iter().map(|part| part.score_milli).sum();
                // Each part is rounded down on its own.
                prop_assert!(sum <= score && score - sum <= parts.len() as u32);
            }
        }
        for (rowid, (slot, row)) in &model.rows {
            prop_assert_eq!(index.slot_of(*rowid), Some(*slot));
            prop_assert_eq!(snapshot.attributes(*slot), Some(row.clone()));
        }
    }

    #[test]
    fn phrase_candidates_include_every_memory_with_the_phrase(
        steps in proptest::collection::vec(step(), 1..80),
        phrase in text(3),
    ) {
        let (index, model) = build(&steps, &[7]);
        let query = Query::parse(&format!("\"{phrase}\""));
        let all = Filter::new(Audiences::new((0..6).collect()), 0).any_validity();
        let found = index.search(&query, &all, 1000);
        for hit in &found {
            let text = &model.texts[hit.slot as usize].2;
            prop_assert!(query.phrases().iter().all(|p| p.words().iter().all(|w| text::words::words(text).contains(w)
                || text::stop::is_stop_word(w))) || query.terms().iter().all(|t| t.required));
        }
        for (slot, _) in model.rows.values() {
            let text = &model.texts[*slot as usize].2;
            let expires = model.rows.values().find(|row| row.0 == *slot).is_some_and(|row| row.1.expires_at_ms < 0);
            if !query.is_empty() && !expires && query.verify("", text) {
                prop_assert!(found.iter().any(|hit| hit.slot == *slot));
            }
        }
    }

    #[test]
    fn an_index_filled_beside_its_writer_serves_what_the_old_one_would(
        steps in proptest::collection::vec(step(), 1..80),
        later in proptest::collection::vec(step(), 0..20),
        asked in text(4),
    ) {
        let (index, mut model) = build(&steps, &[5]);
        let started = index.position();
        let fresh = RecallIndex::new(2);
        fresh.advance(started);
        let put = |model: &Model, rowid: i64| {
            let (slot, row) = &model.rows[&rowid];
            let terms = model.texts[*slot as usize].1.clone().into_iter().collect();
            Change::Put { rowid, attributes: row.clone(), prepared: Prepared { terms } }
        };
        let mut left: Vec<i64> = model.rows.keys().copied().collect();
        for (position, step) in (started + 1..).zip(&later) {
            // Rows are read as they are when their turn comes, then the writer goes on.
            let slice: Vec<i64> = left.drain(..left.len().min(7)).collect();
            let rows = slice.iter().filter(|row| model.rows.contains_key(row));
            fresh.feed(rows.map(|row| put(&model, *row)).collect()).expect("there are slots");
            model.apply(step);
            index.apply(position, vec![change(step)]).expect("positions rise");
            fresh.apply(position, vec![change(step)]).expect("positions rise");
        }
        let rows = left.iter().filter(|row| model.rows.contains_key(row));
        fresh.feed(rows.map(|row| put(&model, *row)).collect()).expect("there are slots");
        let snapshot = fresh.snapshot();
        prop_assert_eq!(snapshot.live() as usize, model.rows.len());
        prop_assert_eq!(snapshot.position(), index.position());
        for (rowid, (_, row)) in &model.rows {
            let slot = fresh.slot_of(*rowid).expect("the row is in the fresh index");
            prop_assert_eq!(snapshot.attributes(slot), Some(row.clone()));
        }
        let all = Filter::new(Audiences::new((0..6).collect()), 0).any_validity();
        let query = Query::parse(&asked);
        let rows = |index: &RecallIndex| -> std::collections::BTreeSet<i64> {
            index.search(&query, &all, 1000).iter().map(|hit| hit.rowid).collect()
        };
        prop_assert_eq!(rows(&fresh), rows(&index));
    }
}

#[test]
fn positions_that_do_not_rise_are_refused_and_change_nothing() {
    let index = RecallIndex::new(1);
    index.apply(5, Vec::new()).expect("5 is ahead of 0");
    let put = Change::Put {
        rowid: 1,
        attributes: Attributes::default(),
        prepared: prepare("title", "content", []),
    };
    assert_eq!(index.apply(5, vec![put]), Err(ApplyError::NotAhead { have: 5, got: 5 }));
    assert_eq!((index.position(), index.snapshot().slots()), (5, 0));
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let index = RecallIndex::new(1);
    let put = |title: &str| Change::Put {
        rowid: 1,
        attributes: Attributes::default(),
        prepared: prepare(title, "", []),
    };
    index.apply(1, vec![put("first")]).expect("1 is ahead");
    let old = index.snapshot();
    index.apply(2, vec![put("second")]).expect("2 is ahead");
    let filter = Filter::new(Audiences::new(vec![0]), 0);
    let count = |snapshot: &Snapshot, word: &str| {
        snapshot.search(&Query::parse(word), &filter, 9, &mut Scratch::default()).len()
    };
    assert_eq!((count(&old, "first"), count(&old, "second")), (1, 0));
    let new = index.snapshot();
    assert_eq!((count(&new, "first"), count(&new, "second")), (0, 1));
}

#[test]
fn a_rare_word_among_many_memories_is_found_by_those_who_may_see_it() {
    let index = RecallIndex::new(1);
    let put = |rowid: i64| Change::Put {
        rowid,
        attributes: Attributes { audience: (rowid % 2) as u32, ..Attributes::default() },
        prepared: prepare(if rowid % 800 < 2 { "needle" } else { "hay" }, "", []),
    };
    index.apply(1, (0..4_000).map(put).collect()).expect("1 is ahead");
    index.apply(2, vec![Change::Remove { rowid: 801 }]).expect("2 is ahead");
    let found = |audiences: Vec<u32>| -> Vec<i64> {
        let filter = Filter::new(Audiences::new(audiences), 0);
        index.search(&Query::parse("needles"), &filter, 99).iter().map(|hit| hit.rowid).collect()
    };
    assert_eq!(found(vec![0]), [0, 800, 1600, 2400, 3200]);
    assert_eq!(found(vec![1]), [1, 1601, 2401, 3201]);
    assert_eq!(found(vec![0, 1]).len(), 9);
    assert_eq!(found(vec![2]), Vec::<i64>::new());
}
