//! Real voters, real clients, real kills, real judges; and a judge that is shown a lie.
//!
//! Not here: many rounds (`cargo chaos run root-kill`).

use std::{path::PathBuf, process::Command, sync::OnceLock};

use chaos::{
    cluster::Cluster,
    figures::outages,
    nemesis::{Injection, Nemesis},
    options::RunOptions,
    report,
    scenario::{Run, run},
};
use sim::judge::{
    History, Verdict,
    history::{Answer, Outcome, What},
    judge,
};

/// The daemon: the one `HIVEMEM_TEST_BINARY` names, else the one that is built here.
fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            if let Some(given) = std::env::var_os("HIVEMEM_TEST_BINARY") {
                return given.into();
            }
            let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
            let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
            let target = target.unwrap_or_else(|| root.join("target"));
            let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
            let arguments = ["build", "--quiet", "--locked", "--bin", "hivemem"];
            let built = Command::new(cargo).args(arguments).current_dir(root).status();
            assert!(built.expect("cargo runs").success(), "the daemon does not build");
            target.join("debug").join("hivemem")
        })
        .clone()
}

fn played(options: &RunOptions) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let world = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = world.expect("a runtime").block_on(run(options, &binary(), folder.path()));
    match done {
        Ok(done) => done,
        Err(problem) => panic!("{problem}; the voters' folders: {}", folder.keep().display()),
    }
}

/// Passes, or keeps the history and says where.
fn assert_clean(run: &Run) {
    let verdict = judge(&run.history);
    if verdict != Verdict::Pass {
        let folder = tempfile::tempdir().expect("a folder").keep();
        report::write(run, &folder).expect("written");
        panic!("{verdict}\nthe history: {}", folder.display());
    }
}

/// How many operations were granted, written, decided.
fn done(history: &History, wanted: impl Fn(&Answer) -> bool) -> usize {
    let events = history.events().iter();
    events
        .filter(|event| match &event.what {
            What::Complete { outcome: Outcome::Done(done), .. } => wanted(&done.answer),
            _ => false,
        })
        .count()
}

/// Gives two holders of one lock each other's tokens.
fn with_swapped_fences(history: &History) -> History {
    let mut events = history.events().to_vec();
    let mut grants: Vec<&mut u64> = Vec::new();
    for event in &mut events {
        if let What::Complete { outcome: Outcome::Done(done), .. } = &mut event.what
            && let Answer::Granted { fence } = &mut done.answer
        {
            grants.push(fence);
        }
    }
    let (first, rest) = grants.split_first_mut().expect("grants");
    let last = rest.last_mut().expect("two grants");
    std::mem::swap(*first, *last);
    History::new(history.header().clone(), events).expect("still a history")
}

#[test]
fn a_root_of_one_voter_without_faults_is_judged_clean_and_a_lie_is_condemned() {
    let options =
        RunOptions { rounds: 0, voters: 1, seed: 11, clients: Some(4), ..RunOptions::default() };
    let run = played(&options);
    assert_clean(&run);
    assert!(done(&run.history, |a| matches!(a, Answer::Granted { .. })) > 5);
    let lie = judge(&with_swapped_fences(&run.history));
    assert!(matches!(lie, Verdict::Fail(_)), "{lie}");
}

#[test]
fn a_root_of_three_voters_without_faults_is_judged_clean() {
    let options = RunOptions { rounds: 0, seed: 12, clients: Some(6), ..RunOptions::default() };
    let run = played(&options);
    assert_clean(&run);
    assert!(done(&run.history, |a| matches!(a, Answer::Value { .. })) > 5);
}

#[test]
fn two_leaders_are_killed_and_everything_is_kept() {
    let options = RunOptions { rounds: 2, seed: 13, clients: Some(8), ..RunOptions::default() };
    let run = played(&options);
    assert!(run.rounds.iter().all(|round| round.injection == Injection::Installed));
    assert_clean(&run);
    let outages = outages(&run.history);
    assert!(outages.iter().all(|outage| outage.first_us.is_some()), "{outages:?}");
}

#[test]
fn a_leader_that_was_stopped_does_no_harm_when_it_wakes() {
    let nemeses = vec![Nemesis::PauseLeader];
    let options =
        RunOptions { rounds: 1, seed: 14, clients: Some(6), nemeses, ..RunOptions::default() };
    let run = played(&options);
    assert_eq!(run.rounds[0].injection, Injection::Installed);
    assert_clean(&run);
}

#[test]
fn a_daemon_that_ends_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = ["root.heartbeat_ms=1".to_owned()];
    let world = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let founded = world
        .expect("a runtime")
        .block_on(Cluster::found(&binary(), folder.path(), 1, &wrong))
        .map(|_| ());
    let problem = founded.expect_err("the setting is refused").to_string();
    assert!(problem.contains("it ended"), "{problem}");
}
