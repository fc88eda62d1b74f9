//! The search against every permutation, and what it costs on long histories.
//!
//! Histories come from a true object, simulated with operations that overlap and get lost, and from
//! the same with one anomaly put in. The verdict must be that of the brute force either way.

use proptest::{prelude::*, strategy::ValueTree};

use super::{
    lock::{Lock, LockAnswer, LockCall},
    minimal::blame,
    register::Register,
    search::{Budget, Found, Model, Timed, search},
    set::Set,
};
use crate::judge::history::{Answer, Call, Mode};

/// Tries every order of every subset that has all certain operations.
fn brute<M: Model>(model: &M, operations: &[Timed<M::Call, M::Answer>], by_place: bool) -> bool {
    fn extend<M: Model>(
        model: &M,
        operations: &[Timed<M::Call, M::Answer>],
        by_place: bool,
        taken: &mut Vec<usize>,
        state: &M::State,
    ) -> bool {
        let rest: Vec<usize> = (0..operations.len()).filter(|at| !taken.contains(at)).collect();
        if rest.iter().all(|at| operations[*at].pending()) {
            return true;
        }
        for at in &rest {
            let next = &operations[*at];
            let must_wait = rest.iter().any(|other| {
                let other = &operations[*other];
                let time = other.effective < next.invoked;
                let log = by_place
                    && !next.pending()
                    && !other.pending()
                    && other.place.zip(next.place).is_some_and(|(o, n)| o < n);
                time || log
            });
            if must_wait {
                continue;
            }
            for state in model.step(state, &next.call, next.answer.as_ref()) {
                taken.push(*at);
                if extend(model, operations, by_place, taken, &state) {
                    return true;
                }
                taken.pop();
            }
        }
        false
    }
    extend(model, operations, by_place, &mut Vec::new(), &model.initial())
}

/// How one operation of a simulated client goes.
#[derive(Clone, Debug)]
struct Plan {
    /// Which call.
    call: u8,
    /// Its parameters.
    a: u32,
    b: u32,
    /// Time before its effect, and from there to its end.
    before: u8,
    after: u8,
    /// 0: its end is unknown and it has an effect; 1: unknown, without effect; otherwise Done.
    fate: u8,
}

prop_compose! {
    fn plan()(call in 0u8..8, a in 0u32..3, b in 0u32..3, before in 0u8..6, after in 0u8..6, fate in 0u8..9)
        -> Plan { Plan { call, a, b, before, after, fate } }
}

/// Lets a true object answer the plans at instants of its own, in their order.
fn simulate<M: Model>(
    model: &M,
    plans: &[Plan],
    call: impl Fn(&Plan) -> M::Call,
    answer: impl Fn(&M::State, &M::Call, u64) -> Option<M::Answer>,
) -> Vec<Timed<M::Call, M::Answer>> {
    let mut state = model.initial();
    let mut operations = Vec::new();
    for (at, plan) in plans.iter().enumerate() {
        let instant = 10 + 4 * at as u64;
        let call = call(plan);
        let told = answer(&state, &call, instant);
        // What the object refuses is rejected and takes no part.
        let Some(told) = told else { continue };
        if plan.fate != 1 {
            let next = model.step(&state, &call, Some(&told));
            state = next.into_iter().next().expect("the object answers truly");
        }
        let known = plan.fate > 1;
        operations.push(Timed {
            id: at as u64 + 1,
            invoked: instant.saturating_sub(u64::from(plan.before)),
            effective: if known { instant + u64::from(plan.after) } else { u64::MAX },
            place: known.then_some(instant),
            call,
            answer: known.then_some(told),
        });
    }
    operations
}

fn value(n: u32) -> Option<String> {
    (n > 0).then(|| n.to_string())
}

fn key() -> String {
    "k".to_owned()
}

