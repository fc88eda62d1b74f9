//! Lines as inputs.

use types::{OpId, Reason, VersionVector};

use super::node;
use crate::engine::{Input, PushId, Verdict, WriteId};

/// Time and input of a line that starts with `@`.
pub(super) fn step(line: &str) -> (u64, Input) {
    let mut words = line[1..].split_whitespace();
    let mut word = || words.next().unwrap_or_else(|| panic!("{line}: a word is missing"));
    let (at_ms, what) = (number(word()), word());
    let rest: Vec<&str> = words.collect();
    (at_ms, input(what, &rest).unwrap_or_else(|| panic!("{line}: not understood")))
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

/// `5..7`.
fn range(text: &str) -> (u64, u64) {
    let (first, last) = text.split_once("..").unwrap_or_else(|| panic!("{text} is no range"));
    (number(first), number(last))
}

/// `b#7`.
fn push(text: &str) -> (types::NodeId, PushId) {
    let (peer, push) = text.split_once('#').unwrap_or_else(|| panic!("{text} is no batch"));
    (node(peer), PushId(number(push)))
}

/// `a=3,b=1`; `-` is empty.
fn vector(text: &str) -> VersionVector {
    let entries = text.split(',').filter(|entry| *entry != "-");
    let entry = |entry: &str| {
        let (origin, seq) = entry.split_once('=').unwrap_or_else(|| panic!("{text} is no vector"));
        (node(origin), number(seq))
    };
    entries.map(entry).collect()
}

/// `1..3:applied`, `4:quota_exceeded`.
fn verdicts(text: &str) -> Vec<(OpId, Verdict)> {
    let (seqs, verdict) = text.split_once(':').unwrap_or_else(|| panic!("{text} is no verdict"));
    let (first, last) =
        if seqs.contains("..") { range(seqs) } else { (number(seqs), number(seqs)) };
    let verdict = match verdict {
        "applied" => Verdict::Applied,
        "known" => Verdict::Known,
        "hidden" => Verdict::Hidden,
        reason => Verdict::Refused {
            reason: Reason::from_code(reason).unwrap_or_else(|| panic!("{reason} is no reason")),
            detail: String::new(),
        },
    };
    let origin = node("a");
    (first..=last).map(|seq| (OpId { origin, seq }, verdict.clone())).collect()
}

fn which(rest: &[&str]) -> Option<u64> {
    rest.first().map(|seq| number(seq))
}

fn input(what: &str, rest: &[&str]) -> Option<Input> {
    Some(match (what, rest) {
        ("tick", []) => Input::Tick,
        ("join", [peer]) => Input::Joined { peer: node(peer) },
        ("leave", [peer]) => Input::Left { peer: node(peer) },
        ("append", [last]) => Input::Appended { last: number(last) },
        ("covered", [covered]) => Input::Covered(vector(covered)),
        ("write", [write, seqs, "needs", needed, "within", within]) => {
            let (first, last) = range(seqs);
            Input::Write {
                write: WriteId(number(write)),
                first,
                last,
                needed: number(needed) as usize,
                within_ms: number(within),
            }
        }
        ("gone", [write]) => Input::Gone { write: WriteId(number(write)) },
        ("sized", [batch, last]) => {
            let (peer, push) = push(batch);
            Input::Sized { peer, push, last: number(last) }
        }
        ("judged", [batch, judged @ .., covered]) => {
            let (peer, push) = push(batch);
            let verdicts = judged.iter().flat_map(|text| verdicts(text)).collect();
            Input::Judged { peer, push, verdicts, vector: vector(covered) }
        }
        ("behind", [batch, covered]) => {
            let (peer, push) = push(batch);
            Input::Behind { peer, push, vector: vector(covered) }
        }
        ("cut", [batch, covered]) => {
            let (peer, push) = push(batch);
            Input::Cut { peer, push, vector: vector(covered) }
        }
        ("failed", [batch]) => {
            let (peer, push) = push(batch);
            Input::Failed { peer, push }
        }
        ("heard", [peer, covered]) => Input::Heard { peer: node(peer), vector: vector(covered) },
        ("pulled", [peer, covered, more @ ..]) => {
            let (is_cut, more) = (more == ["cut"], more == ["more"]);
            Input::Pulled { peer: node(peer), vector: vector(covered), more, is_cut }
        }
        ("compared", [peer]) => Input::Compared { peer: node(peer), whole: true },
        ("compare-failed", [peer]) => Input::Compared { peer: node(peer), whole: false },
        ("pull-failed", [peer]) => Input::PullFailed { peer: node(peer) },
        ("retry", [peer, rest @ ..]) => Input::Retry { peer: node(peer), seq: which(rest) },
        ("purge", [peer, rest @ ..]) => Input::Purge { peer: node(peer), seq: which(rest) },
        _ => return None,
    })
}
