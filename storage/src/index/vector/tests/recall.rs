//! What a search returns: exactly the nearest in exact mode, nearly always them in the others, never a forbidden slot.

use std::collections::BTreeMap;

use half::f16;
use proptest::prelude::*;

use super::super::segment::SEGMENT_ROWS;
use super::*;

/// Seeds of queries begin here, beyond those of the rows.
const QUERY: u64 = 1 << 40;

/// Scores by the definition: stored halves times the query, in double precision.
fn brute_force(
    stored: &BTreeMap<Slot, Vec<f32>>,
    query: &[f32],
    k: usize,
    allowed: &Allowed,
) -> Vec<(Slot, f64)> {
    let unit = |vector: &[f32]| {
        let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        vector.iter().map(|x| f64::from(*x) / length).collect::<Vec<f64>>()
    };
    let query = unit(query);
    let mut scored: Vec<(Slot, f64)> = stored
        .iter()
        .filter(|(slot, _)| allowed.contains(**slot))
        .map(|(slot, vector)| {
            let row = unit(vector).into_iter().map(|x| f16::from_f64(x).to_f64());
            (*slot, row.zip(&query).map(|(a, b)| a * b).sum())
        })
        .collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scored.truncate(k);
    scored
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exact_mode_is_brute_force(
        seeds in proptest::collection::btree_map(0u32..6_000, 0u64..50, 0..150),
        removed in proptest::collection::vec(0usize..150, 0..20),
        step in 1usize..4,
        dimension in 1u16..100,
        k in 0u32..30,
    ) {
        let data = Data::new(dimension, 3);
        let index = VectorIndex::new(data.space(), no_graph()).unwrap();
        let mut stored = BTreeMap::new();
        for (slot, seed) in &seeds {
            stored.insert(*slot, data.vector(*seed));
            prop_assert!(index.add(*slot, &stored[slot]).unwrap());
        }
        let slots: Vec<Slot> = stored.keys().copied().collect();
        for slot in removed.iter().filter_map(|at| slots.get(*at)) {
            prop_assert_eq!(index.remove(*slot), stored.remove(slot).is_some());
        }
        let (query, allowed) = (data.vector(1_000), every(step, 6_000));
        let answer = index.search(&query, k, &allowed, SearchMode::Exact).unwrap();
        let expected = brute_force(&stored, &query, k as usize, &allowed);
        prop_assert_eq!(answer.hits.len(), expected.len());
        for (hit, (_, score)) in answer.hits.iter().zip(&expected) {
            // Equal seeds give equal vectors: rank by rank the scores agree, and each is its own slot's.
            prop_assert!((f64::from(hit.score) - score).abs() < 1e-4);
            let own = brute_force(&stored, &query, stored.len(), &allowed);
            let own = own.iter().find(|(slot, _)| *slot == hit.slot).unwrap().1;
            prop_assert!((f64::from(hit.score) - own).abs() < 1e-4);
        }
        let ranked = answer
            .hits
            .is_sorted_by(|a, b| a.score > b.score || (a.score == b.score && a.slot < b.slot));
        prop_assert!(ranked);
        prop_assert_eq!(answer.plan.selected as usize,
            stored.keys().filter(|slot| allowed.contains(**slot)).count());
    }
}

fn recall_at_10(
    index: &VectorIndex,
    data: &Data,
    allowed: &Allowed,
    mode: SearchMode,
    kind: PlanKind,
) -> f64 {
    let queries = 50;
    let mut found = 0;
    for number in 0..queries {
        let query = data.vector(QUERY | number);
        let exact = slots(&index.search(&query, 10, allowed, SearchMode::Exact).unwrap());
        let answer = index.search(&query, 10, allowed, mode).unwrap();
        assert_eq!(answer.plan.kind, kind);
        assert!(answer.hits.iter().all(|hit| allowed.contains(hit.slot)));
        found += slots(&answer).iter().filter(|slot| exact.contains(slot)).count();
    }
    found as f64 / (queries * 10) as f64
}

#[test]
fn sieve_and_graph_find_what_the_exact_scan_finds() {
    const ROWS: u32 = 20_000;
    let data = Data::new(128, 300);
    let config = VectorConfig { graph_min_rows: 10_000, ..VectorConfig::default() };
    let index = VectorIndex::new(data.space(), config).unwrap();
    data.fill(&index, 0..ROWS);
    settle(&index);
    let stats = index.stats();
    assert_eq!((stats.live, stats.graph_rows), (ROWS, 9 * SEGMENT_ROWS));

    for allowed in [all(ROWS), every(2, ROWS), every(6, ROWS)] {
        let sieve = recall_at_10(&index, &data, &allowed, SearchMode::SignBits, PlanKind::SignBits);
        assert!(sieve >= 0.98, "sign bits: {sieve}");
        let walk = recall_at_10(&index, &data, &allowed, SearchMode::Graph, PlanKind::Graph);
        assert!(walk >= 0.98, "graph: {walk}");
        let auto = recall_at_10(&index, &data, &allowed, SearchMode::Auto, PlanKind::SignBits);
        assert!(auto >= 0.98, "auto: {auto}");
    }
    recall_at_10(&index, &data, &every(25, ROWS), SearchMode::Auto, PlanKind::Exact);
}