fn register_history(plans: &[Plan]) -> Vec<Timed<Call, Answer>> {
    simulate(
        &Register,
        plans,
        |plan| match plan.call {
            0..3 => Call::Put { key: key(), value: value(plan.a) },
            3..6 => Call::Get { key: key() },
            _ => Call::Cas { key: key(), from: value(plan.a), to: value(plan.b) },
        },
        |state, call, _| {
            Some(match call {
                Call::Put { .. } => Answer::Ok,
                Call::Cas { from, .. } => {
                    Answer::Swapped { swapped: from == state, seen: state.clone() }
                }
                _ => Answer::Value { value: state.clone() },
            })
        },
    )
}

fn set_history(plans: &[Plan]) -> Vec<Timed<Call, Answer>> {
    let element = |plan: &Plan| plan.a.to_string();
    simulate(
        &Set,
        plans,
        |plan| match plan.call {
            0..3 => Call::Add { key: key(), element: element(plan) },
            3 => Call::Remove { key: key(), element: element(plan) },
            _ => Call::Elements { key: key() },
        },
        |state, call, _| {
            Some(match call {
                Call::Elements { .. } => {
                    Answer::Elements { elements: state.iter().cloned().collect() }
                }
                _ => Answer::Ok,
            })
        },
    )
}

fn lock_history(plans: &[Plan]) -> Vec<Timed<LockCall, LockAnswer>> {
    let mode = |plan: &Plan| match (plan.b, plan.call) {
        (0 | 1, 0..3) => Mode::Exclusive,
        (2, 0..3) => Mode::Shared,
        _ => Mode::Permits { take: 1, of: 2 },
    };
    simulate(
        &Lock,
        plans,
        |plan| match plan.call {
            0..4 => LockCall::Acquire { session: u64::from(plan.a), mode: mode(plan) },
            4..7 => LockCall::Release {
                session: u64::from(plan.a),
                // The token of one of the operations before.
                fence: 10 + 4 * u64::from(plan.b),
            },
            _ => LockCall::End { session: u64::from(plan.a) },
        },
        |state, call, instant| match call {
            LockCall::Acquire { .. } => {
                let granted = LockAnswer::Granted { fence: instant };
                (!Lock.step(state, call, Some(&granted)).is_empty()).then_some(granted)
            }
            LockCall::Release { .. } => {
                let held = LockAnswer::Released { held: true };
                let held = !Lock.step(state, call, Some(&held)).is_empty();
                Some(LockAnswer::Released { held })
            }
            _ => Some(LockAnswer::Ok),
        },
    )
}

/// Puts one anomaly into a register's history: a read of something else, a write that is gone or
/// comes twice, an interval that lies elsewhere.
fn spoil(operations: &mut Vec<Timed<Call, Answer>>, which: u8, at: usize, n: u32) {
    if operations.is_empty() {
        return;
    }
    let at = at % operations.len();
    let operation = &mut operations[at];
    match which {
        0 => match &mut operation.answer {
            Some(Answer::Value { value: read }) => *read = value(n),
            Some(Answer::Swapped { seen, .. }) => *seen = value(n),
            _ => operation.call = Call::Put { key: key(), value: value(n) },
        },
        1 => {
            operations.remove(at);
        }
        2 => {
            let again = operation.clone();
            operations.push(Timed { invoked: again.invoked + 5, ..again });
        }
        _ => {
            let by = u64::from(n) * 3;
            operation.invoked += by;
            operation.effective = operation.effective.saturating_add(by);
        }
    }
    operations.retain(|operation| operation.invoked <= operation.effective);
}

fn verdict<M: Model>(model: &M, operations: &[Timed<M::Call, M::Answer>], by_place: bool) -> Found {
    search(model, operations, by_place, &mut Budget(1_000_000))
}

