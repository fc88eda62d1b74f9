//! Indexes that are filled from the rows while the writer goes on.
//!
//! The build is stepped by hand, so that a commit can come between any two steps; what it ends with is compared with an
//! index built in one go.

use std::collections::BTreeMap;

use runtime::disk::faulty::Generator;
use types::{NewMemory, Patch, Scope, memory::Embedding};

use super::{
    machine::{Machine, commit_intents},
    world::*,
};
use crate::{
    answer::Candidates,
    index::{Attributes, Serving},
    port::{EmbeddingSpace, ReadStore, WriteStore},
    request::{CandidateQuery, Intent, MemoryFilter, Reader, Viewer},
    rows::{
        indexes::{Build, Indexes},
        read::{candidates, sight::Sight},
        write::writer::Writer,
    },
    sqlite::open_store,
};

/// What indexes know, by row.
fn content(indexes: &Serving) -> BTreeMap<i64, (Attributes, Vec<u8>)> {
    let snapshot = indexes.recall.snapshot();
    let vectors = indexes.vectors.as_ref().unwrap();
    let probe = [1.0, 2.0, 3.0, 4.0];
    let slots: Vec<_> = snapshot.living().iter().collect();
    let scores = vectors.scores(&probe, &slots).unwrap();
    let entry = |(slot, score): (&u32, Option<f32>)| {
        let score = score.map_or_else(Vec::new, |score| score.to_le_bytes().to_vec());
        (snapshot.rowid(*slot).unwrap(), (snapshot.attributes(*slot).unwrap(), score))
    };
    slots.iter().zip(scores).map(entry).collect()
}

fn step(writer: &Writer, indexes: &Indexes, build: &mut Build) -> bool {
    let connection = writer.connection.as_ref().unwrap();
    build.step(indexes, connection, &writer.config.space).unwrap()
}

/// A step with changes between its halves.
fn step_disturbed(
    writer: &mut Writer,
    indexes: &Indexes,
    build: &mut Build,
    mut disturb: impl FnMut(&mut Writer),
) {
    let connection = writer.connection.as_ref().unwrap();
    let slice = build.read_slice(indexes, connection, &writer.config.space).unwrap();
    disturb(writer);
    build.feed_slice(indexes, slice).unwrap();
}

/// Stores, rewords, restates and deletes memories of numbers below `end`.
fn disturb(writer: &mut Writer, chance: &mut Generator, living: &mut Vec<u128>, end: &mut u128) {
    let ann = viewer("ann");
    let intent = match (chance.below(4), living.is_empty()) {
        (0, _) | (_, true) => {
            let number = *end;
            *end += 1;
            living.push(number);
            store_intent(with_vector(number, "fresh"))
        }
        (1, _) => {
            let at = chance.below(living.len() as u64) as usize;
            delete(living.swap_remove(at))
        }
        (kind, _) => {
            let number = living[chance.below(living.len() as u64) as usize];
            let title = format!("reworded{number}").parse().unwrap();
            let patch = match kind {
                2 => Patch { title: Some(title), ..Patch::default() },
                _ => Patch { priority: Some(1 + chance.below(10) as u8), ..Patch::default() },
            };
            Intent::Update { id: full(number), patch: Box::new(patch), expected_version: None }
        }
    };
    commit_intents(writer, &ann, vec![intent]).unwrap();
}

/// A memory named by a word and its number; every third has no vector.
fn with_vector(number: u128, word: &str) -> NewMemory {
    let values = vec![1.0, number as f32, (number % 7) as f32, (number % 13) as f32];
    let embedding = Embedding { model: "test".into(), version: "1".into(), values };
    let new = memory(&viewer("ann"), number, &format!("{word}{number}"), Scope::Private);
    NewMemory { embedding: (!number.is_multiple_of(3)).then_some(embedding), ..new }
}

fn delete(number: u128) -> Intent {
    Intent::Delete { id: full(number), expected_version: None, reason: String::new() }
}

fn fill(writer: &mut Writer, numbers: std::ops::Range<u128>) {
    let ann = viewer("ann");
    for number in numbers {
        commit_intents(writer, &ann, vec![store_intent(with_vector(number, "note"))]).unwrap();
    }
}

