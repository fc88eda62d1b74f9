//! A set: elements come and go, a read returns all of them.
//!
//! An answer that has an element twice is no set and is explained by nothing: so a retry that was
//! applied twice shows where elements are counted.

use std::collections::BTreeSet;

use super::search::{Model, Timed};
use crate::judge::history::{Answer, Call};

/// The set of one key, empty at first.
#[derive(Clone, Copy, Debug)]
pub struct Set;

type Elements = BTreeSet<String>;

impl Model for Set {
    type State = Elements;
    type Call = Call;
    type Answer = Answer;

    fn initial(&self) -> Elements {
        Elements::new()
    }

    fn step(&self, state: &Elements, call: &Call, answer: Option<&Answer>) -> Vec<Elements> {
        let mut next = state.clone();
        match (call, answer) {
            (Call::Add { element, .. }, None | Some(Answer::Ok)) => {
                next.insert(element.clone());
            }
            (Call::Remove { element, .. }, None | Some(Answer::Ok)) => {
                next.remove(element);
            }
            (Call::Elements { .. }, None) => {}
            (Call::Elements { .. }, Some(Answer::Elements { elements }))
                if elements.len() == state.len() && elements.iter().all(|e| state.contains(e)) => {}
            _ => return Vec::new(),
        }
        vec![next]
    }

    fn pure(&self, call: &Call, _: Option<&Answer>) -> bool {
        matches!(call, Call::Elements { .. })
    }

    /// An addition of unknown end matters if some read has the element, a removal if some read lacks it.
    fn matters(&self, operations: &[Timed<Call, Answer>]) -> Vec<bool> {
        let read = |has: bool, element: &String| {
            operations.iter().any(|operation| match &operation.answer {
                Some(Answer::Elements { elements }) => elements.contains(element) == has,
                _ => false,
            })
        };
        let matters = |operation: &Timed<Call, Answer>| match &operation.call {
            Call::Add { element, .. } => read(true, element),
            Call::Remove { element, .. } => read(false, element),
            _ => false,
        };
        operations.iter().map(matters).collect()
    }
}