/// Whether the order found is one: all certain operations, in real time, with their answers.
fn is_linearization<M: Model>(
    model: &M,
    operations: &[Timed<M::Call, M::Answer>],
    order: &[usize],
) -> bool {
    let certain = (0..operations.len()).filter(|at| !operations[*at].pending());
    let complete = certain.clone().all(|at| order.contains(&at));
    let in_time = order.iter().enumerate().all(|(n, at)| {
        order[n..].iter().all(|later| operations[*later].effective >= operations[*at].invoked)
    });
    let mut states = vec![model.initial()];
    for at in order {
        let operation = &operations[*at];
        let next = states.iter();
        states =
            next.flat_map(|s| model.step(s, &operation.call, operation.answer.as_ref())).collect();
    }
    complete && in_time && !states.is_empty()
}

/// The search must say what the brute force says, and what it blames must be a proof by itself.
fn agree<M: Model>(model: &M, operations: &[Timed<M::Call, M::Answer>]) {
    for by_place in [false, true] {
        let expected = brute(model, operations, by_place);
        match verdict(model, operations, by_place) {
            Found::Order(order) => {
                assert!(expected, "LIN-1: found an order where there is none");
                assert!(is_linearization(model, operations, &order));
            }
            Found::Nothing => {
                assert!(!expected, "LIN-1: missed an order");
                let blamed = blame(model, operations, by_place);
                let forgiven: Vec<_> = operations
                    .iter()
                    .cloned()
                    .map(|mut operation| {
                        if !blamed.contains(&operation.id) {
                            operation.effective = u64::MAX;
                            operation.answer = None;
                        }
                        operation
                    })
                    .collect();
                assert!(!brute(model, &forgiven, by_place), "what is blamed proves nothing");
            }
            Found::Undecided => panic!("a small history used up a large budget"),
        }
    }
}

proptest! {
    #[test]
    fn a_true_register_passes(plans in prop::collection::vec(plan(), 0..60)) {
        let history = register_history(&plans);
        for by_place in [false, true] {
            let found = verdict(&Register, &history, by_place);
            prop_assert!(matches!(found, Found::Order(_)), "{found:?}");
        }
    }

    #[test]
    fn a_true_set_passes(plans in prop::collection::vec(plan(), 0..40)) {
        let found = verdict(&Set, &set_history(&plans), false);
        prop_assert!(matches!(found, Found::Order(_)), "{found:?}");
    }

    #[test]
    fn a_true_lock_passes(plans in prop::collection::vec(plan(), 0..30)) {
        let found = verdict(&Lock, &lock_history(&plans), true);
        prop_assert!(matches!(found, Found::Order(_)), "{found:?}");
    }

    #[test]
    fn the_search_agrees_with_every_permutation_on_a_true_register(
        plans in prop::collection::vec(plan(), 0..7),
    ) {
        agree(&Register, &register_history(&plans));
    }

    #[test]
    fn the_search_agrees_with_every_permutation_on_a_spoilt_register(
        plans in prop::collection::vec(plan(), 1..7),
        spoils in prop::collection::vec((0u8..4, 0usize..8, 0u32..4), 1..3),
    ) {
        let mut history = register_history(&plans);
        spoils.into_iter().for_each(|(which, at, n)| spoil(&mut history, which, at, n));
        history.truncate(7);
        agree(&Register, &history);
    }

    #[test]
    fn the_search_agrees_with_every_permutation_on_a_spoilt_set(
        plans in prop::collection::vec(plan(), 1..7), at in 0usize..7, extra in 0u8..4,
    ) {
        let mut history = set_history(&plans);
        let count = history.len().max(1);
        if let Some(Timed { answer: Some(Answer::Elements { elements }), .. }) =
            history.get_mut(at % count)
        {
            let element = extra.to_string();
            match elements.iter().position(|e| *e == element) {
                Some(found) => drop(elements.remove(found)),
                None => elements.push(element),
            }
        }
        agree(&Set, &history);
    }

    #[test]
    fn the_search_agrees_with_every_permutation_on_a_spoilt_lock(
        plans in prop::collection::vec(plan(), 1..7), at in 0usize..7, by in -12i64..12, drop_one: bool,
    ) {
        let mut history = lock_history(&plans);
        let count = history.len().max(1);
        if drop_one && !history.is_empty() {
            history.remove(at % count);
        } else if let Some(operation) = history.get_mut(at % count) {
            match &mut operation.answer {
                Some(LockAnswer::Granted { fence }) => *fence = fence.saturating_add_signed(by),
                Some(LockAnswer::Released { held }) => *held = !*held,
                _ => operation.invoked = operation.invoked.saturating_sub(by.unsigned_abs()),
            }
        }
        agree(&Lock, &history);
    }
}

