//! Locks once more, as simply as they can be said: a list of holds, a list of waits in order, and a
//! loop that grants the first wait that can have all it wants, until none can.
//!
//! The model shares no code with the machine. It foretells each answer, and after every entry both
//! must show the same holders and the same queues.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use types::{
    arbitrary::config,
    lock::{LockKey, LockMode, SessionId, Want},
};

use super::{
    super::{Acquire, Applied, Body, Command, Identity, Machine, Release, Response},
    history::{Entry, Placed, key, lock_steps, run},
};

#[derive(Clone, Debug)]
struct Hold {
    key: LockKey,
    session: SessionId,
    mode: LockMode,
    fence: u64,
    count: u32,
}

#[derive(Clone, Debug)]
struct Wait {
    id: u64,
    session: SessionId,
    seq: u64,
    wants: Vec<Want>,
    deadline_ms: u64,
}

#[derive(Clone, Debug)]
struct Lease {
    ttl_ms: u64,
    delay_ms: u64,
    until_ms: u64,
}

#[derive(Debug, Default)]
struct Model {
    now_ms: u64,
    leases: BTreeMap<SessionId, Lease>,
    holds: Vec<Hold>,
    waits: Vec<Wait>,
    rests: BTreeMap<LockKey, u64>,
    /// A leader took office and has given no reading yet.
    unheard: bool,
    asked: BTreeSet<(SessionId, u64)>,
}

/// What the model expects of an acquire.
#[derive(Debug, PartialEq)]
enum Expected {
    Granted,
    Waiting,
    TimedOut,
    Refused(&'static str),
}

fn stronger(held: LockMode, wanted: LockMode) -> bool {
    use LockMode::*;
    match (held, wanted) {
        (Exclusive, _) | (Shared, Shared) => true,
        (Permits { permits: a, .. }, Permits { permits: b, .. }) => a >= b,
        _ => false,
    }
}

impl Model {
    fn held(&self, session: SessionId, want: &Want) -> bool {
        self.holds.iter().any(|hold| {
            hold.session == session && hold.key == want.key && stronger(hold.mode, want.mode)
        })
    }

    /// Whether holds of others leave room.
    fn room(&self, session: SessionId, want: &Want) -> bool {
        let others: Vec<LockMode> = self
            .holds
            .iter()
            .filter(|hold| hold.key == want.key && hold.session != session)
            .map(|hold| hold.mode)
            .collect();
        let mut units = match want.mode {
            LockMode::Exclusive => return others.is_empty(),
            LockMode::Shared => return others.iter().all(|mode| *mode == LockMode::Shared),
            LockMode::Permits { permits, .. } => permits,
        };
        for other in others {
            match other {
                LockMode::Permits { permits, .. } => units += permits,
                _ => return false,
            }
        }
        units <= 3
    }

    /// Waits before a place that want the key and don't have it.
    fn ahead(&self, place: u64, key: &LockKey) -> Vec<SessionId> {
        let wants = |wait: &&Wait| {
            wait.id < place
                && wait.wants.iter().any(|w| w.key == *key && !self.held(wait.session, w))
        };
        self.waits.iter().filter(wants).map(|wait| wait.session).collect()
    }

    fn can_have_all(&self, session: SessionId, wants: &[Want], place: u64) -> bool {
        wants.iter().all(|want| {
            self.held(session, want)
                || (self.ahead(place, &want.key).is_empty()
                    && self.room(session, want)
                    && !self.rests.contains_key(&want.key))
        })
    }

    fn take(&mut self, session: SessionId, wants: &[Want], fence: u64) {
        for want in wants {
            let covered = self.held(session, want);
            let own = self.holds.iter_mut().find(|h| h.session == session && h.key == want.key);
            match own {
                Some(hold) => {
                    hold.count += 1;
                    if !covered {
                        (hold.mode, hold.fence) = (want.mode, fence);
                    }
                }
                None => self.holds.push(Hold {
                    key: want.key.clone(),
                    session,
                    mode: want.mode,
                    fence,
                    count: 1,
                }),
            }
        }
    }

