//! What is measured from a history: how long nothing succeeded around each fault, and how operations
//! ended.
//!
//! Invariant: figures are pure functions of the history, so a recorded run is measured again offline.
//!
//! Not here: judging.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sim::judge::{
    Case, History,
    history::{Answer, Call, Operation, Outcome, What},
};

/// Time without success around one fault, microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Number of the fault.
    pub fault: u64,
    /// Its kind.
    pub kind: String,
    /// The voter that was struck.
    pub at: String,
    /// When it began.
    pub from_us: u64,
    /// How long it lasted, its healing included.
    pub lasted_us: Option<u64>,
    /// Time from its beginning to the first success of a change that was asked for afterwards.
    pub first_us: Option<u64>,
    /// Longest time between two successful changes of which the second came after its beginning and
    /// before the next fault.
    pub gap_us: Option<u64>,
}

/// Whether an operation changed the root.
fn changes(operation: &Operation<'_>) -> bool {
    let reads = matches!(
        operation.call,
        Call::Get { .. }
            | Call::Elements { .. }
            | Call::GetRules
            | Call::Observe { .. }
            | Call::GuardedRead { .. }
            | Call::GuardedWrite { .. }
    );
    let nothing = matches!(operation.answer(), Some(Answer::Released { held: false }) | None);
    !reads && !nothing
}

/// The outages of a history, one per fault.
pub fn outages(history: &History) -> Vec<Outage> {
    let case = Case::of(history);
    let done: Vec<&Operation<'_>> = case.operations.iter().filter(|o| changes(o)).collect();
    let mut ended_us: Vec<u64> = done.iter().filter_map(|operation| operation.ended_us).collect();
    ended_us.sort_unstable();
    let mut outages: Vec<Outage> = Vec::new();
    for event in history.events() {
        match &event.what {
            What::Fault { fault, kind, at } => outages.push(Outage {
                fault: *fault,
                kind: kind.clone(),
                at: at.join("+"),
                from_us: event.at_us,
                lasted_us: None,
                first_us: None,
                gap_us: None,
            }),
            What::FaultOver { fault } => {
                for outage in outages.iter_mut().filter(|outage| outage.fault == *fault) {
                    outage.lasted_us = Some(event.at_us - outage.from_us);
                }
            }
            _ => {}
        }
    }
    let begins_us: Vec<u64> = outages.iter().map(|outage| outage.from_us).collect();
    for (at, outage) in outages.iter_mut().enumerate() {
        let from_us = outage.from_us;
        let until_us = begins_us.get(at + 1).copied().unwrap_or(u64::MAX);
        let after = done.iter().filter(|operation| operation.invoked_us >= from_us);
        let first_us = after.filter_map(|operation| operation.ended_us).min();
        outage.first_us = first_us.map(|first_us| first_us - from_us);
        let gaps = ended_us.windows(2).filter(|pair| from_us < pair[1] && pair[1] <= until_us);
        outage.gap_us = gaps.map(|pair| pair[1] - pair[0]).max();
    }
    outages
}

/// The longest time between two successful changes before the first fault, microseconds.
pub fn quiet_gap_us(history: &History) -> Option<u64> {
    let first = history.events().iter().find(|e| matches!(e.what, What::Fault { .. }))?.at_us;
    let case = Case::of(history);
    let done = case.operations.iter().filter(|operation| changes(operation));
    let mut ended_us: Vec<u64> = done.filter_map(|o| o.ended_us).filter(|us| *us < first).collect();
    ended_us.sort_unstable();
    ended_us.windows(2).map(|pair| pair[1] - pair[0]).max()
}

/// The value that half of all do not exceed, and the greatest.
pub fn median_and_max(mut values: Vec<u64>) -> Option<(u64, u64)> {
    values.sort_unstable();
    let median = *values.get(values.len().checked_sub(1)? / 2)?;
    values.last().map(|max| (median, *max))
}

