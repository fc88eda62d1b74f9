//! What comes back from disk: the same index, or less of it with a finding that says why; never a panic, never a wrong
//! row that stays.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::super::segment::SEGMENT_ROWS;
use super::*;

const ROWS: u32 = 2 * SEGMENT_ROWS + 900;

fn with_graph() -> VectorConfig {
    VectorConfig { graph_min_rows: 1_000, ..VectorConfig::default() }
}

fn data() -> Data {
    Data::new(24, 50)
}

fn stored(config: VectorConfig) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&data(), config, dir.path());
    data().fill(&index, 0..ROWS);
    settle(&index);
    index.flush().unwrap();
    assert!(index.take_findings().is_empty());
    dir
}

fn answers(index: &VectorIndex, mode: SearchMode) -> Vec<Answer> {
    let answer = |number| index.search(&data().vector((1u64 << 40) | number), 10, &all(ROWS), mode);
    (0..20).map(|number| answer(number).unwrap()).collect()
}

fn files(dir: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path().join("index")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_reopened_index_answers_alike_without_being_fed() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&data(), with_graph(), dir.path());
    data().fill(&index, 0..ROWS);
    settle(&index);
    index.remove(12);
    index.flush().unwrap();
    let again = open(&data(), with_graph(), dir.path());
    settle(&again);
    assert_eq!(again.take_findings(), []);
    assert_eq!(again.missing(&Bitmap::full(ROWS)).count(), 0);

    let mut live = Bitmap::full(ROWS);
    live.remove(12);
    assert_eq!(again.retain(&live), 1);
    for mode in [SearchMode::Exact, SearchMode::SignBits, SearchMode::Graph] {
        assert_eq!(answers(&index, mode), answers(&again, mode), "{mode:?}");
    }
    assert_eq!(answers(&again, SearchMode::Graph)[0].plan.kind, PlanKind::Graph);
    assert_eq!(again.stats().writable_segments, 0, "the files are served in place");
}

#[test]
fn files_of_another_space_or_lineage_are_dropped_and_named() {
    let other_lineage = VectorConfig { lineage: 2, ..no_graph() };
    let other_space = Space { version: "2".into(), ..data().space() };
    for (space, config, fault) in [
        (other_space, no_graph(), FileFault::OtherSpace),
        (data().space(), other_lineage, FileFault::OtherLineage),
    ] {
        let dir = stored(no_graph());
        let index =
            VectorIndex::open(space, config, OsDisk::shared(), dir.path().join("index")).unwrap();
        let findings = index.take_findings();
        assert!(findings.iter().all(|finding| finding.fault == fault), "{findings:?}");
        assert_eq!(findings.len(), 4, "the centre and three rows files: {findings:?}");
        assert_eq!(index.stats().live, 0);
        assert_eq!(index.missing(&Bitmap::full(ROWS)).count(), ROWS);
    }
}

#[test]
fn codes_and_centre_are_made_again_when_they_are_gone() {
    let dir = stored(no_graph());
    let before = answers(&open(&data(), no_graph(), dir.path()), SearchMode::SignBits);
    let keep = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("rows");
    for path in files(&dir).iter().filter(|path| !keep(path)) {
        fs::remove_file(path).unwrap();
    }
    let index = open(&data(), no_graph(), dir.path());
    assert_eq!(index.take_findings(), []);
    settle(&index);
    assert_eq!(answers(&index, SearchMode::SignBits), before);
    index.flush().unwrap();
    let again = open(&data(), no_graph(), dir.path());
    assert_eq!(again.take_findings(), [], "what was made again was also kept");
    assert_eq!(answers(&again, SearchMode::SignBits), before);
}

#[test]
fn a_graph_that_does_not_fit_is_dropped_while_the_scan_serves() {
    let dir = stored(with_graph());
    for number in 0..2 {
        fs::remove_file(dir.path().join(format!("index/rows-00000{number}.vec"))).unwrap();
    }
    let index = open(&data(), no_graph(), dir.path());
    settle(&index);
    let findings = index.take_findings();
    let graph = Finding { file: "graph.vec".into(), fault: FileFault::Unfitting };
    assert_eq!(findings, [graph]);
    assert_eq!(index.missing(&Bitmap::full(ROWS)).count(), 2 * SEGMENT_ROWS);
    let answer = index.search(&data().vector(1), 5, &all(ROWS), SearchMode::Graph).unwrap();
    assert_ne!(answer.plan.kind, PlanKind::Graph);
    assert_eq!(answer.hits.len(), 5);
}

/// Opens and uses whatever is there, as an owner would after a start.
fn feed_and_compare(dir: &TempDir, expected: &[Answer], what: &str) -> usize {
    // No new graph: building one takes long. One that is there is used all the same.
    let index = open(&data(), no_graph(), dir.path());
    for number in 0..3 {
        let mode = [SearchMode::Auto, SearchMode::Graph, SearchMode::SignBits][number as usize];
        index.search(&data().vector(number), 10, &all(ROWS), mode).unwrap();
    }
    settle(&index);
    let missing = index.missing(&Bitmap::full(ROWS));
    let findings = index.take_findings();
    assert!(missing.is_empty() || !findings.is_empty(), "{what}: rows vanished without a word");
    data().fill(&index, missing.iter());
    let exact = answers(&index, SearchMode::Exact);
    assert!(exact == expected, "{what}: a wrong row stayed");
    findings.len()
}

#[test]
fn a_flipped_byte_anywhere_is_found_or_harmless() {
    let dir = stored(with_graph());
    let expected = answers(&open(&data(), with_graph(), dir.path()), SearchMode::Exact);
    let originals: Vec<(PathBuf, Vec<u8>)> =
        files(&dir).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    assert_eq!(originals.len(), 8, "centre, graph, three of codes and rows each");
    let mut dice = Dice(11);
    let mut found = 0;
    for (path, bytes) in &originals {
        let name = path.file_name().unwrap().to_str().unwrap();
        let header = [0, 9, 13, 17, 21, 25, 40, 70, 97, 105, 113, 125, 4095].map(|at| at as usize);
        let body = [(); 8].map(|()| dice.below(bytes.len() as u64) as usize);
        for at in header.into_iter().chain(body) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << dice.below(8);
            fs::write(path, damaged).unwrap();
            found += feed_and_compare(&dir, &expected, &format!("{name} byte {at}"));
            for (path, bytes) in &originals {
                fs::write(path, bytes).unwrap();
            }
        }
    }
    assert!(found >= 8 * 13, "every damaged header was reported, got {found}");
}

#[test]
fn a_file_cut_short_is_found() {
    let dir = stored(with_graph());
    let expected = answers(&open(&data(), with_graph(), dir.path()), SearchMode::Exact);
    let originals: Vec<(PathBuf, Vec<u8>)> =
        files(&dir).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    for (path, bytes) in &originals {
        for len in [0, 1, 4095, 4096, bytes.len() - 1] {
            fs::write(path, &bytes[..len]).unwrap();
            let what = format!("{} cut to {len}", path.display());
            assert!(feed_and_compare(&dir, &expected, &what) > 0, "{what}: nobody noticed");
            for (path, bytes) in &originals {
                fs::write(path, bytes).unwrap();
            }
        }
    }
}

#[test]
fn leftovers_of_an_interrupted_write_are_cleared() {
    let dir = stored(no_graph());
    let leftover = dir.path().join("index/rows-000007.vec.tmp");
    fs::write(&leftover, b"half").unwrap();
    let index = open(&data(), no_graph(), dir.path());
    assert!(!leftover.exists());
    assert_eq!(index.stats().live, ROWS);
}