    /// Grants, one after the other, whoever can be granted.
    fn settle(&mut self, index: u64) {
        while let Some(at) =
            self.waits.iter().position(|wait| self.can_have_all(wait.session, &wait.wants, wait.id))
        {
            let wait = self.waits.remove(at);
            self.take(wait.session, &wait.wants, index);
        }
    }

    fn end(&mut self, session: SessionId, lost: bool) {
        let Some(lease) = self.leases.remove(&session) else { return };
        self.waits.retain(|wait| wait.session != session);
        for hold in self.holds.iter().filter(|hold| hold.session == session) {
            if lost && lease.delay_ms > 0 && hold.mode == LockMode::Exclusive {
                self.rests.insert(hold.key.clone(), self.now_ms + lease.delay_ms);
            }
        }
        self.holds.retain(|hold| hold.session != session);
    }

    fn pass_time(&mut self, leader_ms: u64, new_leader: bool) {
        self.now_ms = self.now_ms.max(leader_ms);
        let now_ms = self.now_ms;
        if std::mem::replace(&mut self.unheard, new_leader) || new_leader {
            for lease in self.leases.values_mut() {
                lease.until_ms = now_ms + lease.ttl_ms;
            }
        }
        self.waits.retain(|wait| wait.deadline_ms > now_ms);
        self.rests.retain(|_, until| *until > now_ms);
        let dead: Vec<SessionId> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.until_ms <= now_ms)
            .map(|(session, _)| *session)
            .collect();
        dead.into_iter().for_each(|session| self.end(session, true));
    }

    /// Whether waiting would close a circle: everyone's ways to everyone, written out.
    fn closes_a_circle(&self, session: SessionId, wants: &[Want], index: u64) -> bool {
        let new = Wait { id: index, session, seq: 0, wants: wants.to_vec(), deadline_ms: u64::MAX };
        let mut ways: BTreeSet<(SessionId, SessionId)> = BTreeSet::new();
        for wait in self.waits.iter().chain([&new]) {
            for want in wait.wants.iter().filter(|want| !self.held(wait.session, want)) {
                let mut others = self.ahead(wait.id, &want.key);
                if !self.room(wait.session, want) {
                    let holders = self.holds.iter().filter(|hold| hold.key == want.key);
                    others.extend(holders.map(|hold| hold.session));
                }
                let others = others.into_iter().filter(|other| *other != wait.session);
                ways.extend(others.map(|other| (wait.session, other)));
            }
        }
        loop {
            let longer: Vec<_> = ways
                .iter()
                .flat_map(|(a, b)| {
                    ways.iter().filter(move |(c, _)| b == c).map(move |(_, d)| (*a, *d))
                })
                .filter(|way| !ways.contains(way))
                .collect();
            if longer.is_empty() {
                return ways.contains(&(session, session));
            }
            ways.extend(longer);
        }
    }

    fn acquire(&mut self, session: SessionId, seq: u64, body: &Acquire, index: u64) -> Expected {
        let mut wants = body.wants.clone();
        wants.sort();
        let keys: BTreeSet<&LockKey> = wants.iter().map(|want| &want.key).collect();
        if keys.len() != wants.len() {
            return Expected::Refused("invalid_argument");
        }
        for want in &wants {
            let waits = self.waits.iter().any(|wait| {
                wait.session == session
                    && wait.wants.iter().any(|w| w.key == want.key && !self.held(session, w))
            });
            let queued = self.waits.iter().flat_map(|wait| {
                let missing = wait.wants.iter().filter(|w| !self.held(wait.session, w));
                missing.map(|w| (w.key.clone(), w.mode)).collect::<Vec<_>>()
            });
            let held = self.holds.iter().map(|hold| (hold.key.clone(), hold.mode));
            let kind = |mode: LockMode| std::mem::discriminant(&mode);
            let plural = want.mode != LockMode::Exclusive;
            let mixed = queued.chain(held).any(|(key, mode)| {
                plural
                    && key == want.key
                    && mode != LockMode::Exclusive
                    && kind(mode) != kind(want.mode)
            });
            if waits || mixed {
                return Expected::Refused("failed_precondition");
            }
        }
        match body.wait_until_ms {
            Some(until) if until <= self.now_ms => Expected::TimedOut,
            _ if self.can_have_all(session, &wants, index) => {
                self.take(session, &wants, index);
                Expected::Granted
            }
            None => Expected::Refused("lock_busy"),
            Some(_) if self.waits.iter().filter(|wait| wait.session == session).count() >= 8 => {
                Expected::Refused("overloaded")
            }
            Some(_) if self.closes_a_circle(session, &wants, index) => Expected::Refused("cycle"),
            Some(deadline_ms) => {
                self.waits.push(Wait { id: index, session, seq, wants, deadline_ms });
                Expected::Waiting
            }
        }
    }

