//! Judge 7, first part: soon after the last fault all peers show the same to who may see it.
//!
//! Invariant: peers are compared pairwise, by what both may see and must have.
//!
//! Not here: which value is the right one (`updates`, `deleted`, `acknowledged`).

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    Case, Findings, History, Rule, Violation,
    history::{Federation, Seen, What},
    replicas::{Replicas, Shown},
};

/// In the end all show the same.
pub const SAME: Rule = Rule {
    judge: "converge",
    name: "same",
    source: "requirement C4: merge is a join; simulation, judge 7: identical digests",
};
/// They do so in time.
pub const IN_TIME: Rule = Rule {
    judge: "converge",
    name: "in-time",
    source: "simulation, judge 7: within the bound after the healing",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&SAME, &IN_TIME];

/// Differences that a violation tells of.
const TOLD_MAX: usize = 3;

/// Time from when the last fault was over and the last change before was answered until all peers showed
/// the same, microseconds; `None` when they never did, or nobody looked.
pub fn took_us(history: &History) -> Option<u64> {
    let mut from_us = None;
    for event in history.events() {
        match &event.what {
            What::Healed => from_us = Some(event.at_us),
            What::Complete { .. } if from_us.is_some() => from_us = Some(event.at_us),
            What::Converged => return Some(event.at_us - from_us?),
            _ => {}
        }
    }
    None
}

/// Judges the last looks, and the time until the first agreement.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let Some(replicas) = Replicas::of(case) else { return };
    for node in &replicas.unseen {
        findings.undecided(&SAME, format!("nobody could look at what {node} has in the end"));
    }
    let all: Vec<(&&str, &Shown<'_>)> = replicas.shown.iter().collect();
    for pair in all.windows(2) {
        let [(one, ours), (other, theirs)] = pair else { continue };
        compare(replicas.federation, (one, ours), (other, theirs), findings);
    }
    if replicas.shown.len() > 2
        && let (Some((one, ours)), Some((other, theirs))) = (all.first(), all.last())
    {
        compare(replicas.federation, (one, ours), (other, theirs), findings);
    }
    in_time(case, replicas.federation, findings);
}

fn in_time(case: &Case<'_>, federation: &Federation, findings: &mut Findings) {
    let Some((_, healed_us)) = case.healed() else { return };
    let complete = case.history.events().last().is_some_and(|event| event.what == What::End);
    let bound_us = federation.converge_us;
    match took_us(case.history) {
        Some(took_us) if took_us > bound_us => {
            let detail = format!("the peers agreed after {took_us} µs; the bound is {bound_us} µs");
            findings.violated(Violation::of(&IN_TIME, detail).at(healed_us + took_us));
        }
        None if complete => {
            let detail = format!("the peers never agreed; the bound is {bound_us} µs");
            findings.violated(Violation::of(&IN_TIME, detail).at(case.end_us()));
        }
        None => findings.undecided(&IN_TIME, "the recording has no end".to_owned()),
        Some(_) => {}
    }
}

/// What a reader needs to know of a difference.
fn difference(id: &str, ours: Option<&&Seen>, theirs: Option<&&Seen>) -> Option<String> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours == theirs => None,
        (Some(ours), Some(theirs)) => Some(format!("{id}: {}", of(ours, theirs))),
        (Some(_), None) => Some(format!("{id} is only on the first")),
        (None, Some(_)) => Some(format!("{id} is only on the second")),
        (None, None) => None,
    }
}

/// The fields in which two looks at a memory differ.
fn of(ours: &Seen, theirs: &Seen) -> String {
    let names: BTreeSet<&String> = ours.fields.keys().chain(theirs.fields.keys()).collect();
    let differ =
        names.into_iter().filter(|name| ours.fields.get(*name) != theirs.fields.get(*name));
    let mut told: Vec<String> = differ
        .map(|name| format!("{name} {:?} and {:?}", ours.fields.get(name), theirs.fields.get(name)))
        .collect();
    if ours.links != theirs.links {
        told.push(format!("links {:?} and {:?}", ours.links, theirs.links));
    }
    if ours.rest != theirs.rest {
        told.push(format!("{} and {}", ours.rest, theirs.rest));
    }
    told.join(", ")
}

/// What of a memory two peers must show alike: a link is not seen where one of its ends is not there.
fn alike<'s>(federation: &Federation, peers: [&str; 2], shown: &Shown<'s>) -> Vec<Cow<'s, Seen>> {
    let owed = |seen: &&&Seen| peers.iter().all(|peer| federation.must_have(peer, seen));
    let narrow = peers.iter().any(|peer| federation.scopes.contains_key(*peer));
    let hides = narrow || !federation.refused_agents.is_empty();
    let alike = shown.values().filter(owed).map(|seen| match hides {
        true => Cow::Owned(Seen { links: BTreeSet::new(), ..(*seen).clone() }),
        false => Cow::Borrowed(*seen),
    });
    alike.collect()
}

fn compare(
    federation: &Federation,
    (one, ours): (&str, &Shown<'_>),
    (other, theirs): (&str, &Shown<'_>),
    findings: &mut Findings,
) {
    let both = [one, other];
    let (ours, theirs) = (alike(federation, both, ours), alike(federation, both, theirs));
    let by_id = |all: &'_ [Cow<'_, Seen>]| -> BTreeMap<String, Seen> {
        all.iter().map(|seen| (seen.id.clone(), seen.clone().into_owned())).collect()
    };
    let (ours, theirs) = (by_id(&ours), by_id(&theirs));
    let ids: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differences: Vec<String> = ids
        .iter()
        .filter_map(|id| difference(id, ours.get(*id).as_ref(), theirs.get(*id).as_ref()))
        .collect();
    if differences.is_empty() {
        return;
    }
    let told = differences.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join("; ");
    let detail = format!("{one} and {other} differ in {} memories: {told}", differences.len());
    findings.violated(Violation::of(&SAME, detail).on([one, other]));
}
