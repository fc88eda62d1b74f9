//! Judge 10: audit chains hold wherever and whenever they are looked at, and lack nothing.
//!
//! Invariant: within an epoch of a node its chain is compared with everything it has ever shown; an
//! epoch ends only with a deliberate return to a backup.
//!
//! Not here: the encoding of rows (the node's own verification runs in each scan).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Case, Findings, Rule, Violation,
    history::{ChainScan, Done, Evidence, Operation, What},
};

/// Every row verifies at every scan.
pub const HOLDS: Rule =
    Rule { judge: "chains", name: "holds", source: "requirements E1 and E2; AUD-1, AUD-2" };
/// The chain never gets shorter.
pub const NEVER_BACK: Rule =
    Rule { judge: "chains", name: "never-back", source: "requirement D12: heads never roll back" };
/// A row that was shown is never another.
pub const NEVER_REWRITTEN: Rule = Rule {
    judge: "chains",
    name: "never-rewritten",
    source: "requirement D12: rewriting one node's history is found by the others",
};
/// Every acknowledged change has its row.
pub const NOTHING_MISSING: Rule = Rule {
    judge: "chains",
    name: "nothing-missing",
    source: "requirement E1: change and row are one transaction",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&HOLDS, &NEVER_BACK, &NEVER_REWRITTEN, &NOTHING_MISSING];

/// What a chain has shown in one epoch.
#[derive(Default)]
struct Shown<'h> {
    rows: u64,
    marks: BTreeMap<u64, &'h str>,
}

/// Judges every scan, and every acknowledged change against the scans after it.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let mut shown: BTreeMap<(&str, u64), Shown<'_>> = BTreeMap::new();
    let mut listings: BTreeMap<&str, Vec<(u64, BTreeSet<&str>)>> = BTreeMap::new();
    // What was on a disk that is lost on purpose can't be looked at any more.
    let mut lost: BTreeSet<&str> = BTreeSet::new();
    for (position, event) in case.history.events().iter().enumerate() {
        if let What::Lost { node } = &event.what {
            lost.insert(node);
        }
        let What::Chain(scan) = &event.what else { continue };
        let shown = shown.entry((&scan.node, scan.epoch)).or_default();
        compare(scan, shown, event.at_us, findings);
        if let Some(changes) = &scan.changes {
            let changes = changes.iter().map(String::as_str).collect();
            let rank = case.history.rank(position);
            listings.entry(&scan.node).or_default().push((rank, changes));
        }
    }
    for operation in &case.operations {
        if let Some(Done { evidence: Some(evidence), .. }) = operation.done()
            && !lost.contains(evidence.node.as_str())
        {
            has_row(operation, evidence, &listings, findings);
        }
    }
}

fn compare<'h>(scan: &'h ChainScan, shown: &mut Shown<'h>, at_us: u64, findings: &mut Findings) {
    let node = scan.node.as_str();
    let mut broken = |rule, detail| {
        findings.violated(Violation::of(rule, detail).on([node]).at(at_us));
    };
    if !scan.holds {
        broken(&HOLDS, format!("the chain of {node} does not verify"));
    }
    if scan.rows < shown.rows {
        let (had, has) = (shown.rows, scan.rows);
        broken(&NEVER_BACK, format!("the chain of {node} went from {had} rows to {has}"));
    }
    shown.rows = shown.rows.max(scan.rows);
    for mark in &scan.marks {
        let first = *shown.marks.entry(mark.sequence).or_insert(&mark.hash);
        if first != mark.hash {
            let sequence = mark.sequence;
            broken(&NEVER_REWRITTEN, format!("row {sequence} of {node} is another than it was"));
        }
    }
}

fn has_row(
    operation: &Operation<'_>,
    evidence: &Evidence,
    listings: &BTreeMap<&str, Vec<(u64, BTreeSet<&str>)>>,
    findings: &mut Findings,
) {
    let (node, change) = (evidence.node.as_str(), evidence.change.as_str());
    let mut after = listings
        .get(node)
        .into_iter()
        .flatten()
        .filter(|(rank, _)| *rank > operation.effective())
        .peekable();
    if after.peek().is_none() {
        let detail = format!("no scan lists the rows of {node} after {}", operation.describe());
        findings.undecided(&NOTHING_MISSING, detail);
    } else if after.any(|(_, changes)| !changes.contains(change)) {
        let detail = format!("{} has no row {change} on {node}", operation.describe());
        findings.violated(Violation::of(&NOTHING_MISSING, detail).by([operation.id]).on([node]));
    }
}