    /// Takes holds away, and waits of the same session that counted on them.
    fn drop_hold(&mut self, session: SessionId, key: &LockKey) {
        let relied: BTreeSet<u64> = self
            .waits
            .iter()
            .filter(|wait| {
                wait.session == session
                    && wait.wants.iter().any(|w| w.key == *key && self.held(session, w))
            })
            .map(|wait| wait.id)
            .collect();
        self.holds.retain(|hold| hold.session != session || hold.key != *key);
        self.waits.retain(|wait| !relied.contains(&wait.id));
    }

    fn release(&mut self, session: SessionId, body: &Release) {
        let named = body.locks.iter().all(|held| {
            self.holds.iter().any(|hold| {
                hold.session == session && hold.key == held.key && hold.fence == held.fence.0
            })
        });
        if !named || body.locks.is_empty() {
            return;
        }
        for held in &body.locks {
            let own = self.holds.iter_mut().find(|h| h.session == session && h.key == held.key);
            match own {
                Some(hold) if hold.count > 1 => hold.count -= 1,
                _ => self.drop_hold(session, &held.key),
            }
        }
    }

    /// Follows an entry and checks its answer.
    fn follow(&mut self, placed: &Placed, applied: &Applied) {
        let new_leader = matches!(placed.entry, Entry::Leader);
        self.pass_time(placed.leader_ms, new_leader);
        self.settle(placed.index);
        if let Entry::Command(command) = &placed.entry {
            self.command(command, placed.index, applied);
        }
        self.settle(placed.index);
    }

    fn command(&mut self, command: &Command, index: u64, applied: &Applied) {
        if let Some(Identity::Session(at)) = &command.identity {
            let fresh = self.asked.insert((at.session, at.seq));
            if !self.leases.contains_key(&at.session) || !fresh {
                return;
            }
            match &command.body {
                Body::Acquire(body) => {
                    let expected = self.acquire(at.session, at.seq, body, index);
                    let got = match &applied.response {
                        Response::Granted(_) => Expected::Granted,
                        Response::Waiting(_) => Expected::Waiting,
                        Response::WaitEnded(_) => Expected::TimedOut,
                        Response::Refused(reject) => Expected::Refused(reject.reason.code()),
                        other => panic!("an acquire is answered by {other:?}"),
                    };
                    assert_eq!(got, expected, "{command:?}");
                }
                Body::Release(body) => self.release(at.session, body),
                Body::CancelWait(body) => {
                    self.waits.retain(|wait| wait.session != at.session || wait.seq != body.seq);
                }
                other => panic!("no lock command: {other:?}"),
            }
            return;
        }
        match &command.body {
            Body::OpenSession(body) => {
                let until_ms = self.now_ms + body.ttl_ms;
                let (ttl_ms, delay_ms) = (body.ttl_ms, body.lock_delay_ms);
                self.leases.insert(SessionId(index), Lease { ttl_ms, delay_ms, until_ms });
            }
            Body::KeepAlive(body) => {
                if let Some(lease) = self.leases.get_mut(&body.session) {
                    lease.until_ms = self.now_ms + lease.ttl_ms;
                }
            }
            Body::CloseSession(body) => self.end(body.session, false),
            Body::ForceRelease(body) => {
                // Under a request id a repetition is not executed.
                let taken: Vec<SessionId> = self
                    .holds
                    .iter()
                    .filter(|hold| hold.key == body.key && hold.fence == body.fence.0)
                    .map(|hold| hold.session)
                    .collect();
                if applied.response == Response::done() {
                    taken.into_iter().for_each(|session| self.drop_hold(session, &body.key));
                }
            }
            _ => {}
        }
    }

