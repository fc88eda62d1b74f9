//! This node's feed on its way to one peer.
//!
//! Invariants: `FED-1` operations are sent in the order of the feed, a few batches under way, each batch
//! once unless it failed; `FED-2` the peer's answer, and nothing else, makes an operation settled: applied
//! or known, or refused with a reason; `FED-3` an answer to a batch that was given up counts for
//! nothing, because what it says of the peer may be older than what is known; `FED-10` that a peer covers an
//! operation does not say whether it took it, so after a start hearsay tells where to go on, and nothing
//! that somebody waits for is settled by it.
//!
//! Not here: what is in a batch (the driver reads it from the log), refused operations after their
//! first refusal (`letters`).

use std::collections::VecDeque;

use types::VersionVector;

use super::{PushId, Verdict};

/// Batches under way to one peer.
const FLIGHTS_MAX: usize = 4;

/// A batch to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) push: PushId,
    pub(super) first: u64,
    /// What the peer has of other feeds, if something of those must come first.
    pub(super) lacks: Option<VersionVector>,
}

/// A batch under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) push: PushId,
    pub(super) first: u64,
    /// Last operation in it; the driver may have sent fewer than it was allowed.
    pub(super) last: u64,
    /// Whether the driver has said how many.
    sized: bool,
    /// What the peer said of it, once it has.
    verdicts: Option<Vec<(u64, Verdict)>>,
}

/// What a peer has of this node's feed.
#[derive(Clone, Debug, Default)]
pub(super) struct Sender {
    /// Up to here every operation is settled.
    settled: u64,
    /// Up to here only because the peer covers it (`FED-10`), as far as is known now.
    hearsay: u64,
    flights: VecDeque<Flight>,
    /// What the peer lacks of other feeds before it can take the next batch, by what it has of them.
    lacks: Option<VersionVector>,
}

impl Sender {
    /// A peer that covers this much, after a start.
    pub(super) fn resume(covered: u64) -> Self {
        Self { settled: covered, hearsay: covered, ..Self::default() }
    }

    /// Somebody waits for the operations from `first` on: what is known of them by hearsay is asked.
    pub(super) fn ask_from(&mut self, first: u64) {
        if first <= self.hearsay {
            self.flights.clear();
            self.hearsay = first.saturating_sub(1);
            self.settled = self.settled.min(self.hearsay);
        }
    }

    /// What the peer said of the operations up to `last` is not known any more: it is hearsay from now on.
    pub(super) fn forget(&mut self, last: u64) {
        self.hearsay = self.hearsay.max(last.min(self.settled));
    }

    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    fn sent(&self) -> u64 {
        self.flights.back().map_or(self.settled, |flight| flight.last)
    }

    /// The next batch up to `last`, if there is something to send and room for it.
    pub(super) fn next(&mut self, name: impl FnOnce() -> PushId, last: u64) -> Option<Batch> {
        // One batch's size must be known before the next one can begin behind it.
        let unsized_one = self.flights.back().is_some_and(|flight| !flight.sized);
        // While something of other feeds is on its way, nothing can follow it.
        let room = if self.lacks.is_some() { 1 } else { FLIGHTS_MAX };
        let first = self.sent() + 1;
        if unsized_one || self.flights.len() >= room || first > last {
            return None;
        }
        let push = name();
        self.flights.push_back(Flight { push, first, last, sized: false, verdicts: None });
        Some(Batch { push, first, lacks: self.lacks.clone() })
    }

