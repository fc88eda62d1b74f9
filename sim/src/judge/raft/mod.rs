//! Judge 9: the consensus protocol, seen from outside.
//!
//! Each step of each node is added up to what its log must be, and the logs are compared. Durable
//! copies are counted by the judge, never taken from the leader's word.
//!
//! Invariants: the five properties of Raft (Ongaro and Ousterhout, "In Search of an Understandable
//! Consensus Algorithm", 2014, figure 3), and what they rest on: a vote and an entry that were
//! answered for are on stable storage. A step that was not recorded accuses nobody.
//!
//! Not here: elections that take too long (`liveness`).

mod log;

use std::collections::{BTreeMap, BTreeSet};

use log::{Entry, NodeLog};

use super::{
    Case, Findings, Rule, Violation,
    history::{RaftStep, What},
};

const PAPER: &str = "Ongaro and Ousterhout 2014, figure 3; requirement D1";

/// A term has one leader.
pub const ONE_LEADER: Rule = Rule { judge: "raft", name: "one-leader", source: PAPER };
/// A node votes once in a term, and never in an older one.
pub const ONE_VOTE: Rule = Rule { judge: "raft", name: "one-vote", source: PAPER };
/// Entries of the same index and term are the same, and so is everything before them.
pub const LOG_MATCHING: Rule = Rule { judge: "raft", name: "log-matching", source: PAPER };
/// A leader has every entry that was committed in an earlier term.
pub const LEADER_COMPLETE: Rule = Rule { judge: "raft", name: "leader-complete", source: PAPER };
/// What is committed never changes and is never given up.
pub const COMMITTED_STAYS: Rule = Rule { judge: "raft", name: "committed-stays", source: PAPER };
/// A node applies each entry once, in order.
pub const APPLIED_IN_ORDER: Rule = Rule { judge: "raft", name: "applied-in-order", source: PAPER };
/// After the same entry, every node has the same state.
pub const STATE_EQUAL: Rule = Rule {
    judge: "raft",
    name: "state-equal",
    source: "state machine safety, Ongaro and Ousterhout 2014, figure 3; design §4",
};
/// What is committed is on the stable storage of a majority of its voters.
pub const DURABLE_MAJORITY: Rule = Rule {
    judge: "raft",
    name: "durable-majority",
    source: "design §4: writes are durable before they are answered",
};
/// What was durable is there after a restart.
pub const DURABLE_KEPT: Rule = Rule {
    judge: "raft",
    name: "durable-kept",
    source: "design §5a: log and vote survive a power loss",
};

/// A snapshot names the voters that the entries it stands for have made.
pub const MEMBERS_KEPT: Rule = Rule {
    judge: "raft",
    name: "members-kept",
    source: "Ongaro, Consensus, 2014, §5.1: a snapshot includes the latest configuration in it",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[
    &ONE_LEADER,
    &ONE_VOTE,
    &LOG_MATCHING,
    &LEADER_COMPLETE,
    &COMMITTED_STAYS,
    &APPLIED_IN_ORDER,
    &STATE_EQUAL,
    &DURABLE_MAJORITY,
    &DURABLE_KEPT,
    &MEMBERS_KEPT,
];

/// A committed entry.
struct Committed {
    entry: Entry,
    /// Smallest term in which a leader is known to have had it committed.
    by_term: u64,
    node: String,
}

/// An entry that some node has or had.
struct Known {
    hash: String,
    /// Term of the entry before it, where that is known.
    before: Option<u64>,
    node: String,
}

struct Judge<'f> {
    findings: &'f mut Findings,
    voters: Vec<Vec<String>>,
    nodes: BTreeMap<String, NodeLog>,
    leaders: BTreeMap<u64, String>,
    known: BTreeMap<(u64, u64), Known>,
    committed: BTreeMap<u64, Committed>,
    /// Greatest index that any node has said is committed; with it everything before it is.
    reached: u64,
    states: BTreeMap<u64, (String, String)>,
    /// Entries that say who votes: index and term.
    memberships: BTreeSet<(u64, u64)>,
    at_us: u64,
}

/// Judges every step of every node.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let mut judge = Judge {
        findings,
        voters: vec![case.history.header().voters.clone()],
        nodes: BTreeMap::new(),
        leaders: BTreeMap::new(),
        known: BTreeMap::new(),
        committed: BTreeMap::new(),
        reached: 0,
        states: BTreeMap::new(),
        memberships: BTreeSet::new(),
        at_us: 0,
    };
    for event in case.history.events() {
        judge.at_us = event.at_us;
        match &event.what {
            What::Raft { node, step } => judge.step(node, step),
            What::Node { node, .. } => judge.log(node).applied = None,
            _ => {}
        }
    }
}