#[test]
fn what_is_filled_while_the_writer_goes_on_equals_what_is_built_in_one_go() {
    for seed in 1..=12 {
        let machine = Machine::new(seed);
        let mut chance = Generator::new(seed);
        fill(&mut machine.boot().unwrap(), 0..700);
        let (mut writer, build) = machine.boot_ahead(0).unwrap();
        let mut build = build.expect("700 rows are more than none");
        let indexes = writer.recall.indexes().unwrap().clone();
        let (mut living, mut end) = ((0..700).collect(), 700);
        assert!(indexes.searchable().is_none(), "IDX-2");
        for _ in 0..3 {
            step_disturbed(&mut writer, &indexes, &mut build, |writer| {
                for _ in 0..60 {
                    disturb(writer, &mut chance, &mut living, &mut end);
                }
            });
        }
        while step(&writer, &indexes, &mut build) {
            for _ in 0..chance.below(8) {
                disturb(&mut writer, &mut chance, &mut living, &mut end);
            }
        }
        assert!(indexes.is_complete() && !indexes.is_filling());
        let filled = content(&indexes.serving());
        drop((writer, build));
        let fresh = machine.boot().unwrap();
        assert_eq!(filled, content(&fresh.recall.indexes().unwrap().serving()), "seed {seed}");
        assert_eq!(filled.len(), living.len(), "seed {seed}");
        assert!(filled.values().filter(|(_, score)| !score.is_empty()).count() > 200);
    }
}

#[test]
fn a_replacement_drops_the_dead_and_misses_nothing() {
    for seed in 1..=6 {
        let machine = Machine::new(seed);
        let mut chance = Generator::new(seed);
        let mut writer = machine.boot().unwrap();
        fill(&mut writer, 0..300);
        let (mut living, mut end) = ((0..300).collect(), 300);
        for _ in 0..200 {
            disturb(&mut writer, &mut chance, &mut living, &mut end);
        }
        let indexes = writer.recall.indexes().unwrap().clone();
        let old = indexes.serving();
        let mut build = indexes.begin_replacement(writer.connection.as_ref().unwrap()).unwrap();
        assert!(indexes.searchable().is_some(), "the old ones serve until then");
        for _ in 0..4 {
            step_disturbed(&mut writer, &indexes, &mut build, |writer| {
                for _ in 0..40 {
                    disturb(writer, &mut chance, &mut living, &mut end);
                }
            });
        }
        while step(&writer, &indexes, &mut build) {
            disturb(&mut writer, &mut chance, &mut living, &mut end);
        }
        let new = indexes.serving();
        assert_ne!(new.recall.snapshot().lineage(), old.recall.snapshot().lineage());
        assert!(new.recall.snapshot().slots() < old.recall.snapshot().slots());
        let replaced = content(&new);
        drop((writer, build));
        assert_eq!(
            replaced,
            content(&machine.boot().unwrap().recall.indexes().unwrap().serving()),
            "seed {seed}"
        );
    }
}

#[test]
fn a_row_that_was_read_and_then_changed_is_not_fed_as_it_was() {
    let machine = Machine::new(3);
    fill(&mut machine.boot().unwrap(), 0..250);
    let (mut writer, build) = machine.boot_ahead(0).unwrap();
    let mut build = build.unwrap();
    let indexes = writer.recall.indexes().unwrap().clone();
    let ann = viewer("ann");
    // Of the rows that were read one goes, and one of those still to be read.
    step_disturbed(&mut writer, &indexes, &mut build, |writer| {
        for number in [7, 240] {
            commit_intents(writer, &ann, vec![delete(number)]).unwrap();
        }
    });
    while step(&writer, &indexes, &mut build) {}
    assert_eq!(indexes.serving().recall.snapshot().live(), 248);
    assert_eq!(found(&writer, &ann, "note7").items.len(), 0);
    assert_eq!(found(&writer, &ann, "note240").items.len(), 0);
}

#[test]
fn vectors_that_an_image_lacks_come_after_the_words() {
    let machine = Machine::new(4);
    let mut writer = machine.boot().unwrap();
    fill(&mut writer, 0..450);
    let indexes = writer.recall.indexes().unwrap().clone();
    indexes.save_words().unwrap();
    let whole = content(&indexes.serving());
    drop((writer, indexes));
    let (mut writer, build) = machine.boot_ahead(0).unwrap();
    let mut build = build.expect("no vector was sealed");
    let indexes = writer.recall.indexes().unwrap().clone();
    step(&writer, &indexes, &mut build);
    assert!(indexes.searchable().is_some() && indexes.is_filling(), "BLD-3");
    let ann = viewer("ann");
    step_disturbed(&mut writer, &indexes, &mut build, |writer| {
        commit_intents(writer, &ann, vec![delete(1)]).unwrap();
    });
    while step(&writer, &indexes, &mut build) {}
    let mut filled = content(&indexes.serving());
    assert_eq!(filled.len(), 449);
    filled.insert(2, whole[&2].clone());
    assert_eq!(filled, whole);
}

