//! What nodes get from the root, and do with it: the rule set, revocations, effects heard again.

use proptest::prelude::*;
use types::{
    arbitrary::config,
    lock::Fence,
    rule::{Cause, Decision, Operation, RuleRequest, RuleSet, Settings},
};

use super::{
    super::{Body, Command, Effect, Machine, PutPolicy, Response},
    history::{all_steps, run},
};

fn write(agent: &str, depth: u8) -> RuleRequest {
    RuleRequest {
        agent: agent.parse().expect("an agent"),
        operation: Operation::Write,
        namespace: "acme/eng/core".parse().expect("a namespace"),
        kind: None,
        tier: None,
        scope: None,
        reflection_depth: Some(depth),
        title: None,
        fence: Fence(0),
        has_pii: false,
    }
}

fn put(machine: &mut Machine, index: u64, namespace: &str, depth: u8) -> Response {
    let settings = Settings { reflection_depth_max: Some(depth), ..Settings::default() };
    let namespace = namespace.parse().expect("a namespace");
    let body = Body::PutPolicy(PutPolicy { namespace, settings, expected_version: None });
    machine.apply(index, 1000, &Command::new("ops".parse().expect("an agent"), body)).response
}

#[test]
fn a_node_enforces_what_the_root_decided() {
    let mut machine = Machine::new();
    assert_eq!(put(&mut machine, 4, "acme", 3), Response::Version(4));
    assert_eq!(put(&mut machine, 9, "acme/eng", 2), Response::Version(9));
    let at_node = RuleSet::decode(&machine.rules().encode()).expect("the root's own");
    assert_eq!(&at_node, machine.rules(), "COD-1");
    let verdict = at_node.evaluate(&write("ann", 3));
    assert_eq!((verdict.rules_version, verdict.policy_version), (9, 9), "the verdict names both");
    let namespace = "acme/eng".parse().expect("a namespace");
    let cause = Cause::Policy { namespace, version: 9, field: "reflection_depth_max" };
    assert_eq!(verdict.decision, Decision::Refuse(cause));
    assert_eq!(at_node.evaluate(&write("ann", 2)).decision, Decision::Allow);
}

#[test]
fn damaged_rules_are_not_believed() {
    let mut machine = Machine::new();
    put(&mut machine, 1, "acme", 3);
    let bytes = machine.rules().encode();
    for at in 0..bytes.len() {
        assert!(RuleSet::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
}

proptest! {
    #![proptest_config(config())]

    /// A node that hears only the last effect of each kind knows as much as one that heard all.
    #[test]
    fn effects_say_what_is(steps in all_steps()) {
        let (mut rules, mut agents, mut members, mut epoch) = (0, 0, 0, 0);
        run(&steps, |machine, placed, applied| {
            for effect in &applied.effects {
                match effect {
                    Effect::RulesChanged { version } => rules = *version,
                    Effect::AgentsChanged { version } => agents = *version,
                    Effect::MembersChanged { version } => members = *version,
                    Effect::EpochChanged { cluster_epoch } => epoch = *cluster_epoch,
                    Effect::ActionChanged { action, decided } => {
                        assert_eq!(machine.decision(*action).is_some(), *decided);
                    }
                    Effect::SessionEnded { session, .. } => {
                        assert_eq!(machine.session(*session), None);
                    }
                    Effect::Audit(event) => {
                        assert_eq!((event.index, event.at_ms), (placed.index, machine.time_ms()));
                    }
                    Effect::LockChanged { .. } | Effect::WaitOver { .. } => {}
                }
            }
            assert_eq!(machine.rules().version(), rules, "GOV-6");
            assert_eq!(machine.agents_version(), agents);
            assert_eq!(machine.members_version(), members);
            assert_eq!(machine.cluster_epoch(), epoch, "EPO-1");
        });
    }

    /// Audit events of an entry are numbered, so that a repetition is recognised.
    #[test]
    fn audit_events_have_names_of_their_own(steps in all_steps()) {
        run(&steps, |_, placed, applied| {
            let audits = applied.effects.iter().filter_map(|effect| match effect {
                Effect::Audit(event) => Some(event.ordinal),
                _ => None,
            });
            let numbers: Vec<u32> = audits.collect();
            assert!(numbers.iter().copied().eq(0..numbers.len() as u32), "{placed:?}");
        });
    }
}

/// Everything that changes the rules, the agents or the members leaves a row in the audit chain.
#[test]
fn changes_are_audited() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    let mut runner = TestRunner::deterministic();
    let mut changes = 0;
    for _ in 0..50 {
        let steps = all_steps().new_tree(&mut runner).expect("a history").current();
        run(&steps, |_, placed, applied| {
            let is_change = |effect: &Effect| {
                matches!(
                    effect,
                    Effect::RulesChanged { .. }
                        | Effect::AgentsChanged { .. }
                        | Effect::MembersChanged { .. }
                        | Effect::EpochChanged { .. }
                )
            };
            if applied.effects.iter().any(is_change) {
                changes += 1;
                let audited = applied.effects.iter().any(|e| matches!(e, Effect::Audit(_)));
                assert!(audited, "{placed:?}");
            }
        });
    }
    assert!(changes > 50, "only {changes} changes were looked at");
}