    /// The driver has put the operations up to `last` into the batch: fewer than it was allowed, or what was
    /// committed in the meantime too.
    pub(super) fn sized(&mut self, push: PushId, last: u64) {
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.push == push) {
            flight.last = last.max(flight.first);
            flight.sized = true;
        }
    }

    /// The peer has judged a batch. What is settled by it, in order; `None` if the batch was given up.
    pub(super) fn judged(
        &mut self,
        push: PushId,
        verdicts: Vec<(u64, Verdict)>,
    ) -> Option<Vec<(u64, Verdict)>> {
        let flight = self.flights.iter_mut().find(|flight| flight.push == push)?;
        flight.sized = true;
        flight.verdicts = Some(verdicts);
        self.lacks = None;
        let mut settled = Vec::new();
        while self.flights.front().is_some_and(|flight| flight.verdicts.is_some()) {
            let Some(flight) = self.flights.pop_front() else { break };
            let mut verdicts = flight.verdicts.unwrap_or_default();
            verdicts.sort_by_key(|(seq, _)| *seq);
            for (seq, verdict) in verdicts {
                if seq == self.settled + 1 && seq <= flight.last {
                    self.settled = seq;
                    settled.push((seq, verdict));
                }
            }
            if self.settled < flight.last {
                // The peer has not said enough: what follows is sent again.
                self.flights.clear();
            }
        }
        Some(settled)
    }

    /// The peer could not take a batch: it covers `has` of this feed, and this much of others. Somebody waits for the
    /// operations from `waited` on.
    pub(super) fn behind(&mut self, push: PushId, has: u64, waited: u64, vector: VersionVector) {
        if self.flights.iter().all(|flight| flight.push != push) {
            return;
        }
        self.flights.clear();
        self.lacks = Some(vector);
        let heard = has.min(waited.saturating_sub(1));
        if has < self.settled {
            // After a restore it has less than it had: that must be sent again.
            self.settled = has;
        } else if heard > self.settled {
            (self.settled, self.hearsay) = (heard, heard);
        }
    }

    /// A batch has failed, and with it those behind it.
    pub(super) fn failed(&mut self, push: PushId) -> bool {
        let at = self.flights.iter().position(|flight| flight.push == push);
        if let Some(at) = at {
            self.flights.truncate(at);
        }
        at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(seqs: std::ops::RangeInclusive<u64>) -> Vec<(u64, Verdict)> {
        seqs.map(|seq| (seq, Verdict::Applied)).collect()
    }

    fn sent(sender: &mut Sender, push: u64, last: u64, size: u64) -> Option<u64> {
        let batch = sender.next(|| PushId(push), last)?;
        sender.sized(batch.push, batch.first + size - 1);
        Some(batch.first)
    }

    #[test]
    fn batches_follow_one_another_and_settle_in_order() {
        let mut sender = Sender::default();
        assert_eq!(sent(&mut sender, 1, 10, 4), Some(1));
        assert_eq!(sent(&mut sender, 2, 10, 4), Some(5));
        assert_eq!(sent(&mut sender, 3, 10, 2), Some(9));
        assert_eq!(sent(&mut sender, 4, 10, 1), None);
        assert_eq!(sender.judged(PushId(2), applied(5..=8)), Some(Vec::new()), "FED-1");
        assert_eq!(sender.judged(PushId(1), applied(1..=4)), Some(applied(1..=8)));
        assert_eq!(sender.judged(PushId(3), applied(9..=10)), Some(applied(9..=10)));
        assert_eq!(sender.settled(), 10);
    }

    #[test]
    fn the_next_batch_waits_for_the_size_of_the_last() {
        let mut sender = Sender::default();
        assert!(sender.next(|| PushId(1), 10).is_some());
        assert!(sender.next(|| PushId(2), 10).is_none());
        sender.sized(PushId(1), 3);
        assert_eq!(sender.next(|| PushId(2), 10).map(|batch| batch.first), Some(4));
    }

    #[test]
    fn what_failed_is_sent_again_with_all_behind_it() {
        let mut sender = Sender::default();
        for (push, size) in [(1, 2), (2, 2), (3, 2)] {
            sent(&mut sender, push, 6, size);
        }
        assert!(sender.failed(PushId(2)));
        assert!(!sender.failed(PushId(3)), "it went with the one before");
        assert_eq!(sender.judged(PushId(3), applied(5..=6)), None, "FED-3");
        assert_eq!(sender.judged(PushId(1), applied(1..=2)).map(|s| s.len()), Some(2));
        assert_eq!(sent(&mut sender, 4, 6, 4), Some(3));
    }

    #[test]
    fn an_answer_that_leaves_something_out_settles_nothing_behind_it() {
        let mut sender = Sender::default();
        sent(&mut sender, 1, 6, 6);
        let partly = vec![(1, Verdict::Applied), (3, Verdict::Applied)];
        assert_eq!(sender.judged(PushId(1), partly), Some(applied(1..=1)), "FED-2");
        assert_eq!(sent(&mut sender, 2, 6, 5), Some(2));
    }

    #[test]
    fn hearsay_settles_nothing_that_somebody_waits_for() {
        let mut sender = Sender::default();
        sent(&mut sender, 1, 9, 9);
        sender.behind(PushId(1), 5, 4, VersionVector::default());
        assert_eq!(sender.settled(), 3, "FED-10");
        sent(&mut sender, 2, 9, 6);
        sender.behind(PushId(2), 1, 4, VersionVector::default());
        assert_eq!(sender.settled(), 1, "it was put back");
        sender.ask_from(3);
        assert_eq!(sender.settled(), 1, "asking skips nothing");
    }

    #[test]
    fn a_peer_that_lacks_other_feeds_gets_them_first() {
        let mut sender = Sender::default();
        sent(&mut sender, 1, 6, 3);
        sent(&mut sender, 2, 6, 3);
        sender.behind(PushId(1), 0, u64::MAX, VersionVector::default());
        sender.behind(PushId(2), 3, u64::MAX, VersionVector::default());
        assert_eq!(sender.settled(), 0, "FED-3");
        let batch = sender.next(|| PushId(3), 6).expect("a batch");
        assert_eq!((batch.first, batch.lacks.is_some()), (1, true));
        sender.sized(PushId(3), 3);
        assert_eq!(sender.next(|| PushId(4), 6), None, "nothing follows it before it is judged");
        sender.judged(PushId(3), applied(1..=3));
        let batch = sender.next(|| PushId(5), 6).expect("a batch");
        assert_eq!((batch.first, batch.lacks), (4, None));
    }
}
