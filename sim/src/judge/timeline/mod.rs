//! The timeline of a history: lanes of nodes and clients, faults as bands, what is to blame marked.
//!
//! Invariant: a timeline is data derived from the history and the verdict, and its page needs nothing
//! from anywhere else.
//!
//! Not here: how it looks (`html`).

pub mod html;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Case, Findings, History, Violation,
    history::{Call, Operation, Outcome, RaftStep, What},
};

/// A run as a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// What was run.
    pub title: String,
    /// What was found, the worst first.
    pub remarks: Vec<Remark>,
    /// Length of the run, microseconds.
    pub end_us: u64,
    /// Nodes first, then clients.
    pub lanes: Vec<Lane>,
    /// Faults.
    pub bands: Vec<Band>,
    /// When the last fault was over, microseconds.
    pub healed_us: Option<u64>,
}

/// A broken promise or an undecided one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Whether the promise is broken.
    pub broken: bool,
    /// Judge and rule.
    pub rule: String,
    /// What happened.
    pub detail: String,
    /// Where the promise comes from.
    pub source: &'static str,
    /// Operations to blame, in words, with their times.
    pub operations: Vec<String>,
    /// When it became visible, microseconds.
    pub at_us: Option<u64>,
}

/// Everything of one node or client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// Whether it is a node.
    pub node: bool,
    /// Rows that its bars need.
    pub rows: u32,
    /// What lasts.
    pub bars: Vec<Bar>,
    /// What happens in an instant.
    pub points: Vec<Point>,
}

/// What a bar or a point stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// An operation that was Done.
    Done,
    /// An operation that was Rejected.
    Rejected,
    /// An operation whose end is unknown.
    Unknown,
    /// A node that leads.
    Leads,
    /// A node that is down.
    Down,
    /// A step of the protocol.
    Step,
    /// The moment at which something is seen to be broken.
    Broken,
}

/// Something that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Its beginning, microseconds.
    pub from_us: u64,
    /// Its end, microseconds; `None` when it has none.
    pub until_us: Option<u64>,
    /// Row within the lane, from 0.
    pub row: u32,
    /// A short word.
    pub label: String,
    /// Everything about it.
    pub hover: String,
    /// What it stands for.
    pub tone: Tone,
    /// Whether it is to blame.
    pub accused: bool,
}

/// Something that happens in an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// When, microseconds.
    pub at_us: u64,
    /// Everything about it.
    pub hover: String,
    /// What it stands for.
    pub tone: Tone,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// Its beginning, microseconds.
    pub from_us: u64,
    /// Its end, microseconds; `None` when it never ended.
    pub until_us: Option<u64>,
    /// Its kind.
    pub kind: String,
    /// Nodes that it hits.
    pub at: Vec<String>,
}

/// Draws up the timeline of a history of which this was found.
pub fn timeline(history: &History, findings: &Findings) -> Timeline {
    let case = Case::of(history);
    let accused: BTreeSet<u64> =
        findings.violations.iter().flat_map(|v| v.operations.iter().copied()).collect();
    let mut lanes = node_lanes(&case, &findings.violations);
    lanes.extend(client_lanes(&case, &accused));
    Timeline {
        title: history.header().run.clone(),
        remarks: remarks(&case, findings),
        end_us: case.end_us(),
        lanes,
        bands: bands(history),
        healed_us: case.healed().map(|(_, healed_us)| healed_us),
    }
}

fn times(operation: &Operation<'_>) -> String {
    let until = operation.ended_us.map_or_else(|| "…".to_owned(), |us| us.to_string());
    format!("{} to {until} µs at {}", operation.invoked_us, operation.node)
}

