//! Snapshots that are damaged, and states that can't be.

use types::{
    NodeId,
    lock::{LockKey, LockMode, SessionId, Want},
};
use uuid::Uuid;

use super::super::{
    Acquire, Body, ClusterId, Command, Init, Machine, OpenSession, RegisterBoot, SnapshotError,
    lock::{Hold, Lock},
};

fn busy() -> Machine {
    let mut machine = Machine::new();
    let open = Body::OpenSession(OpenSession { ttl_ms: 60_000, lock_delay_ms: 500 });
    for (index, agent) in [(1, "ann"), (2, "bob")] {
        machine.apply(index, 1000, &Command::new(agent.parse().expect("an agent"), open.clone()));
    }
    for (index, agent, session) in [(3, "ann", 1), (4, "bob", 2)] {
        let wants = vec![Want { key: key("a"), mode: LockMode::Exclusive }];
        let body = Body::Acquire(Acquire { wants, wait_until_ms: Some(9000) });
        let by = agent.parse().expect("an agent");
        let command = Command::in_session(by, SessionId(session), 1, body);
        machine.apply(index, 1100, &command);
    }
    let cluster = ClusterId(Uuid::from_u128(7));
    machine.apply(
        5,
        1200,
        &Command::new("ops".parse().expect("an agent"), Body::Init(Init { cluster })),
    );
    machine
}

fn key(name: &str) -> LockKey {
    name.parse().expect("a key")
}

fn broken(change: impl FnOnce(&mut Machine)) -> &'static str {
    let mut machine = busy();
    change(&mut machine);
    match Machine::restore(&machine.snapshot()) {
        Err(SnapshotError::Broken(broken)) => broken.invariant,
        other => panic!("restored as {other:?}"),
    }
}

#[test]
fn an_empty_state_is_a_state() {
    let empty = Machine::new().snapshot();
    let again = Machine::restore(&empty).expect("its own snapshot");
    assert_eq!((again.applied(), again.time_ms(), again.next_deadline_ms()), (0, 0, None));
    assert_ne!(Machine::new().state_hash(), busy().state_hash());
}

#[test]
fn every_cut_is_refused_and_every_changed_bit_is_refused_or_another_state() {
    let bytes = busy().snapshot();
    assert_eq!(Machine::restore(&bytes).expect("its own").snapshot(), bytes);
    for at in 0..bytes.len() {
        assert!(Machine::restore(&bytes[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Ok(machine) = Machine::restore(&changed) {
                assert_eq!(machine.snapshot(), changed, "ROOT-1: bit {bit} of {at}");
            }
        }
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(matches!(Machine::restore(&longer), Err(SnapshotError::Codec(_))));
}

#[test]
fn states_that_cannot_be_are_refused_by_name() {
    let hold = |fence: u64| Hold {
        mode: LockMode::Exclusive,
        fence: types::lock::Fence(fence),
        count: 1,
        since_ms: 1100,
    };
    let put = |machine: &mut Machine, session, hold| {
        machine.locks.put_hold(&key("a"), SessionId(session), hold);
    };
    assert_eq!(broken(|m| put(m, 2, hold(4))), "LOCK-1");
    assert_eq!(broken(|m| put(m, 1, hold(99))), "LOCK-2");
    assert_eq!(broken(|m| m.locks.put_hold(&key("b"), SessionId(9), hold(4))), "LOCK-3");
    assert_eq!(broken(|m| m.time_ms = 9000), "LOCK-3");
    assert_eq!(broken(|m| m.time_ms = 70_000), "SES-2");
    assert_eq!(broken(|m| m.applied = 1), "ROOT-2");
    let boots = |m: &mut Machine| {
        let boot =
            RegisterBoot { node: NodeId(Uuid::nil()), boot_epoch: 1, nonce: 1, cluster_epoch: 0 };
        m.apply(6, 1300, &Command::new("ops".parse().expect("an agent"), Body::RegisterBoot(boot)));
        m.members.cluster = None;
    };
    assert_eq!(broken(boots), "MEM-1");
}

#[test]
fn a_lock_without_use_and_a_free_lock_with_a_waiter_are_refused() {
    assert_eq!(
        broken(|m| {
            m.locks.table.insert(key("z"), Lock::default());
        }),
        "LOCK-1"
    );
    let freed = |m: &mut Machine| m.locks.remove_hold(&key("a"), SessionId(1), 0, 1200);
    assert_eq!(broken(freed), "LOCK-8");
    let rests = |m: &mut Machine| m.locks.remove_hold(&key("a"), SessionId(1), 500, 1200);
    let mut machine = busy();
    rests(&mut machine);
    assert!(Machine::restore(&machine.snapshot()).is_ok(), "while it rests, it may wait");
}

/// `COD-3`: what was written by one build is read by the next. A change here is a change of the format.
#[test]
fn the_bytes_of_a_state_do_not_drift() {
    let hash: String = busy().state_hash().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, "7fc1eddf3ccf1deaa29072f981310534ff2836e4b0e06295ad015dfb2c2637a9");
}