impl Judge<'_> {
    fn log(&mut self, node: &str) -> &mut NodeLog {
        self.nodes.entry(node.to_owned()).or_default()
    }

    fn broken(&mut self, rule: &'static Rule, nodes: &[&str], detail: String) {
        let violation = Violation::of(rule, detail).on(nodes.iter().copied());
        self.findings.violated(violation.at(self.at_us));
    }

    fn step(&mut self, node: &str, step: &RaftStep) {
        match step {
            RaftStep::Leader { term } => self.leader(node, *term),
            RaftStep::Voted { term, candidate } => self.voted(node, *term, candidate),
            RaftStep::Appended { index, term, hash } => {
                let entry = Entry { term: *term, hash: hash.clone() };
                self.appended(node, *index, entry);
            }
            RaftStep::Truncated { from } => self.truncated(node, *from),
            RaftStep::Durable { index } => self.log(node).durable = *index,
            RaftStep::Committed { index, by_term } => self.commit(node, *index, *by_term),
            RaftStep::Applied { index, term, state, .. } => {
                self.applied(node, *index, *term, state);
            }
            RaftStep::Snapshot { index, term, state } => {
                self.log(node).install(*index, *term);
                self.same_state(node, *index, state);
            }
            RaftStep::Purged { upto } => self.log(node).purge(*upto),
            RaftStep::Membership { index, voters } => {
                self.membership(node, *index, voters.clone());
            }
            RaftStep::Recovered { last, last_term, vote_term } => {
                self.recovered(node, *last, *last_term, *vote_term);
            }
        }
    }

    fn membership(&mut self, node: &str, index: u64, voters: Vec<Vec<String>>) {
        let log = self.log(node);
        let (base, term) = (log.base.0, log.entry(index).map(|entry| entry.term));
        log.follow(index, voters);
        self.memberships.extend(term.map(|term| (index, term)));
        // Told of a snapshot: was there a later one in it?
        let later = self.memberships.iter().rev().find(|(later, term)| {
            let committed = self.committed.get(later);
            (index + 1..=base).contains(later) && committed.is_some_and(|c| c.entry.term == *term)
        });
        if let Some((later, _)) = later {
            let detail = format!(
                "{node} has a snapshot up to {base} with the voters of entry {index}; entry {later} made others"
            );
            self.broken(&MEMBERS_KEPT, &[node], detail);
        }
    }

    fn leader(&mut self, node: &str, term: u64) {
        let first = self.leaders.entry(term).or_insert_with(|| node.to_owned()).clone();
        if first != node {
            let detail = format!("{first} and {node} both lead term {term}");
            self.broken(&ONE_LEADER, &[&first, node], detail);
        }
        let log = self.nodes.entry(node.to_owned()).or_default();
        let missing = self.committed.iter().find(|(index, committed)| {
            committed.by_term < term && !log.has(**index, &committed.entry)
        });
        if let Some((index, committed)) = missing {
            let by = committed.node.clone();
            let detail = format!(
                "{node} leads term {term} without entry {index}, committed by {by} in term {}",
                committed.by_term
            );
            self.broken(&LEADER_COMPLETE, &[node, &by], detail);
        }
    }

    fn voted(&mut self, node: &str, term: u64, candidate: &str) {
        let votes = &mut self.log(node).votes;
        let latest = votes.keys().next_back().copied().unwrap_or(0);
        let first = votes.entry(term).or_insert_with(|| candidate.to_owned()).clone();
        if first != candidate {
            let detail = format!("{node} votes for {first} and for {candidate} in term {term}");
            self.broken(&ONE_VOTE, &[node], detail);
        } else if term < latest {
            let detail = format!("{node} votes in term {term} after it voted in term {latest}");
            self.broken(&ONE_VOTE, &[node], detail);
        }
    }

    fn appended(&mut self, node: &str, index: u64, entry: Entry) {
        let log = self.log(node);
        if index > log.last() + 1 {
            let last = log.last();
            let detail = format!("{node} appends entry {index} after {last}: a hole");
            self.broken(&LOG_MATCHING, &[node], detail);
        }
        let log = self.log(node);
        let overwrites = index <= log.committed && !log.has(index, &entry);
        let before = index.checked_sub(1).and_then(|before| log.term(before));
        if overwrites {
            let detail = format!("{node} replaces its committed entry {index}");
            self.broken(&COMMITTED_STAYS, &[node], detail);
        }
        let place = (index, entry.term);
        match self.known.get_mut(&place) {
            None => {
                let (hash, node) = (entry.hash.clone(), node.to_owned());
                self.known.insert(place, Known { hash, before, node });
            }
            Some(known) => {
                let differs = known.hash != entry.hash
                    || known.before.zip(before).is_some_and(|(a, b)| a != b);
                known.before = known.before.or(before);
                if differs {
                    let (other, term) = (known.node.clone(), entry.term);
                    let detail = format!(
                        "entry {index} of term {term} differs, or what is before it, between {other} and {node}"
                    );
                    self.broken(&LOG_MATCHING, &[&other, node], detail);
                }
            }
        }
        self.log(node).append(index, entry);
    }

    fn truncated(&mut self, node: &str, from: u64) {
        let log = self.log(node);
        // For what a snapshot covers, the snapshot stands.
        let first = from.max(log.base.0 + 1);
        let committed = log.committed;
        log.truncate(first);
        if first <= committed {
            let detail = format!("{node} gives up entry {first}, which it knew to be committed");
            self.broken(&COMMITTED_STAYS, &[node], detail);
        }
    }

    fn commit(&mut self, node: &str, index: u64, by_term: u64) {
        let log = self.nodes.entry(node.to_owned()).or_default();
        let upto = index.min(log.last());
        let mut newest = None;
        let mut differs = None;
        for index in log.committed.max(log.base.0) + 1..=upto {
            let Some(entry) = log.entry(index) else { continue };
            let committed = self.committed.entry(index).or_insert_with(|| {
                newest = Some((index, entry.clone()));
                Committed { entry: entry.clone(), by_term, node: node.to_owned() }
            });
            committed.by_term = committed.by_term.min(by_term);
            if committed.entry != *entry {
                differs = Some((index, committed.node.clone()));
            }
        }
        log.committed = log.committed.max(upto);
        // What a member committed while nobody watched is committed with what it says later.
        let newest = newest.filter(|(index, _): &(u64, Entry)| *index > self.reached);
        self.reached = self.reached.max(upto);
        if let Some((index, other)) = differs {
            let detail = format!("{other} and {node} committed different entries {index}");
            self.broken(&COMMITTED_STAYS, &[&other, node], detail);
        }
        if let Some((index, entry)) = newest {
            self.durable_majority(node, index, &entry);
        }
    }

    /// Counts who has the entry on stable storage at the moment it is committed.
    fn durable_majority(&mut self, node: &str, index: u64, entry: &Entry) {
        let follows = self.nodes.get(node).and_then(NodeLog::voters);
        let configurations = follows.unwrap_or(&self.voters).clone();
        for voters in configurations {
            let keeps = |voter: &&String| {
                let log = self.nodes.get(*voter);
                log.is_some_and(|log| log.durable >= index && log.has(index, entry))
            };
            let copies = voters.iter().filter(keeps).count();
            if copies * 2 <= voters.len() {
                let detail = format!(
                    "{node} committed entry {index} with {copies} durable copies among {} voters",
                    voters.len()
                );
                self.broken(&DURABLE_MAJORITY, &[node], detail);
            }
        }
    }

    fn applied(&mut self, node: &str, index: u64, term: u64, state: &str) {
        let log = self.log(node);
        let before = log.applied.replace(index);
        if let Some(before) = before.filter(|before| index != before + 1) {
            let detail = format!("{node} applies entry {index} after entry {before}");
            self.broken(&APPLIED_IN_ORDER, &[node], detail);
        }
        if let Some(committed) = self.committed.get(&index).filter(|c| c.entry.term != term) {
            let (other, was) = (committed.node.clone(), committed.entry.term);
            let detail = format!(
                "{node} applies entry {index} of term {term}; {other} committed it in term {was}"
            );
            self.broken(&COMMITTED_STAYS, &[node, &other], detail);
        }
        self.same_state(node, index, state);
    }

    fn same_state(&mut self, node: &str, index: u64, state: &str) {
        // Not every entry's state is looked at.
        if state.is_empty() {
            return;
        }
        let first = self.states.entry(index);
        let (hash, other) = first.or_insert_with(|| (state.to_owned(), node.to_owned())).clone();
        if hash != state {
            let detail = format!("after entry {index}, {other} and {node} have different states");
            self.broken(&STATE_EQUAL, &[&other, node], detail);
        }
    }

    fn recovered(&mut self, node: &str, last: u64, last_term: u64, vote_term: u64) {
        let log = self.log(node);
        let durable = log.durable;
        let voted = log.votes.keys().next_back().copied().unwrap_or(0);
        let term = log.term(last).filter(|_| last <= durable);
        log.recover(last, last_term);
        if last < durable {
            let detail = format!("{node} is back with entries up to {last}; {durable} was durable");
            self.broken(&DURABLE_KEPT, &[node], detail);
        }
        if vote_term < voted {
            let detail =
                format!("{node} is back in term {vote_term}; it had voted in term {voted}");
            self.broken(&DURABLE_KEPT, &[node], detail);
        }
        if let Some(term) = term.filter(|term| *term != last_term) {
            let detail = format!(
                "{node} is back with entry {last} of term {last_term}; it was of term {term}"
            );
            self.broken(&DURABLE_KEPT, &[node], detail);
        }
    }
}
