//! Durability of one node: what was acknowledged is there, whole, once; what was refused is not.
//!
//! Properties: `STO-1` (acknowledged means fsynced), idempotency (requirement A5), read your writes
//! (requirement A7), and the audit chain (requirement E1).
//!
//! Not here: durability across nodes.

use super::{
    Rule, Violation,
    stores::{Ending, Scan, Store, Stores},
};

/// What one node owes the clients that stored in it.
pub const STORED: Rule =
    Rule { judge: "durability", name: "stored", source: "STO-1, requirements A5, A7 and E1" };

fn violation(detail: String) -> Violation {
    Violation::of(&STORED, detail)
}

fn judge_one(operation: &Store, scan: &Scan) -> Option<Violation> {
    let found = scan.memories.get(&operation.key).map(Vec::as_slice).unwrap_or_default();
    let key = &operation.key;
    if found.len() > 1 {
        return Some(violation(format!("{key} was stored {} times under one key", found.len())));
    }
    if let Some(memory) = found.iter().find(|m| m.content != operation.content) {
        return Some(violation(format!("{key} is half-written: {} bytes", memory.content.len())));
    }
    match (&operation.ending, found.first()) {
        (Ending::Acknowledged { id }, None) => {
            Some(violation(format!("{key} was acknowledged as {id} and is gone")))
        }
        (Ending::Acknowledged { id }, Some(memory)) if memory.id != *id => {
            Some(violation(format!("{key} was acknowledged as {id} and is {}", memory.id)))
        }
        (Ending::Acknowledged { .. }, Some(memory)) if !memory.recalled => {
            Some(violation(format!("{key} is stored and recall does not find it")))
        }
        (Ending::Refused { reason }, Some(_)) => {
            Some(violation(format!("{key} was refused ({reason}) and is stored")))
        }
        _ => None,
    }
}

/// Judges a single node's history.
pub fn judge(history: &Stores, scan: &Scan) -> Vec<Violation> {
    let mut found: Vec<Violation> =
        history.operations.iter().filter_map(|operation| judge_one(operation, scan)).collect();
    let stored: u64 = scan.memories.values().map(|m| m.len() as u64).sum();
    if !scan.chain_holds {
        found.push(violation("the audit chain does not hold".to_owned()));
    }
    if scan.chain_rows < stored {
        found.push(violation(format!("{stored} memories and only {} audit rows", scan.chain_rows)));
    }
    found.extend(scan.findings.iter().map(|f| violation(format!("the node's own check: {f}"))));
    let missed = history.missed_recalls.iter();
    found.extend(missed.map(|key| violation(format!("{key} was not found by the next recall"))));
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::stores::Found, *};

    fn operation(ending: Ending) -> Stores {
        let (key, content) = ("k".to_owned(), "whole".to_owned());
        let operations = vec![Store { key, content, attempts: 1, ending }];
        Stores { operations, missed_recalls: Vec::new() }
    }

    fn scan(contents: &[&str]) -> Scan {
        let found = contents
            .iter()
            .map(|c| Found { id: "1".into(), content: (*c).to_owned(), recalled: true })
            .collect();
        Scan {
            memories: BTreeMap::from([("k".to_owned(), found)]),
            chain_holds: true,
            chain_rows: 9,
            findings: Vec::new(),
        }
    }

    fn acknowledged() -> Ending {
        Ending::Acknowledged { id: "1".into() }
    }

    #[test]
    fn a_true_history_passes() {
        assert!(judge(&operation(acknowledged()), &scan(&["whole"])).is_empty());
        assert!(judge(&operation(Ending::Unknown), &scan(&["whole"])).is_empty());
        assert!(judge(&operation(Ending::Unknown), &scan(&[])).is_empty());
        let refused = Ending::Refused { reason: "overloaded".into() };
        assert!(judge(&operation(refused), &scan(&[])).is_empty());
    }

    #[test]
    fn every_broken_promise_is_seen() {
        let other = Ending::Acknowledged { id: "2".into() };
        let refused = Ending::Refused { reason: "overloaded".into() };
        let cases = [
            (acknowledged(), scan(&[]), "gone"),
            (acknowledged(), scan(&["whole", "whole"]), "2 times"),
            (Ending::Unknown, scan(&["wh"]), "half-written"),
            (other, scan(&["whole"]), "acknowledged as 2"),
            (refused, scan(&["whole"]), "refused"),
            (acknowledged(), Scan { chain_holds: false, ..scan(&["whole"]) }, "chain"),
            (acknowledged(), Scan { chain_rows: 0, ..scan(&["whole"]) }, "audit rows"),
        ];
        for (ending, scan, word) in cases {
            let found = judge(&operation(ending), &scan);
            assert!(found.iter().any(|v| v.detail.contains(word)), "{word}: {found:?}");
        }
        let mut unseen = scan(&["whole"]);
        unseen.memories.values_mut().flatten().for_each(|m| m.recalled = false);
        assert_eq!(judge(&operation(acknowledged()), &unseen).len(), 1);
    }
}
