//! For which traces the last operations of this node were made, so that handing them on is part of those.
//!
//! Invariants: `WTR-1` an operation that is seen as committed has its trace here, if it has one; `WTR-2` there are never
//! more than [`KEPT_MAX`], and none on a node that traces nothing.
//!
//! Not here: spans (`runtime::span`).

use std::collections::VecDeque;

use parking_lot::Mutex;
use runtime::span::Traced;

/// Traces that are remembered: those of more writes than are under way to peers at any time.
const KEPT_MAX: usize = 256;

/// The traces, with the number of the last operation of each write; oldest first.
#[derive(Debug, Default)]
pub(crate) struct Traces(Mutex<VecDeque<(u64, Traced)>>);

impl Traces {
    /// Notes for which trace the operations up to a number were made.
    pub(crate) fn note(&self, last: u64, traced: Traced) {
        let mut kept = self.0.lock();
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((last, traced));
    }

    /// The trace of the first operation from a number on that has one.
    pub(crate) fn of(&self, first: u64) -> Option<Traced> {
        let kept = self.0.lock();
        kept.iter().find(|(last, _)| *last >= first).map(|(_, traced)| traced.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use runtime::span::{Collector, Finished};

    use super::*;

    struct Nobody;

    impl Collector for Nobody {
        fn collect(&self, _: Finished) {}
    }

    #[test]
    fn an_operation_finds_its_trace_and_old_ones_go() {
        let traces = Traces::default();
        assert!(traces.of(1).is_none());
        let all: Vec<Traced> =
            (0..=KEPT_MAX).map(|_| Traced::new(None, Arc::new(Nobody))).collect();
        for (at, traced) in all.iter().enumerate() {
            traces.note(10 * at as u64, traced.clone());
        }
        let of = |first| traces.of(first).map(|traced| traced.trace());
        assert_eq!(of(0), Some(all[1].trace()), "WTR-2");
        assert_eq!(of(20), Some(all[2].trace()));
        assert_eq!(of(21), Some(all[3].trace()));
        assert_eq!(of(10 * KEPT_MAX as u64 + 1), None);
    }
}
