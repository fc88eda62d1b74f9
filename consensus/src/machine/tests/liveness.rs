//! What must come, and what must go: every wait is answered, and whatever is left alone empties
//! itself as time passes.

use std::collections::BTreeSet;

use proptest::prelude::*;
use types::{arbitrary::config, lock::SessionId};

use super::{
    super::{Applied, Body, CloseSession, Command, Effect, Empty, Identity, Machine, Response},
    history::{Entry, Placed, all_steps, lock_steps, run},
};

/// Goes on after a history with entries of its own.
struct After {
    machine: Machine,
    index: u64,
}

impl After {
    fn new(log: &[Placed]) -> Self {
        let mut machine = Machine::new();
        log.iter().for_each(|placed| drop(placed.apply(&mut machine)));
        Self { index: machine.applied(), machine }
    }

    fn send(&mut self, by: &str, at_ms: u64, body: Body) -> Applied {
        self.index += 1;
        let by = by.parse().expect("an agent");
        self.machine.apply(self.index, at_ms, &Command::new(by, body))
    }
}

/// Requests that wait: those that were put into a queue, less those that were answered.
fn open_waits(open: &mut BTreeSet<(SessionId, u64)>, entry: Option<&Entry>, applied: &Applied) {
    for effect in &applied.effects {
        match effect {
            Effect::WaitOver { session, seq, response } => {
                assert!(open.remove(&(*session, *seq)), "{session} #{seq} is answered twice");
                let is_final = matches!(response, Response::Granted(_) | Response::WaitEnded(_));
                assert!(is_final, "{response:?} is no end of a wait");
            }
            Effect::SessionEnded { session, .. } => open.retain(|(other, _)| other != session),
            _ => {}
        }
    }
    if let (Some(Entry::Command(command)), Response::Waiting(_)) = (entry, &applied.response)
        && let Some(Identity::Session(at)) = &command.identity
    {
        open.insert((at.session, at.seq));
    }
}

proptest! {
    #![proptest_config(config())]

    /// A tick at the time that the machine names moves that time on, until nothing is left: no
    /// deadline is forgotten, none is named for ever.
    #[test]
    fn ticks_at_the_named_times_empty_the_machine(steps in all_steps()) {
        let mut after = After::new(&run(&steps, |_, _, _| {}));
        let mut last = 0;
        while let Some(next) = after.machine.next_deadline_ms() {
            prop_assert!(next > last, "{next} is named again");
            prop_assert!(next > after.machine.time_ms(), "{next} is past and still named");
            after.send("ops", next, Body::Tick(Empty {}));
            prop_assert_eq!(after.machine.check(), Ok(()));
            last = next;
        }
        prop_assert_eq!(after.machine.sessions().count(), 0, "SES-2");
        prop_assert_eq!(after.machine.lock_keys().count(), 0, "no lock outlives its session and rest");
        prop_assert_eq!(after.machine.pending_actions().count(), 0, "ACT-1");
        prop_assert!(after.machine.locks.waits.is_empty(), "LOCK-3");
        prop_assert!(after.machine.requests.is_sound());
    }

    /// One millisecond before the named time, nothing happens.
    #[test]
    fn nothing_ends_before_its_time(steps in all_steps()) {
        let mut after = After::new(&run(&steps, |_, _, _| {}));
        let now_ms = after.machine.time_ms();
        after.send("ops", now_ms, Body::Tick(Empty {}));
        let Some(next) = after.machine.next_deadline_ms() else { return Ok(()) };
        let before = after.machine.untouched();
        let applied = after.send("ops", next - 1, Body::Tick(Empty {}));
        prop_assert_eq!(applied.effects, vec![]);
        prop_assert_eq!(after.machine.untouched(), before);
    }

    /// Every request that waits is answered once: by a grant, an end, or the end of its session.
    #[test]
    fn every_wait_is_answered_once(steps in lock_steps()) {
        let mut open = BTreeSet::new();
        let log = run(&steps, |machine, placed, applied| {
            open_waits(&mut open, Some(&placed.entry), applied);
            assert_eq!(machine.locks.waits.len(), open.len());
        });
        let mut after = After::new(&log);
        while let Some(next) = after.machine.next_deadline_ms() {
            let applied = after.send("ops", next, Body::Tick(Empty {}));
            open_waits(&mut open, None, &applied);
        }
        prop_assert!(open.is_empty(), "{open:?} are never answered");
    }

    /// With holders leaving one after the other and time standing still, everyone who waits is granted
    /// in the end: nobody starves, nothing is deadlocked.
    #[test]
    fn when_holders_leave_all_waiters_are_served(steps in lock_steps()) {
        let mut after = After::new(&run(&steps, |_, _, _| {}));
        let now_ms = after.machine.time_ms();
        let resting = |machine: &Machine| {
            let keys: Vec<_> = machine.lock_keys().cloned().collect();
            keys.iter().any(|key| machine.explain(key).rests_ms > 0)
        };
        // A resting key needs time; those histories are told by the property above.
        prop_assume!(!resting(&after.machine));
        for _ in 0..200 {
            let holder = after.machine.sessions().find(|s| s.held > 0 && s.waiting == 0);
            let Some(holder) = holder else { break };
            let body = Body::CloseSession(CloseSession { session: holder.session });
            let response = after.send(holder.agent.as_str(), now_ms, body).response;
            prop_assert_eq!(response, Response::done());
            prop_assert_eq!(after.machine.check(), Ok(()));
        }
        let waiting: u64 = after.machine.sessions().map(|session| session.waiting).sum();
        prop_assert_eq!(waiting, 0, "LOCK-6, LOCK-8: somebody waits for nobody");
    }

    /// `SES-3`, after any history: a leader change ends no session, and gives each its full TTL; so does
    /// the new leader's first reading, however long nobody led.
    #[test]
    fn a_leader_change_shortens_no_session(
        steps in lock_steps(), ahead_ms in 0u64..100_000, outage_ms in 0u64..10_000_000,
    ) {
        let mut after = After::new(&run(&steps, |_, _, _| {}));
        let before: Vec<_> = after.machine.sessions().collect();
        let now_ms = after.machine.time_ms() + ahead_ms;
        let applied = after.machine.leader_changed(after.index + 1, now_ms);
        let ended = |effect: &Effect| matches!(effect, Effect::SessionEnded { .. });
        prop_assert!(!applied.effects.iter().any(ended), "SES-3");
        let now: Vec<_> = after.machine.sessions().collect();
        prop_assert_eq!(now.len(), before.len(), "SES-3");
        for (before, now) in before.iter().zip(&now) {
            prop_assert_eq!(before.session, now.session);
            prop_assert_eq!(now.left_ms, now.ttl_ms, "SES-3");
        }
        prop_assert_eq!(after.machine.check(), Ok(()));
        // A snapshot between the two readings forgets nothing.
        let machine = Machine::restore(&after.machine.snapshot()).expect("its own snapshot");
        let mut after = After { index: after.index + 1, machine };
        let applied = after.send("ops", now_ms + outage_ms, Body::Tick(Empty {}));
        prop_assert!(!applied.effects.iter().any(ended), "SES-3");
        prop_assert_eq!(after.machine.sessions().count(), before.len(), "SES-3");
        for session in after.machine.sessions() {
            prop_assert_eq!(session.left_ms, session.ttl_ms, "SES-3");
        }
    }
}