#[test]
fn spoilt_histories_are_often_condemned() {
    // Guards the tests above against agreeing on nothing but innocence.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let plans = prop::collection::vec(plan(), 5..7);
    let condemned = (0..400).filter(|n| {
        let plans = plans.new_tree(&mut runner).expect("a plan").current();
        let mut history = register_history(&plans);
        spoil(&mut history, (n % 4) as u8, *n, 3);
        verdict(&Register, &history, false) == Found::Nothing
    });
    let condemned = condemned.count();
    assert!((40..360).contains(&condemned), "{condemned} of 400");
}

/// A long history of a register with some twenty operations at once and one end in 29 unknown. Writes
/// are told apart by their values, as those of every workload are.
fn long_history(count: u32) -> Vec<Timed<Call, Answer>> {
    let plan = |n: u32| Plan {
        call: (n * 7 % 11 % 7) as u8,
        a: n + 1,
        b: n + 1,
        before: (n * 13 % 40) as u8,
        after: (n * 17 % 40) as u8,
        fate: (n * 11 % 29) as u8,
    };
    let mut history = register_history(&(0..count).map(plan).collect::<Vec<_>>());
    history.iter_mut().for_each(|operation| operation.place = None);
    history
}

#[test]
fn ten_thousand_operations_on_one_key_are_decided() {
    let history = long_history(10_000);
    let found = search(&Register, &history, false, &mut Budget(super::STEPS_MAX));
    assert!(matches!(found, Found::Order(_)), "{}", history.len());
}

/// Sessions take a lock one after the other, every tenth without giving it back; the end of none was seen.
fn sessions(count: u64) -> Vec<Timed<LockCall, LockAnswer>> {
    let mut history = Vec::new();
    for session in 1..=count {
        let at = session * 10;
        let mut add = |invoked, effective, call, answer| {
            let (id, place) = (history.len() as u64 + 1, None);
            history.push(Timed { id, invoked, effective, place, call, answer });
        };
        let acquire = LockCall::Acquire { session, mode: Mode::Exclusive };
        add(at, at + 1, acquire, Some(LockAnswer::Granted { fence: session }));
        if session % 10 != 0 {
            let release = LockCall::Release { session, fence: session };
            add(at + 2, at + 3, release, Some(LockAnswer::Released { held: true }));
        }
        add(at, u64::MAX, LockCall::End { session }, None);
    }
    history
}

#[test]
fn ends_that_nobody_saw_are_taken_where_they_explain_something() {
    let mut history = sessions(300);
    let found = search(&Lock, &history, false, &mut Budget(super::STEPS_MAX));
    assert!(matches!(found, Found::Order(_)), "{}", history.len());
    let stale = history.iter_mut().rev().find_map(|operation| match &mut operation.answer {
        Some(LockAnswer::Granted { fence }) => Some(fence),
        _ => None,
    });
    *stale.unwrap() = 7;
    let found = search(&Lock, &history, false, &mut Budget(super::STEPS_MAX));
    assert_eq!(found, Found::Nothing, "decided, not given up");
}

#[test]
fn a_search_without_steps_condemns_nobody() {
    let mut history = long_history(50);
    if let Some(operation) = history.last_mut() {
        operation.answer = Some(Answer::Value { value: Some("never written".to_owned()) });
    }
    assert_eq!(search(&Register, &history, false, &mut Budget(20)), Found::Undecided, "LIN-3");
}