fn kind(call: &Call) -> &'static str {
    match call {
        Call::Put { .. } => "put",
        Call::Get { .. } => "get",
        Call::Cas { .. } => "cas",
        Call::Add { .. } => "add",
        Call::Remove { .. } => "remove",
        Call::Elements { .. } => "elements",
        Call::OpenSession { .. } => "open_session",
        Call::KeepAlive { .. } => "keep_alive",
        Call::CloseSession { .. } => "close_session",
        Call::Acquire { .. } => "acquire",
        Call::Release { .. } => "release",
        Call::ForceRelease { .. } => "force_release",
        Call::GuardedWrite { .. } => "guarded_write",
        Call::GuardedRead { .. } => "guarded_read",
        Call::SetRules { .. } => "set_rules",
        Call::GetRules => "get_rules",
        Call::Propose { .. } => "propose",
        Call::Approve { .. } => "approve",
        Call::Reject { .. } => "reject",
        Call::Observe { .. } => "observe",
        Call::Store { .. } => "store",
        Call::Read { .. } => "read",
        Call::ReadQuorum { .. } => "quorum_read",
        Call::Change { .. } => "change",
        Call::Delete { .. } => "delete",
        Call::Link { .. } => "link",
        Call::Unlink { .. } => "unlink",
    }
}

/// How operations ended, by what was asked; refusals by their reasons.
pub fn outcomes(history: &History) -> Value {
    let mut all: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
    for operation in &Case::of(history).operations {
        let ended = match operation.outcome {
            Some(Outcome::Done(_)) => "done".to_owned(),
            Some(Outcome::Rejected { reason, .. }) => format!("rejected {reason}"),
            Some(Outcome::Unknown { .. }) => "unknown".to_owned(),
            None => "no end".to_owned(),
        };
        *all.entry(kind(operation.call)).or_default().entry(ended).or_default() += 1;
    }
    json!(all)
}

#[cfg(test)]
mod tests {
    use sim::judge::history::{Bounds, Done, Event, Expiry, Header, Invoke, Order, VERSION};

    use super::*;

    fn history(events: Vec<(u64, What)>) -> History {
        let header = Header {
            history_version: VERSION,
            run: "a test".to_owned(),
            order: Order::Recorded,
            expiry: Expiry::ByLease { drift_ppm: 0 },
            bounds: Bounds::default(),
            clock_fast_ppm: None,
            voters: Vec::new(),
            federation: None,
        };
        let events = events.into_iter().map(|(at_us, what)| Event { at_us, what });
        History::new(header, events.collect()).expect("a history")
    }

    fn put(op: u64, from_us: u64, until_us: u64) -> [(u64, What); 2] {
        let call = Call::Put { key: "x".to_owned(), value: Some(op.to_string()) };
        let (client, node) = ("c1".to_owned(), "n1".to_owned());
        let done = Done { answer: Answer::Ok, index: Some(op), evidence: None };
        [
            (from_us, What::Invoke(Invoke { op, client, node, request: None, call })),
            (until_us, What::Complete { op, outcome: Outcome::Done(done) }),
        ]
    }

    #[test]
    fn an_outage_is_the_longest_silence_around_its_fault() {
        let fault =
            |fault| What::Fault { fault, kind: "kill".to_owned(), at: vec!["n1".to_owned()] };
        let mut events = Vec::new();
        events.extend(put(1, 0, 10));
        events.extend(put(2, 10, 90));
        // Asked for before the fault and answered after it: the silence ends, but it proves nothing.
        let [asked, answered] = put(3, 95, 400);
        events.push(asked);
        events.push((100, fault(1)));
        events.push(answered);
        events.extend(put(4, 450, 1000));
        events.push((1100, What::FaultOver { fault: 1 }));
        events.push((1200, fault(2)));
        events.extend(put(5, 1300, 1500));
        let history = history(events);
        let outages = outages(&history);
        assert_eq!(outages.len(), 2);
        assert_eq!(outages[0].gap_us, Some(600));
        assert_eq!(outages[0].first_us, Some(900));
        assert_eq!(outages[0].lasted_us, Some(1000));
        assert_eq!((outages[1].gap_us, outages[1].first_us), (Some(500), Some(300)));
        assert_eq!(quiet_gap_us(&history), Some(80));
        assert_eq!(outcomes(&history)["put"]["done"], 5);
    }

    #[test]
    fn the_median_of_an_even_number_is_the_smaller_middle() {
        assert_eq!(median_and_max(vec![4, 1, 3, 2]), Some((2, 4)));
        assert_eq!(median_and_max(vec![7]), Some((7, 7)));
        assert_eq!(median_and_max(Vec::new()), None);
    }
}
