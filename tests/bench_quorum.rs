//! `hivemem bench quorum` in small: it measures what it says, and leaves nothing behind, also when it is interrupted.
//!
//! Not here: figures. A test machine is no place to measure.

mod daemon;

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use daemon::{binary, json_of, until};
use serde_json::Value;

/// Processes whose command line names this folder.
fn processes(folder: &Path) -> Vec<String> {
    let name = folder.display().to_string();
    let all = std::fs::read_dir("/proc").expect("the system shows its processes").flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let texts = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    texts.filter(|text| text.contains(&name)).collect()
}

fn bench(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.env_clear().env("HOME", folder).args(["bench", "quorum", "--json", "--folder"]);
    command.arg(folder.join("nodes")).args(arguments).stdin(Stdio::null());
    command
}

#[test]
fn three_nodes_are_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = ["--seconds", "1", "--memories", "1000", "--clients", "2,4", "--differences", "3"];
    let output = bench(folder.path(), &small).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let report = json_of(&String::from_utf8_lossy(&output.stdout));
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("no number in {report}"));
    for run in report["stores"].as_array().expect("runs") {
        assert!(number(&run["operations"]) > 0.0, "{run}");
        assert!(number(&run["latency_micros"]["max"]) >= number(&run["latency_micros"]["p50"]));
        // Whoever stores something signs a message to each of the two others at least, alone or with what others store.
        let signatures = &run["signatures"];
        assert!(number(&signatures["made_per_operation"]) > 0.0, "{run}");
        assert!(number(&signatures["cpu_percent"]) > 0.0, "{run}");
        assert!(number(&signatures["cpu_percent"]) < 100.0, "{run}");
    }
    let (log, state, few) = (&report["from_log"], &report["from_state"], &report["differences"]);
    assert!(number(&log["memories"]) >= 1000.0 && log["lacked"] == log["memories"], "{log}");
    assert!(number(&log["since_bytes"]) + number(&log["pushed_bytes"]) > 100_000.0, "{log}");
    assert!(number(&state["state_bytes"]) > 100_000.0, "no log has them: {state}");
    assert_eq!(few["lacked"], 3, "{few}");
    let compared = number(&few["state_bytes"]);
    assert!(compared > 0.0 && compared < number(&state["state_bytes"]) / 4.0, "{few} {state}");
    assert_eq!(processes(folder.path()), Vec::<String>::new());
}

/// SIGINT.
fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id()).expect("a process id");
    // SAFETY: a signal to a child that was not waited for yet, so the id is still its own.
    unsafe { libc::kill(pid, libc::SIGINT) };
}

#[test]
fn an_interrupt_ends_the_nodes_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = bench(folder.path(), &["--seconds", "60"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let socket = folder.path().join("nodes/c/data/hivemem.sock");
    until("the last node serves", || match socket.exists() {
        true => Ok(()),
        false => Err(format!("{:?}", child.try_wait())),
    });
    assert!(processes(folder.path()).len() >= 4);
    interrupt(&child);
    assert_eq!(child.wait().expect("it ends").code(), Some(8));
    assert_eq!(processes(folder.path()), Vec::<String>::new());
}
