//! Golden scripts: what is proposed, line by line, and what must come of it.
//!
//! A line that starts with `@` is an entry: the leader's clock, then a command. A line that starts
//! with `?` reads. What comes of each stands below it, indented; `#` is a comment. Sessions have names
//! (`s1#3` is the third command of session `s1`); entries are counted from 1, and everything that is
//! named after its entry (sessions, fences, waits, actions) bears that number.
//!
//! Every entry is followed by the checks that hold always: the invariants, that the snapshot gives
//! the same state back, and that a refusal changed nothing.
//!
//! `HIVEMEM_REWRITE_SCRIPTS=1 cargo test -p consensus scripts` writes what comes of the entries into
//! the files; read the difference before believing it.

mod parse;
mod show;

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use types::lock::SessionId;

use super::super::{Machine, Response};
use parse::Step;

/// A session's id and agent, by the name it has in a script.
pub(super) type Names = BTreeMap<String, (SessionId, String)>;

struct Runner {
    machine: Machine,
    names: Names,
    index: u64,
}

impl Runner {
    /// Runs a line and says what came of it.
    fn run(&mut self, line: &str) -> String {
        match parse::step(line, &self.names) {
            Step::Read(words) => show::read(&self.machine, &words, &self.names),
            Step::Apply { at_ms, command, opens } => {
                let before = self.machine.untouched();
                self.index += 1;
                let applied = self.machine.apply(self.index, at_ms, &command);
                if let Some(name) = opens {
                    let by = command.by.as_str().to_owned();
                    self.names.insert(name, (SessionId(self.index), by));
                }
                // Time alone may have changed something; only then can a refusal come with effects.
                if applied.response.refusal().is_some() && applied.effects.is_empty() {
                    assert_eq!(self.machine.untouched(), before, "ROOT-3: {line}");
                }
                show::applied(self.index, &applied)
            }
            Step::Leader { at_ms } => {
                self.index += 1;
                let applied = self.machine.leader_changed(self.index, at_ms);
                show::applied(self.index, &applied)
            }
            Step::Raw { at_ms, bytes } => {
                self.index += 1;
                let applied = self.machine.apply_bytes(self.index, at_ms, &bytes);
                show::applied(self.index, &applied)
            }
        }
    }

    fn check(&self, line: &str) {
        assert_eq!(self.machine.check(), Ok(()), "after {line}");
        let bytes = self.machine.snapshot();
        let again = Machine::restore(&bytes).expect("a snapshot");
        assert_eq!(again.snapshot(), bytes, "ROOT-1 after {line}");
        assert_eq!(again.next_deadline_ms(), self.machine.next_deadline_ms());
    }
}

impl Machine {
    /// The snapshot without what every entry changes: place, time, and answers kept for retries.
    pub(super) fn untouched(&self) -> Vec<u8> {
        let mut copy = Machine::restore(&self.snapshot()).expect("a snapshot");
        (copy.applied, copy.time_ms) = (0, 0);
        copy.requests = Default::default();
        for session in copy.sessions.live.values_mut() {
            session.window = Default::default();
        }
        copy.snapshot()
    }
}

/// Runs a script and gives it back with what came of each line.
fn run(text: &str) -> String {
    let mut runner = Runner { machine: Machine::new(), names: Names::new(), index: 0 };
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with("  ")) {
        let _ = writeln!(out, "{line}");
        if line.starts_with(['@', '?']) {
            out.push_str(&runner.run(line));
            runner.check(line);
        }
    }
    out
}

#[test]
fn scripts_come_out_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/machine/tests/scripts");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder of scripts")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(files.len() >= 50, "only {} scripts", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("readable");
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let out = std::panic::catch_unwind(|| run(&text));
        let out = out.unwrap_or_else(|_| panic!("{name} does not run"));
        if out != text {
            if std::env::var_os("HIVEMEM_REWRITE_SCRIPTS").is_some() {
                fs::write(&file, &out).expect("writable");
                continue;
            }
            let differs = out.lines().zip(text.lines().chain([""])).find(|(a, b)| a != b);
            wrong.push(format!("{name}: {differs:?}"));
        }
    }
    assert!(wrong.is_empty(), "scripts come out differently:\n{}", wrong.join("\n"));
}

#[test]
fn a_script_that_promises_something_else_is_noticed() {
    let text = "@1000 open s1 ann ttl=5000\n";
    let out = run(text);
    assert!(out.starts_with(text) && out.lines().count() == 2, "{out}");
    assert_eq!(run(&out), out, "what came out runs again");
    assert_ne!(run(&out.replace("6000", "7000")), out.replace("6000", "7000"));
}

#[test]
fn a_retry_gets_the_bytes_of_the_first_answer() {
    let mut runner = Runner { machine: Machine::new(), names: Names::new(), index: 0 };
    runner.run("@1000 open s1 ann ttl=5000");
    let Step::Apply { command, .. } = parse::step("@1000 s1#1 acquire a", &runner.names) else {
        panic!("an entry");
    };
    let first: Response = runner.machine.apply(10, 1000, &command).response;
    let again = runner.machine.apply(11, 1500, &command);
    assert_eq!(again.response.encode(), first.encode(), "SES-1");
    assert!(again.effects.is_empty(), "SES-1: nothing happened twice");
}