    /// Both show the same holders and queues.
    fn compare(&self, machine: &Machine) {
        for number in 0..4 {
            let key = key(number);
            let shown = machine.explain(&key);
            let mut held: Vec<_> = self
                .holds
                .iter()
                .filter(|hold| hold.key == key)
                .map(|hold| (hold.session, hold.mode, hold.fence, hold.count))
                .collect();
            held.sort();
            let holders: Vec<_> =
                shown.holders.iter().map(|h| (h.session, h.mode, h.fence.0, h.count)).collect();
            assert_eq!(holders, held, "holders of {key}");
            let missing = |wait: &&Wait| {
                wait.wants.iter().any(|w| w.key == key && !self.held(wait.session, w))
            };
            let queue: Vec<u64> = self.waits.iter().filter(missing).map(|wait| wait.id).collect();
            let waiters: Vec<u64> = shown.queue.iter().map(|waiter| waiter.wait.0).collect();
            assert_eq!(waiters, queue, "queue of {key}");
            let rests_ms = self.rests.get(&key).map_or(0, |until| until - self.now_ms);
            assert_eq!(shown.rests_ms, rests_ms, "rest of {key}");
        }
        let live: Vec<SessionId> = machine.sessions().map(|session| session.session).collect();
        assert_eq!(live, self.leases.keys().copied().collect::<Vec<_>>(), "live sessions");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: config().cases * 4, ..config() })]

    #[test]
    fn the_machine_does_what_the_model_does(steps in lock_steps()) {
        let mut model = Model::default();
        run(&steps, |machine, placed, applied| {
            model.follow(placed, applied);
            model.compare(machine);
        });
    }
}

/// The histories are worth their time: what is to be compared happens in them.
#[test]
fn histories_reach_what_they_are_for() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    let mut seen: BTreeMap<&'static str, u32> = BTreeMap::new();
    let mut runner = TestRunner::deterministic();
    for _ in 0..200 {
        let steps = lock_steps().new_tree(&mut runner).expect("a history").current();
        run(&steps, |machine, _, applied| {
            let answer = match &applied.response {
                Response::Refused(reject) => reject.reason.code(),
                Response::Waiting(_) => "waiting",
                Response::Granted(granted) if granted.grants.len() > 1 => "granted many",
                Response::Granted(granted) if granted.grants[0].count > 1 => "granted again",
                Response::Granted(_) => "granted",
                Response::WaitEnded(_) => "wait ended",
                _ => "other",
            };
            *seen.entry(answer).or_default() += 1;
            for number in 0..4 {
                let found = machine.explain(&key(number));
                *seen.entry("queue of two").or_default() += u32::from(found.queue.len() > 1);
                *seen.entry("rest").or_default() += u32::from(found.rests_ms > 0);
                *seen.entry("two holders").or_default() += u32::from(found.holders.len() > 1);
            }
            for effect in &applied.effects {
                if let super::super::Effect::WaitOver { response, .. } = effect {
                    let granted = matches!(response, Response::Granted(_));
                    let name = if granted { "granted later" } else { "not granted" };
                    *seen.entry(name).or_default() += 1;
                }
            }
        });
    }
    for name in [
        "cycle",
        "lock_busy",
        "fence_too_small",
        "session_expired",
        "failed_precondition",
        "waiting",
        "granted many",
        "granted again",
        "granted later",
        "not granted",
        "wait ended",
        "queue of two",
        "rest",
        "two holders",
        "not_holder",
    ] {
        assert!(seen.get(name).copied().unwrap_or_default() > 3, "{name}: {seen:?}");
    }
}