fn query(text: &str) -> CandidateQuery {
    CandidateQuery {
        text: text.to_owned(),
        vector: None,
        filter: MemoryFilter::default(),
        depth: 10,
        now_ms: NOW_MS,
        explain: false,
    }
}

/// What recall finds at this moment, on the writer's own connection.
fn found(writer: &Writer, who: &Viewer, text: &str) -> Candidates {
    let source = match writer.recall.indexes().unwrap().searchable() {
        Some(serving) => candidates::Source::Indexes(serving),
        None => candidates::Source::Rows(writer.config.space.clone()),
    };
    let sight = Sight::of(Reader::Agent(who));
    let connection = writer.connection.as_ref().unwrap();
    candidates::candidates(connection, &sight, &source, &query(text)).unwrap()
}

#[test]
fn until_the_words_are_complete_the_newest_rows_are_searched_and_the_answer_says_so() {
    let machine = Machine::new(5);
    fill(&mut machine.boot().unwrap(), 0..450);
    let (mut writer, build) = machine.boot_ahead(0).unwrap();
    let ann = viewer("ann");
    let answer = found(&writer, &ann, "note3 and note449");
    let titles: Vec<&str> = answer.items.iter().map(|item| item.memory.title.as_str()).collect();
    assert!(answer.rebuilding);
    assert_eq!(answer.position, 450);
    assert_eq!(titles, ["note3", "note449"], "by their words, however old in the window");
    assert_eq!(found(&writer, &viewer("bob"), "note3").items.len(), 0, "STO-2");
    fill(&mut writer, 450..451);
    assert_eq!(found(&writer, &ann, "note450").items.len(), 1, "STO-4");
    let mut build = build.unwrap();
    let indexes = writer.recall.indexes().unwrap().clone();
    while step(&writer, &indexes, &mut build) {}
    let answer = found(&writer, &ann, "note3 and note450");
    assert!(!answer.rebuilding);
    assert_eq!(answer.items.len(), 2);
}

#[tokio::test]
async fn a_store_whose_index_is_gone_opens_at_once_and_completes_it_beside_its_work() {
    let folder = tempfile::tempdir().unwrap();
    let (ann, data) = (viewer("ann"), folder.path().join("data"));
    let disk = runtime::disk::OsDisk::shared();
    let store = open(&data);
    for number in 0..300 {
        put(&store, &ann, number, &format!("note{number}")).await;
    }
    store.close().await.unwrap();
    drop(store);
    std::fs::remove_dir_all(data.join("recall")).unwrap();
    let settings = crate::rows::StoreConfig { ahead_rows: 0, ..config() };
    let store = open_store(disk, &data, settings).unwrap();
    for number in [0, 299] {
        let text = format!("note{number}");
        let answer = store.candidates(Reader::Agent(&ann), query(&text)).await.unwrap();
        assert_eq!(answer.items.len(), 1, "{text}");
    }
    // Checking waits for the index and compares it with the rows.
    assert_eq!(store.check().await.unwrap(), []);
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.index_rebuilding, stats.extra["index_live"]), (false, 300));
    store.close().await.unwrap();
    drop(store);
    assert!(data.join("recall/manifest.hmi").exists(), "the finished index was saved");
}

#[test]
fn a_space_without_vectors_is_searched_by_words() {
    let machine = Machine::new(9);
    fill(&mut machine.boot().unwrap(), 0..3);
    let writer = machine.boot().unwrap();
    let space = EmbeddingSpace { dimension: 0, ..writer.config.space.clone() };
    let sight = Sight::of(Reader::Operator);
    let connection = writer.connection.as_ref().unwrap();
    let source = candidates::Source::Rows(space);
    let answer = candidates::candidates(connection, &sight, &source, &query("note1")).unwrap();
    assert_eq!(answer.items.len(), 1);
}
