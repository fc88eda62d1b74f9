//! Judge 14: nothing grows without bound, and after the storm everything is small again.
//!
//! Invariants: floors are judged after the time the run allows for settling, never before; growth is judged only over
//! so many hours that chance does not look like it.
//!
//! Not here: which tables there are (each sample brings its limit and its floor).

use std::collections::BTreeMap;

use super::{Case, Findings, Rule, Violation, history::What};

/// Microseconds of an hour.
const HOUR_US: u64 = 3_600_000_000;
/// Hours below which nothing is said of growth.
const HOURS_MIN: usize = 16;
/// Growth that is none: so much beyond an eighth of what there was.
const SLACK: u64 = 4;

/// A table never exceeds its limit.
pub const LIMIT: Rule =
    Rule { judge: "bounded", name: "limit", source: "requirement H10: bounded queues" };
/// A table returns to its floor after the last fault.
pub const FLOOR: Rule = Rule {
    judge: "bounded",
    name: "floor",
    source: "requirements D4 and D6: queues, sessions and dedup tables are freed",
};

/// What is in a table at most does not grow from hour to hour while the load stays as it is.
pub const GROWTH: Rule = Rule {
    judge: "bounded",
    name: "growth",
    source: "simulation, judge 14: nothing unbounded; trend by Kendall, \"Rank correlation methods\" (1948)",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&LIMIT, &FLOOR, &GROWTH];

/// Judges every sample against its limit and the last of each table against its floor.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    growth(case, findings);
    // The last sample of each table: time, size, floor.
    let mut last: BTreeMap<(&str, &str), (u64, u64, u64)> = BTreeMap::new();
    for event in case.history.events() {
        let What::Sample { node, table, size, limit, floor, .. } = &event.what else { continue };
        if let Some(limit) = limit.filter(|limit| size > limit) {
            let detail = format!("{table} of {node} has {size}; its limit is {limit}");
            findings.violated(Violation::of(&LIMIT, detail).on([node.as_str()]).at(event.at_us));
        }
        last.insert((node, table), (event.at_us, *size, *floor));
    }
    let Some((_, healed_us)) = case.healed() else { return };
    let settled_us = healed_us.saturating_add(case.history.header().bounds.settle_us);
    for ((node, table), (at_us, size, floor)) in last {
        if size <= floor {
            continue;
        }
        if at_us < settled_us {
            let detail = format!("{table} of {node} was last sampled before it had to be settled");
            findings.undecided(&FLOOR, detail);
        } else {
            let detail = format!("{table} of {node} still has {size}; its floor is {floor}");
            findings.violated(Violation::of(&FLOOR, detail).on([node]).at(at_us));
        }
    }
}

/// The largest size of each hour in which a table was sampled, from when on it must be steady, by node and table.
fn hourly<'h>(case: &Case<'h>) -> BTreeMap<(&'h str, &'h str), BTreeMap<u64, u64>> {
    let until_us = case.healed().map_or(u64::MAX, |(_, healed_us)| healed_us);
    let mut hours: BTreeMap<_, BTreeMap<u64, u64>> = BTreeMap::new();
    for event in case.history.events().iter().take_while(|event| event.at_us < until_us) {
        let What::Sample { node, table, size, steady_us: Some(steady_us), .. } = &event.what else {
            continue;
        };
        let Some(since_us) = event.at_us.checked_sub(*steady_us) else { continue };
        let of = hours.entry((node.as_str(), table.as_str())).or_default();
        let most = of.entry(since_us / HOUR_US).or_default();
        *most = (*most).max(*size);
    }
    hours
}

/// The one in the middle.
fn median(sizes: &[u64]) -> u64 {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

/// Whether sizes grow: of all pairs of hours, in at least three fifths more the later one is larger than the other way
/// round, and in the last quarter there is usually more than there ever was in the first.
fn grows(sizes: &[u64]) -> bool {
    if sizes.len() < HOURS_MIN {
        return false;
    }
    let (mut up, mut down, mut pairs) = (0, 0, 0);
    for (at, after) in sizes.iter().enumerate() {
        for before in &sizes[..at] {
            up += usize::from(after > before);
            down += usize::from(after < before);
            pairs += 1;
        }
    }
    let quarter = sizes.len() / 4;
    let most = sizes[..quarter].iter().copied().max().unwrap_or(0);
    let late = median(&sizes[sizes.len() - quarter..]);
    up >= down + pairs * 3 / 5 && late > most + most / 8 + SLACK
}

fn growth(case: &Case<'_>, findings: &mut Findings) {
    for ((node, table), hours) in hourly(case) {
        let sizes: Vec<u64> = hours.into_values().collect();
        if grows(&sizes) {
            let detail = format!("{table} of {node} grows from hour to hour: {sizes:?}");
            findings.violated(Violation::of(&GROWTH, detail).on([node]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knuth's MMIX generator; the upper bits.
    fn next(state: &mut u64) -> u64 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    #[test]
    fn what_leaks_grows_and_what_varies_does_not() {
        assert!(grows(&(0..47).collect::<Vec<u64>>()), "one an hour");
        assert!(grows(&(0..47).map(|hour| hour / 4).collect::<Vec<u64>>()), "one every four hours");
        let noisy = |hour: u64| 20 + hour + (hour * 7919) % 11;
        assert!(grows(&(0..47).map(noisy).collect::<Vec<u64>>()), "among other things");
        assert!(!grows(&(0..15).collect::<Vec<u64>>()), "too short to say");
        assert!(!grows(&[5; 47]) && !grows(&(0..47).rev().collect::<Vec<u64>>()));
        let once = |hour: u64| if hour < 20 { 100 } else { 103 };
        assert!(!grows(&(0..47).map(once).collect::<Vec<u64>>()), "a step that is small");
        for seed in 0..2000 {
            let mut state = seed;
            let hours = 16 + next(&mut state) % 32;
            let sizes: Vec<u64> = (0..hours).map(|_| next(&mut state) % 100).collect();
            assert!(!grows(&sizes), "chance: {sizes:?}");
        }
    }
}