fn remarks(case: &Case<'_>, findings: &Findings) -> Vec<Remark> {
    let in_words = |id: &u64| {
        let operation = case.operation(*id)?;
        Some(format!("{}, {}", operation.describe(), times(operation)))
    };
    let broken = findings.violations.iter().map(|violation| Remark {
        broken: true,
        rule: format!("{}/{}", violation.rule.judge, violation.rule.name),
        detail: violation.detail.clone(),
        source: violation.rule.source,
        operations: violation.operations.iter().filter_map(in_words).collect(),
        at_us: violation.at_us,
    });
    let undecided = findings.undecided.iter().map(|undecided| Remark {
        broken: false,
        rule: format!("{}/{}", undecided.rule.judge, undecided.rule.name),
        detail: undecided.detail.clone(),
        source: undecided.rule.source,
        operations: Vec::new(),
        at_us: None,
    });
    broken.chain(undecided).collect()
}

fn bands(history: &History) -> Vec<Band> {
    let mut bands: BTreeMap<u64, Band> = BTreeMap::new();
    for event in history.events() {
        match &event.what {
            What::Fault { fault, kind, at } => {
                let (kind, at) = (kind.clone(), at.clone());
                bands.insert(*fault, Band { from_us: event.at_us, until_us: None, kind, at });
            }
            What::FaultOver { fault } => {
                if let Some(band) = bands.get_mut(fault) {
                    band.until_us = Some(event.at_us);
                }
            }
            _ => {}
        }
    }
    bands.into_values().collect()
}

fn client_lanes(case: &Case<'_>, accused: &BTreeSet<u64>) -> Vec<Lane> {
    let mut lanes: BTreeMap<&str, Lane> = BTreeMap::new();
    for operation in &case.operations {
        let lane = lanes.entry(operation.client).or_default();
        let tone = match operation.outcome {
            Some(Outcome::Done(_)) => Tone::Done,
            Some(Outcome::Rejected { .. }) => Tone::Rejected,
            Some(Outcome::Unknown { .. }) | None => Tone::Unknown,
        };
        let index = operation.done().and_then(|done| done.index);
        let index = index.map_or_else(String::new, |index| format!(", log index {index}"));
        let request = operation.request.map_or_else(String::new, |request| {
            format!(", session {} seq {}", request.session, request.seq)
        });
        lane.bars.push(Bar {
            from_us: operation.invoked_us,
            until_us: operation.ended_us,
            row: 0,
            label: format!("o{} {}", operation.id, word(operation.call)),
            hover: format!("{}, {}{index}{request}", operation.describe(), times(operation)),
            tone,
            accused: accused.contains(&operation.id),
        });
    }
    let named = lanes.into_iter().map(|(name, lane)| Lane { name: name.to_owned(), ..lane });
    named.map(in_rows).collect()
}

/// One word for a bar that has no room for more.
fn word(call: &Call) -> &'static str {
    match call {
        Call::Put { .. } => "put",
        Call::Get { .. } => "get",
        Call::Cas { .. } => "cas",
        Call::Add { .. } => "add",
        Call::Remove { .. } => "remove",
        Call::Elements { .. } => "elements",
        Call::OpenSession { .. } => "open",
        Call::KeepAlive { .. } => "keep",
        Call::CloseSession { .. } => "close",
        Call::Acquire { .. } => "acquire",
        Call::Release { .. } => "release",
        Call::ForceRelease { .. } => "force",
        Call::GuardedWrite { .. } => "write",
        Call::GuardedRead { .. } => "read",
        Call::SetRules { .. } => "set rules",
        Call::GetRules => "rules",
        Call::Propose { .. } => "propose",
        Call::Approve { .. } => "approve",
        Call::Reject { .. } => "reject",
        Call::Observe { .. } => "observe",
        Call::Store { .. } => "store",
        Call::Read { .. } => "get",
        Call::ReadQuorum { .. } => "quorum get",
        Call::Change { .. } => "change",
        Call::Delete { .. } => "delete",
        Call::Link { .. } => "link",
        Call::Unlink { .. } => "unlink",
    }
}

