//! The simulation that every change must pass: the smoke scenario twice in fresh processes with the
//! same fingerprint, and some seeds of every scenario.
//!
//! The simulator is built with its own cfg into its own target directory by the launcher, so that
//! `cargo test` needs no flag.
#![cfg(not(madsim))]

use std::process::Command;

fn sim(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "sim {arguments:?} failed:\n{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn nodes_survive_their_simulated_machines() {
    // One test, so that the simulator is built once. The determinism check comes first: without it
    // no other result means anything, and without the seams neither does it.
    print!("{}", sim(&["seams"]));
    for scenario in ["smoke", "root-smoke", "peers-smoke"] {
        print!("{}", sim(&["check", "--scenario", scenario, "--from", "1", "--count", "3"]));
    }
    for scenario in ["power-loss", "bad-disk", "bad-clock"] {
        print!("{}", sim(&["check", "--scenario", scenario, "--from", "1", "--count", "2"]));
        print!("{}", sim(&["fuzz", "--scenario", scenario, "--from", "100", "--count", "10"]));
    }
    print!("{}", sim(&["fuzz", "--scenario", "root", "--from", "1", "--count", "6"]));
    print!("{}", sim(&["fuzz", "--scenario", "peers", "--from", "1", "--count", "6"]));
    let situations = [
        "delete", "title", "stale", "refused", "rejoiner", "exactly", "again", "widened", "quota",
        "policy", "schema", "away", "new",
    ];
    for situation in situations {
        let scenario = format!("peers-{situation}");
        print!("{}", sim(&["fuzz", "--scenario", &scenario, "--from", "1", "--count", "1"]));
    }
    for kind in ["losses", "restarts", "scopes", "ties"] {
        let scenario = format!("peers-{kind}");
        print!("{}", sim(&["fuzz", "--scenario", &scenario, "--from", "1", "--count", "3"]));
    }
    print!("{}", sim(&["fuzz", "--scenario", "peers-soak", "--hours", "1", "--count", "1"]));
    for scenario in ["operators", "disks", "elections", "members", "snapshots", "leases", "rejoins"]
    {
        print!("{}", sim(&["fuzz", "--scenario", scenario, "--from", "1", "--count", "3"]));
    }
}
