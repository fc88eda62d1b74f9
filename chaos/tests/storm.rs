//! Real nodes, real clients, real faults, real judges; and a judge that is shown a lie.
//!
//! Not here: many rounds (`cargo chaos run campaign`).

use std::{path::PathBuf, process::Command, sync::OnceLock};

use chaos::{
    checks::{self, Check},
    figures::outages,
    hive::{Hive, Plan},
    nemesis::{Injection, Nemesis},
    report,
    storm::{Run, Seen, Storm, obstacle, run},
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

fn played<T>(play: impl AsyncFnOnce(PathBuf) -> Result<T, String>) -> T {
    let folder = tempfile::Builder::new().prefix("hc-").tempdir().expect("a folder");
    let world = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match world.expect("a runtime").block_on(play(folder.path().join("hive"))) {
        Ok(done) => done,
        Err(problem) => panic!("{problem}; the nodes' folders: {}", folder.keep().display()),
    }
}

/// A storm that needs no privileges.
fn plain(shape: &str, seed: u64, nemeses: &[Nemesis]) -> Storm {
    Storm {
        shape: shape.to_owned(),
        seed,
        rounds: nemeses.len() as u64,
        clients: Some(5),
        nemeses: nemeses.to_vec(),
        deep: false,
        ..Storm::default()
    }
}

/// Runs a storm of which every fault must take hold; passes, or keeps the histories and says where.
fn clean(storm: &Storm) -> Run {
    let done = played(async |folder| run(storm, &binary(), &folder).await);
    for round in &done.rounds {
        assert_eq!(round.injection, Injection::Installed, "{}", round.nemesis.name());
    }
    for Seen { history, .. } in &done.seen {
        let verdict = judge(history);
        if verdict != Verdict::Pass {
            let folder = tempfile::tempdir().expect("a folder").keep();
            report::write(&done, &folder).expect("written");
            panic!("{verdict}\nthe histories: {}", folder.display());
        }
    }
    done
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

/// Takes a memory away from what a peer shows in the end.
fn with_a_lost_memory(history: &History) -> History {
    let mut events = history.events().to_vec();
    let shown = events.iter_mut().find_map(|event| match &mut event.what {
        What::Memories { memories, .. } if !memories.is_empty() => Some(memories),
        _ => None,
    });
    shown.expect("a peer shows memories").remove(0);
    History::new(history.header().clone(), events).expect("still a history")
}

#[test]
fn a_root_of_one_voter_without_faults_is_judged_clean_and_a_lie_is_condemned() {
    let run = clean(&plain("root1", 11, &[]));
    let history = &run.seen[0].history;
    assert!(done(history, |answer| matches!(answer, Answer::Granted { .. })) > 5);
    let lie = judge(&with_swapped_fences(history));
    assert!(matches!(lie, Verdict::Fail(_)), "{lie}");
}

#[test]
fn a_root_of_three_voters_loses_its_leaders_and_keeps_everything() {
    let nemeses = [Nemesis::KillLeader, Nemesis::PauseLeader, Nemesis::KillAll];
    let run = clean(&plain("root3", 13, &nemeses));
    let outages = outages(&run.seen[0].history);
    assert!(outages.iter().all(|outage| outage.first_us.is_some()), "{outages:?}");
}

#[test]
fn peers_are_killed_and_agree_in_the_end_and_a_lie_is_condemned() {
    let nemeses = [Nemesis::KillMajority, Nemesis::PauseMost, Nemesis::EmptyDisk];
    let run = clean(&plain("mesh3", 15, &nemeses));
    let history = &run.seen[0].history;
    assert!(done(history, |answer| matches!(answer, Answer::Stored { .. })) > 5);
    let lie = judge(&with_a_lost_memory(history));
    assert!(matches!(lie, Verdict::Fail(_)), "{lie}");
}

#[test]
fn networks_and_disks_fail_where_they_can() {
    if let Some(obstacle) = obstacle() {
        return println!("skipped: no namespaces, devices or FUSE: {obstacle}");
    }
    let nemeses = [Nemesis::Split, Nemesis::Delay, Nemesis::SyncError, Nemesis::PowerLoss];
    let storm = Storm { deep: true, ..plain("mesh3", 16, &nemeses) };
    clean(&storm);
}

#[test]
fn the_checks_pass() {
    let all = ["S1", "S2", "S3", "S4"].map(|name| Check::from_name(name).expect("a check"));
    let found = played(async |folder| checks::run(&all, &binary(), &folder).await);
    for (check, found) in found {
        assert!(found.passed, "{}: {}", check.name(), found.seen);
    }
}

#[test]
fn a_node_that_ends_says_so() {
    let problem = played(async |folder| {
        let plan = Plan {
            binary: binary(),
            folder,
            shape: "root1".to_owned(),
            network: "loopback".to_owned(),
            settings: vec!["root.heartbeat_ms=1".to_owned()],
        };
        match Hive::found(plan).await {
            Ok(_) => Err("the setting is taken".to_owned()),
            Err(problem) => Ok(problem),
        }
    });
    assert!(problem.contains("it has ended") || problem.contains("heartbeat"), "{problem}");
}