/// Gives bars that overlap rows of their own.
fn in_rows(mut lane: Lane) -> Lane {
    lane.bars.sort_by_key(|bar| bar.from_us);
    let mut free_us: Vec<u64> = Vec::new();
    for bar in &mut lane.bars {
        let until_us = bar.until_us.unwrap_or(u64::MAX);
        let row = free_us.iter().position(|free_us| *free_us <= bar.from_us);
        let row = row.unwrap_or(free_us.len());
        match free_us.get_mut(row) {
            Some(free_us) => *free_us = until_us,
            None => free_us.push(until_us),
        }
        bar.row = row as u32;
    }
    lane.rows = (free_us.len() as u32).max(1);
    lane
}

fn node_lanes(case: &Case<'_>, violations: &[Violation]) -> Vec<Lane> {
    let mut lanes: BTreeMap<&str, Lane> = BTreeMap::new();
    for voter in &case.history.header().voters {
        lanes.entry(voter).or_default();
    }
    for event in case.history.events() {
        let at_us = event.at_us;
        match &event.what {
            What::Raft { node, step: RaftStep::Leader { term } } => {
                // A new leader ends the reign of those of older terms, whether they know or not.
                lanes.values_mut().for_each(|lane| close(lane, Tone::Leads, at_us));
                let label = format!("leads {term}");
                open(lanes.entry(node).or_default(), Tone::Leads, at_us, label);
            }
            What::Raft { node, step } => {
                let lane = lanes.entry(node).or_default();
                if let Some(hover) = notable(step) {
                    lane.points.push(Point { at_us, hover, tone: Tone::Step });
                }
            }
            What::Node { node, up } => {
                let lane = lanes.entry(node).or_default();
                close(lane, Tone::Leads, at_us);
                close(lane, Tone::Down, at_us);
                if !up {
                    open(lane, Tone::Down, at_us, "down".to_owned());
                }
            }
            What::Fault { at, .. } => {
                for node in at {
                    lanes.entry(node).or_default();
                }
            }
            _ => {}
        }
    }
    for violation in violations {
        for node in &violation.nodes {
            let (at_us, tone) = (violation.at_us.unwrap_or(0), Tone::Broken);
            let point = Point { at_us, hover: violation.to_string(), tone };
            lanes.entry(node).or_default().points.push(point);
        }
    }
    let named = lanes.into_iter();
    named.map(|(name, lane)| in_rows(Lane { name: name.to_owned(), node: true, ..lane })).collect()
}

fn open(lane: &mut Lane, tone: Tone, from_us: u64, label: String) {
    let hover = format!("{label} from {from_us} µs");
    let (until_us, row, accused) = (None, 0, false);
    lane.bars.push(Bar { from_us, until_us, row, label, hover, tone, accused });
}

fn close(lane: &mut Lane, tone: Tone, at_us: u64) {
    for bar in lane.bars.iter_mut().filter(|bar| bar.tone == tone && bar.until_us.is_none()) {
        bar.until_us = Some(at_us);
        bar.hover.push_str(&format!(" to {at_us} µs"));
    }
}

/// Steps that are rare enough to be drawn.
fn notable(step: &RaftStep) -> Option<String> {
    match step {
        RaftStep::Voted { term, candidate } => Some(format!("votes for {candidate} in {term}")),
        RaftStep::Truncated { from } => Some(format!("drops its log from {from} on")),
        RaftStep::Snapshot { index, .. } => Some(format!("installs a snapshot up to {index}")),
        RaftStep::Purged { upto } => Some(format!("purges its log up to {upto}")),
        RaftStep::Membership { index, voters } => {
            let sets: Vec<String> = voters.iter().map(|set| set.join(", ")).collect();
            Some(format!("voters from {index} on: {}", sets.join(" and ")))
        }
        RaftStep::Recovered { last, last_term, vote_term } => Some(format!(
            "is back with entries up to {last} of term {last_term} and a vote of term {vote_term}"
        )),
        _ => None,
    }
}
