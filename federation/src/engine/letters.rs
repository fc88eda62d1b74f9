//! Dead letters: what a peer has refused.
//!
//! Invariants: `FED-4` a refused operation is never lost: it is tried again with growing pauses, then
//! quarantined, and stays until it is taken, or nothing is left of it to take, or an operator gives it up;
//! `FED-5` letters to one peer are tried in order, so that none arrives before what it rests on.
//!
//! Not here: operations that a peer has not answered yet; for those the log is the queue.

use std::collections::BTreeMap;

use types::{DeadLetter, OpId, Reason};

/// Tries after which a letter is quarantined.
pub const TRIES_MAX: u32 = 8;
/// Pause after the first refusal, in milliseconds; doubles with each.
pub const RETRY_MS: u64 = 2_000;
/// Most letters that are tried at once.
pub(super) const TOGETHER_MAX: usize = 64;

/// Whether time may change a refusal. What can be mended by the peer's operator only after the reason has been
/// read counts as final: trying again would hide it.
fn may_pass(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Overloaded
            | Reason::QuotaExceeded
            | Reason::ClockSkew
            | Reason::Stopping
            | Reason::StorageFailed
            | Reason::StorageFull
            | Reason::StorageUnavailable
            | Reason::RulesUnknown
            | Reason::Starting
            | Reason::FailedPrecondition
            | Reason::NotFound
    )
}

/// The letters to one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Letters {
    kept: BTreeMap<OpId, DeadLetter>,
    /// Those that are being tried.
    trying: Vec<OpId>,
}

impl Letters {
    /// What was kept across a restart.
    pub(super) fn resume(kept: impl IntoIterator<Item = DeadLetter>) -> Self {
        let kept = kept.into_iter().map(|letter| (letter.id, letter)).collect();
        Self { kept, trying: Vec::new() }
    }

    /// The peer has refused it, again perhaps. The letter is as it is to be kept.
    pub(super) fn refused(
        &mut self,
        id: OpId,
        reason: Reason,
        detail: String,
        now_ms: u64,
    ) -> &DeadLetter {
        let letter = self.kept.entry(id).or_insert_with(|| DeadLetter {
            id,
            reason,
            detail: String::new(),
            tries: 0,
            first_ms: now_ms,
            next_ms: None,
        });
        letter.tries += 1;
        (letter.reason, letter.detail) = (reason, detail);
        let goes_on = may_pass(reason) && letter.tries < TRIES_MAX;
        let pause_ms = RETRY_MS << (letter.tries - 1).min(16);
        letter.next_ms = goes_on.then(|| now_ms.saturating_add(pause_ms));
        letter
    }

    /// The peer has taken it.
    pub(super) fn taken(&mut self, id: OpId) -> bool {
        self.kept.remove(&id).is_some()
    }

    /// Whether one of these is refused, and why.
    pub(super) fn reason_among(&self, first: OpId, last: OpId) -> Option<&DeadLetter> {
        self.kept.range(first..=last).next().map(|(_, letter)| letter)
    }

    /// The letters to try now: every one that is due, with those before it that are not in quarantine.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<OpId> {
        if !self.trying.is_empty() {
            return Vec::new();
        }
        let waits = |letter: &&DeadLetter| letter.next_ms.is_some();
        let last_due = self
            .kept
            .values()
            .filter(|letter| letter.next_ms.is_some_and(|next_ms| next_ms <= now_ms))
            .map(|letter| letter.id)
            .next_back();
        let Some(last_due) = last_due else { return Vec::new() };
        let due = self.kept.range(..=last_due).map(|(_, letter)| letter).filter(waits);
        self.trying = due.map(|letter| letter.id).take(TOGETHER_MAX).collect();
        self.trying.clone()
    }

    /// The try has ended, one way or another.
    pub(super) fn tried(&mut self) {
        self.trying.clear();
    }

    /// An operator wants them tried again at once: one, or all of them.
    pub(super) fn retry(&mut self, seq: Option<u64>, now_ms: u64) -> Vec<&DeadLetter> {
        let wanted =
            self.kept.values_mut().filter(|letter| seq.is_none_or(|seq| seq == letter.id.seq));
        wanted
            .map(|letter| {
                (letter.tries, letter.next_ms) = (0, Some(now_ms));
                &*letter
            })
            .collect()
    }

    /// An operator gives them up: one, or all of them.
    pub(super) fn purge(&mut self, seq: Option<u64>) -> Vec<DeadLetter> {
        let wanted = |kept: &OpId| seq.is_none_or(|seq| seq == kept.seq);
        let gone: Vec<OpId> = self.kept.keys().copied().filter(wanted).collect();
        gone.iter().filter_map(|id| self.kept.remove(id)).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &DeadLetter> {
        self.kept.values()
    }

    pub(super) fn next_ms(&self) -> Option<u64> {
        self.kept.values().filter_map(|letter| letter.next_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seq: u64) -> OpId {
        OpId { origin: types::NodeId(uuid::Uuid::nil()), seq }
    }

    fn refuse(letters: &mut Letters, seq: u64, reason: Reason, now_ms: u64) -> Option<u64> {
        letters.refused(id(seq), reason, String::new(), now_ms).next_ms
    }

    #[test]
    fn what_may_pass_is_tried_again_and_then_quarantined() {
        let mut letters = Letters::default();
        let mut now_ms = 1000;
        for _ in 1..TRIES_MAX {
            let next_ms = refuse(&mut letters, 5, Reason::QuotaExceeded, now_ms);
            assert!(letters.due(now_ms).is_empty());
            now_ms = next_ms.expect("another try");
            assert_eq!(letters.due(now_ms), [id(5)]);
            assert!(letters.due(now_ms).is_empty(), "one try at a time");
            letters.tried();
        }
        assert_eq!(refuse(&mut letters, 5, Reason::QuotaExceeded, now_ms), None, "FED-4");
        assert!(letters.due(u64::MAX).is_empty());
        assert_eq!(letters.retry(None, now_ms).len(), 1);
        assert_eq!(letters.due(now_ms), [id(5)]);
        assert!(letters.taken(id(5)) && !letters.taken(id(5)));
    }

    #[test]
    fn what_will_not_pass_is_quarantined_at_once() {
        let mut letters = Letters::default();
        assert_eq!(refuse(&mut letters, 1, Reason::Forbidden, 0), None);
        assert_eq!(letters.purge(Some(2)), []);
        assert_eq!(letters.purge(None)[0].id, id(1));
        assert!(letters.iter().next().is_none());
    }

    #[test]
    fn letters_before_one_that_is_due_go_with_it() {
        let mut letters = Letters::default();
        refuse(&mut letters, 4, Reason::NotFound, 0);
        refuse(&mut letters, 4, Reason::NotFound, 0);
        refuse(&mut letters, 6, Reason::NotFound, 0);
        refuse(&mut letters, 5, Reason::Forbidden, 0);
        refuse(&mut letters, 9, Reason::NotFound, 1000);
        assert_eq!(letters.due(RETRY_MS), [id(4), id(6)], "FED-5");
    }
}