#[test]
fn without_centring_a_common_direction_spoils_the_codes() {
    // The data's common direction is as strong as its clusters: this is what the mean is subtracted for.
    const ROWS: u32 = 12_000;
    let data = Data::new(128, 300);
    let raw = VectorIndex::new(data.space(), no_graph()).unwrap();
    let centred = VectorIndex::new(data.space(), no_graph()).unwrap();
    for index in [&raw, &centred] {
        data.fill(index, 0..ROWS);
    }
    settle(&centred);
    assert_ne!(raw.snapshot.load().centre.digest(), centred.snapshot.load().centre.digest());
    let of = |index: &VectorIndex| {
        let mut agreeing = 0;
        let snapshot = index.snapshot.load();
        let segment = snapshot.segments[0].as_ref().unwrap();
        for at in 0..1000 {
            // SAFETY: the rows are written and nobody writes.
            let (a, b) = unsafe { (segment.code(at), segment.code(at + 1000)) };
            agreeing += 128 - kernel::hamming(a, b);
        }
        f64::from(agreeing) / 128_000.0
    };
    let (raw, centred) = (of(&raw), of(&centred));
    assert!(raw > 0.6 && centred < 0.55, "agreeing bits: raw {raw}, centred {centred}");
}

#[test]
fn the_same_calls_give_the_same_answers() {
    let data = Data::new(48, 40);
    let build = || {
        let config = VectorConfig { graph_min_rows: 2_000, ..VectorConfig::default() };
        let index = VectorIndex::new(data.space(), config).unwrap();
        for start in (0..6_000).step_by(500) {
            data.fill(&index, start..start + 500);
            index.maintain(500).unwrap();
            index.remove(start + 17);
        }
        settle(&index);
        index
    };
    let (one, two) = (build(), build());
    assert!(one.stats().graph_rows > SEGMENT_ROWS, "the graph was extended: {:?}", one.stats());
    assert_eq!(one.stats(), two.stats());
    let graphs = (one.snapshot.load().graph.clone(), two.snapshot.load().graph.clone());
    assert!(graphs.0.unwrap().serialised() == graphs.1.unwrap().serialised());
    for number in 0..40 {
        let query = data.vector(QUERY | number);
        for mode in [SearchMode::SignBits, SearchMode::Graph] {
            let answers = [&one, &two].map(|index| index.search(&query, 20, &all(6_000), mode));
            let [first, second] = answers.map(Result::unwrap);
            assert_eq!(first, second);
        }
    }
}

#[test]
fn bad_arguments_are_refused_and_name_the_cause() {
    let data = Data::new(8, 2);
    let index = VectorIndex::new(data.space(), no_graph()).unwrap();
    let error = |result: Result<bool, VectorError>| result.unwrap_err().to_string();
    assert!(error(index.add(0, &[1.0; 9])).contains("9 dimensions"));
    assert!(error(index.add(0, &[0.0; 8])).contains("zero"));
    assert!(error(index.add(0, &[f32::NAN; 8])).contains("not finite"));
    assert!(error(index.add(MAX_SLOT + 1, &[1.0; 8])).contains("beyond"));
    assert!(index.search(&[1.0; 7], 1, &all(1), SearchMode::Auto).is_err());
    assert!(index.scores(&[1.0; 7], &[0]).is_err());
    let other = Space { version: "2".into(), ..data.space() };
    let refused = index.check_space(&other).unwrap_err();
    assert!(matches!(&refused, VectorError::SpaceMismatch { got, .. } if *got == other));
    assert!(refused.to_string().contains("re-embed"));
    assert!(index.check_space(&data.space()).is_ok());
    assert!(VectorIndex::new(Space { dimension: 0, ..data.space() }, no_graph()).is_err());
    assert_eq!(index.stats(), VectorStats::default(), "a refused vector leaves nothing behind");
}

#[test]
fn a_new_row_is_found_at_once_and_a_removed_one_never() {
    let data = Data::new(16, 4);
    let index = VectorIndex::new(data.space(), no_graph()).unwrap();
    for slot in [5, 70_000, 3] {
        let vector = data.vector(u64::from(slot));
        assert!(index.add(slot, &vector).unwrap());
        let answer = index.search(&vector, 1, &all(70_001), SearchMode::Auto).unwrap();
        assert_eq!(slots(&answer), [slot]);
        assert!(!index.add(slot, &data.vector(99)).unwrap(), "a slot keeps its vector");
    }
    let vector = data.vector(70_000);
    assert_eq!(index.scores(&vector, &[4, 70_000]).unwrap()[0], None);
    assert!(index.scores(&vector, &[70_000]).unwrap()[0].unwrap() > 0.99);
    assert!(index.remove(70_000) && !index.remove(70_000) && !index.remove(1 << 20));
    for mode in [SearchMode::Auto, SearchMode::Exact, SearchMode::SignBits, SearchMode::Graph] {
        let answer = index.search(&vector, 5, &all(70_001), mode).unwrap();
        let mut found = slots(&answer);
        found.sort_unstable();
        assert_eq!(found, [3, 5]);
    }
    assert_eq!(index.scores(&vector, &[70_000]).unwrap(), [None]);
}
