//! A register: one value, written, read, and replaced under a condition.
//!
//! Not here: several registers; linearizability is local, so each key is judged alone.

use std::collections::BTreeSet;

use super::search::{Model, Timed};
use crate::judge::history::{Answer, Call};

/// The register of one key, empty at first.
#[derive(Clone, Copy, Debug)]
pub struct Register;

/// A value; `None` when there is none.
type Value = Option<String>;

impl Model for Register {
    type State = Value;
    type Call = Call;
    type Answer = Answer;

    fn initial(&self) -> Value {
        None
    }

    fn step(&self, state: &Value, call: &Call, answer: Option<&Answer>) -> Vec<Value> {
        match (call, answer) {
            (Call::Put { value, .. }, None | Some(Answer::Ok)) => vec![value.clone()],
            (Call::Get { .. }, None) => vec![state.clone()],
            (Call::Get { .. }, Some(Answer::Value { value })) if value == state => {
                vec![state.clone()]
            }
            (Call::Cas { from, to, .. }, None) => {
                vec![if from == state { to.clone() } else { state.clone() }]
            }
            (Call::Cas { from, to, .. }, Some(Answer::Swapped { swapped, seen }))
                if seen == state && *swapped == (from == state) =>
            {
                vec![if *swapped { to.clone() } else { state.clone() }]
            }
            _ => Vec::new(),
        }
    }

    fn pure(&self, call: &Call, answer: Option<&Answer>) -> bool {
        matches!(call, Call::Get { .. })
            || matches!(answer, Some(Answer::Swapped { swapped: false, .. }))
    }

    /// Only a value that somebody saw can need a writer whose end is unknown: every answer names the
    /// value it saw. A value seen only by another unknown replacement counts if its result does.
    fn matters(&self, operations: &[Timed<Call, Answer>]) -> Vec<bool> {
        let mut wanted: BTreeSet<&Value> = BTreeSet::new();
        for answer in operations.iter().filter_map(|operation| operation.answer.as_ref()) {
            match answer {
                Answer::Value { value } | Answer::Swapped { seen: value, .. } => {
                    wanted.insert(value);
                }
                _ => {}
            }
        }
        loop {
            let before = wanted.len();
            for operation in operations.iter().filter(|o| o.answer.is_none()) {
                if let Call::Cas { from, to, .. } = &operation.call
                    && wanted.contains(to)
                {
                    wanted.insert(from);
                }
            }
            if wanted.len() == before {
                break;
            }
        }
        let written = |operation: &Timed<Call, Answer>| match &operation.call {
            Call::Put { value, .. } => wanted.contains(value),
            Call::Cas { to, .. } => wanted.contains(to),
            _ => false,
        };
        operations.iter().map(written).collect()
    }
}
