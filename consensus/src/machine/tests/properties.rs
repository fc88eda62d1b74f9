//! What holds for every history.

use std::collections::BTreeMap;

use proptest::prelude::*;
use types::{
    arbitrary::config,
    lock::{Fence, LockKey, SessionId},
};

use super::{
    super::{Applied, Command, Decided, Effect, Identity, Machine, Response},
    history::{Entry, Placed, all_steps, lock_steps, run},
};

/// Everything that came of a log.
fn replay(log: &[Placed]) -> (Machine, Vec<Applied>) {
    let mut machine = Machine::new();
    let applied = log.iter().map(|placed| placed.apply(&mut machine)).collect();
    (machine, applied)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn invariants_hold_after_every_entry(steps in all_steps()) {
        run(&steps, |machine, placed, _| {
            assert_eq!(machine.check(), Ok(()), "after {placed:?}");
        });
    }

    #[test]
    fn a_replay_gives_the_same_bytes(steps in all_steps()) {
        let log = run(&steps, |_, _, _| {});
        let (one, first) = replay(&log);
        let (two, second) = replay(&log);
        prop_assert_eq!(first, second, "ROOT-1");
        prop_assert_eq!(one.snapshot(), two.snapshot(), "ROOT-1");
        prop_assert_eq!(one.state_hash(), two.state_hash());
    }

    /// Going on from a snapshot is going on.
    #[test]
    fn a_snapshot_at_any_point_changes_nothing(steps in all_steps(), cut in 0usize..80) {
        let log = run(&steps, |_, _, _| {});
        let cut = cut.min(log.len());
        let (whole, all) = replay(&log);
        let (half, _) = replay(&log[..cut]);
        let bytes = half.snapshot();
        let mut again = Machine::restore(&bytes).expect("its own snapshot");
        prop_assert_eq!(again.snapshot(), bytes, "ROOT-1");
        prop_assert_eq!(again.next_deadline_ms(), half.next_deadline_ms());
        let rest: Vec<Applied> = log[cut..].iter().map(|placed| placed.apply(&mut again)).collect();
        prop_assert_eq!(&rest[..], &all[cut..], "ROOT-1");
        prop_assert_eq!(again.snapshot(), whole.snapshot(), "ROOT-1");
    }

    #[test]
    fn commands_and_answers_survive_their_bytes(steps in all_steps()) {
        run(&steps, |_, placed, applied| {
            if let Entry::Command(command) = &placed.entry {
                assert_eq!(Command::decode(&command.encode()).as_ref(), Ok(&**command), "COD-1");
            }
            let response = &applied.response;
            assert_eq!(Response::decode(&response.encode()).as_ref(), Ok(response), "COD-1");
        });
    }

    /// The state before and after an entry at a time that the machine has already reached.
    #[test]
    fn a_refusal_changes_nothing(steps in all_steps()) {
        let mut log = run(&steps, |_, _, _| {});
        let Some(last) = log.pop() else { return Ok(()) };
        let (mut machine, _) = replay(&log);
        // Time first, on its own: what it ends is not the refusal's doing.
        let mut placed = last.clone();
        let tick = Command::new("ops".parse().expect("an agent"), super::super::Body::Tick(Default::default()));
        machine.apply(last.index, last.leader_ms, &tick);
        placed.index += 1;
        let before = machine.untouched();
        if placed.apply(&mut machine).response.refusal().is_some() {
            prop_assert_eq!(machine.untouched(), before, "ROOT-3 {:?}", placed);
        }
    }

    #[test]
    fn what_a_session_asks_twice_is_done_once(steps in lock_steps()) {
        let mut seen: BTreeMap<(SessionId, u64), Response> = BTreeMap::new();
        run(&steps, |machine, placed, applied| {
            for effect in &applied.effects {
                if let Effect::WaitOver { session, seq, response } = effect {
                    seen.insert((*session, *seq), response.clone());
                }
            }
            let Entry::Command(command) = &placed.entry else { return };
            let Some(Identity::Session(at)) = command.identity else { return };
            if machine.session(at.session).is_none() {
                return;
            }
            match seen.get(&(at.session, at.seq)) {
                Some(first) => {
                    let kept = applied.response == *first
                        || applied.response.refusal().is_some_and(|r| r.reason.code() == "sequence_too_old");
                    assert!(kept, "SES-1: {first:?} then {:?}", applied.response);
                }
                None => {
                    seen.insert((at.session, at.seq), applied.response.clone());
                }
            }
        });
    }

    /// Seen from outside, by effects and answers alone: fences of a key never go back, and what is
    /// said to be held is what the machine says is held.
    #[test]
    fn watchers_see_fences_grow(steps in lock_steps()) {
        let mut greatest: BTreeMap<LockKey, Fence> = BTreeMap::new();
        let mut watched: BTreeMap<LockKey, Vec<SessionId>> = BTreeMap::new();
        run(&steps, |machine, placed, applied| {
            for effect in &applied.effects {
                let Effect::LockChanged { key, fence, holders } = effect else { continue };
                let before = watched.insert(key.clone(), holders.clone()).unwrap_or_default();
                if holders.iter().any(|holder| !before.contains(holder)) {
                    let last = greatest.insert(key.clone(), *fence).unwrap_or_default();
                    assert!(*fence > last, "LOCK-2: {key} {fence} after {last}");
                    assert_eq!(fence.0, placed.index, "LOCK-2");
                }
            }
            for (key, holders) in &watched {
                let shown: Vec<SessionId> =
                    machine.explain(key).holders.iter().map(|holder| holder.session).collect();
                assert_eq!(&shown, holders, "{key} was not watched in full");
            }
        });
    }

    /// Once decided, an action's decision never changes.
    #[test]
    fn a_decision_stands(steps in all_steps()) {
        let mut decisions: BTreeMap<_, Decided> = BTreeMap::new();
        run(&steps, |machine, placed, applied| {
            for effect in &applied.effects {
                if let Effect::ActionChanged { action, decided: true } = effect {
                    let decided = machine.decision(*action).cloned().expect("it was decided");
                    assert_eq!(decided.index, placed.index);
                    assert_eq!(decisions.insert(*action, decided), None, "ACT-1: decided twice");
                }
            }
            for (action, decided) in &decisions {
                assert_eq!(machine.decision(*action), Some(decided), "ACT-1");
            }
        });
    }

    /// Versions, epochs and time only grow.
    #[test]
    fn nothing_goes_back(steps in all_steps()) {
        let mut last = (0, 0, 0, 0);
        run(&steps, |machine, _, _| {
            let now = (
                machine.time_ms(),
                machine.rules().version(),
                machine.agents_version(),
                machine.cluster_epoch(),
            );
            let grown = now.0 >= last.0 && now.1 >= last.1 && now.2 >= last.2 && now.3 >= last.3;
            assert!(grown, "ROOT-2, GOV-6, EPO-1: {now:?} after {last:?}");
            last = now;
        });
    }
}
