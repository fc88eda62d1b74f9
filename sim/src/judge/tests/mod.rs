//! All judges over random runs of a little root: a true one is never condemned (`JDG-2`), and each
//! mistake that it can make is found under the rule that forbids it.

mod root;

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use root::{Mistake, plan, run};

use super::{
    history::{Event, History, Order},
    verdict::{Verdict, findings, judge},
};

/// The same history as if several recorders had been merged.
fn merged(history: &History) -> History {
    let mut header = history.header().clone();
    header.order = Order::Stamped;
    let events: Vec<Event> = history.events().to_vec();
    History::new(header, events).expect("the same events")
}

proptest! {
    #[test]
    fn a_true_root_is_never_condemned(plans in prop::collection::vec(plan(), 0..80)) {
        let history = run(Mistake::None, &plans);
        for history in [merged(&history), history] {
            let verdict = judge(&history);
            prop_assert!(verdict == Verdict::Pass, "{verdict}\n{}", history.to_lines());
        }
    }
}

/// In how many of 200 random runs the mistake is found under the rule.
fn found(mistake: Mistake, rule: &str) -> usize {
    let mut runner = TestRunner::deterministic();
    let plans = prop::collection::vec(plan(), 80);
    let runs = (0..200).map(|_| plans.new_tree(&mut runner).expect("plans").current());
    let condemned = runs.filter(|plans| {
        let findings = findings(&run(mistake, plans));
        findings.violations.iter().any(|v| format!("{}/{}", v.rule.judge, v.rule.name) == rule)
    });
    condemned.count()
}

#[test]
fn every_mistake_is_found_under_the_rule_that_forbids_it() {
    let cases = [
        (Mistake::StaleRead, "linearizable/log-explains"),
        (Mistake::StaleRead, "linearizable/order"),
        (Mistake::RefusedButDone, "linearizable/order"),
        (Mistake::RetryExecuted, "exactly_once/one-execution"),
        (Mistake::LastComeFirstServed, "fairness/in-order"),
        (Mistake::DeadWaiterGranted, "fairness/no-dead-waiter"),
        (Mistake::FenceRestarts, "locks/fence-grows"),
        (Mistake::OldFenceReleases, "locks/one-holder"),
        (Mistake::WriterBesideReaders, "locks/one-holder"),
        (Mistake::DecidedTwice, "actions/one-decision"),
    ];
    let counts: Vec<_> =
        cases.iter().map(|(mistake, rule)| (mistake, rule, found(*mistake, rule))).collect();
    for (mistake, rule, count) in &counts {
        assert!(*count >= 20, "{mistake:?} was found under {rule} in {count} of 200: {counts:?}");
    }
}
