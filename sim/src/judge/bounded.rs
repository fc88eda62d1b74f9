//! Judge 14: nothing grows without bound, and after the storm everything is small again.
//!
//! Invariant: floors are judged after the time the run allows for settling, never before.
//!
//! Not here: which tables there are (each sample brings its limit and its floor).

use std::collections::BTreeMap;

use super::{Case, Findings, Rule, Violation, history::What};

/// A table never exceeds its limit.
pub const LIMIT: Rule =
    Rule { judge: "bounded", name: "limit", source: "requirement H10: bounded queues" };
/// A table returns to its floor after the last fault.
pub const FLOOR: Rule = Rule {
    judge: "bounded",
    name: "floor",
    source: "requirements D4 and D6: queues, sessions and dedup tables are freed",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&LIMIT, &FLOOR];

/// Judges every sample against its limit and the last of each table against its floor.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    // The last sample of each table: time, size, floor.
    let mut last: BTreeMap<(&str, &str), (u64, u64, u64)> = BTreeMap::new();
    for event in case.history.events() {
        let What::Sample { node, table, size, limit, floor } = &event.what else { continue };
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
