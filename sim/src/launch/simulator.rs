//! The simulator's binary: building it, and one process for each seed.
//!
//! Not here: which seeds.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// The built simulator.
pub(super) struct Simulator {
    binary: PathBuf,
}

/// What one seed came to.
pub(super) struct Seed {
    /// Whether it passed. An undecided verdict passes.
    pub(super) passed: bool,
    /// The line it printed.
    pub(super) line: Value,
    /// Processor time, milliseconds, where it was asked for with `--cpu`.
    pub(super) cpu_ms: u64,
}

impl Seed {
    /// The hash of everything that happened.
    pub(super) fn fingerprint(&self) -> Option<&str> {
        self.line["fingerprint"].as_str()
    }

    /// Whether some rule could not be decided, and none was broken.
    pub(super) fn is_undecided(&self) -> bool {
        self.line["verdict"] == "unknown"
    }

    /// The rules that were broken, without what happened.
    pub(super) fn broken(&self) -> Vec<String> {
        let verdict = self.line["verdict"].as_array().cloned().unwrap_or_default();
        let rule = |text: &Value| {
            text.as_str().and_then(|text| text.split(':').next()).unwrap_or_default().to_owned()
        };
        let mut rules: Vec<String> = verdict.iter().map(rule).collect();
        rules.sort();
        rules.dedup();
        rules
    }
}

/// What is built under the simulator's cfg.
#[derive(Debug)]
enum What {
    /// The simulator; with the hooks of planted bugs, in a target directory of its own.
    Simulator { planted: bool },
    /// The tests of the simulated clock, disk and chance.
    Seams,
}

impl Simulator {
    /// Runs cargo; answers the target directory.
    fn cargo(what: &What) -> Result<PathBuf, String> {
        let (folder, flags) = match what {
            What::Simulator { planted: true } => ("planted", "--cfg madsim --cfg planted"),
            What::Simulator { planted: false } | What::Seams => ("madsim", "--cfg madsim"),
        };
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let base =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let target = base.join(folder);
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let arguments: &[&str] = match what {
            What::Simulator { .. } => &["build", "--package", "sim", "--bin", "sim"],
            What::Seams => &["test", "--package", "runtime", "--lib"],
        };
        let status = Command::new(cargo)
            .args(arguments)
            .args(["--quiet", "--locked", "--profile", "sim", "--target-dir"])
            .arg(&target)
            .current_dir(&root)
            .env("RUSTFLAGS", flags)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .status()
            .map_err(|e| format!("cannot run cargo: {e}"))?;
        match status.success() {
            true => Ok(target),
            false => Err(format!("{} of {what:?} failed", arguments[0])),
        }
    }

    /// Builds the simulator, with the planted bugs if so wanted.
    pub(super) fn build(planted: bool) -> Result<Self, String> {
        let target = Self::cargo(&What::Simulator { planted })?;
        Ok(Self { binary: target.join("sim").join("sim") })
    }

    /// Runs the tests of the simulated clock, disk and chance themselves.
    pub(super) fn test_seams() -> Result<bool, String> {
        Self::cargo(&What::Seams).map(|_| true)
    }

    /// Where its files may go.
    pub(super) fn folder(&self) -> &Path {
        self.binary.parent().unwrap_or(Path::new("."))
    }

    /// Runs a seed; what it prints is kept.
    pub(super) fn run(&self, seed: u64, scenario: &str, more: &[String]) -> Result<Seed, String> {
        let output = Command::new(&self.binary)
            .args(["run", "--seed", &seed.to_string(), "--scenario", scenario])
            .args(more)
            .stderr(Stdio::piped())
            .output()
            .map_err(|e| format!("cannot run {}: {e}", self.binary.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        // A run that panics prints no line: that is a failure of this seed, not of the launcher.
        let line = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
        let said = String::from_utf8_lossy(&output.stderr);
        let cpu = said.lines().rev().find_map(|line| line.strip_prefix("cpu_ms ")?.parse().ok());
        let line = line.unwrap_or_else(|| {
            let said: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
            let last = said[said.len().saturating_sub(12)..].join(" | ");
            serde_json::json!({ "seed": seed, "verdict": [format!("crashed: {last}")] })
        });
        Ok(Seed { passed: output.status.success(), line, cpu_ms: cpu.unwrap_or(0) })
    }

    /// Runs it with these arguments; what it prints is seen.
    pub(super) fn show(&self, arguments: &[&str]) -> Result<bool, String> {
        let status = Command::new(&self.binary)
            .arg("run")
            .args(arguments)
            .status()
            .map_err(|e| format!("cannot run {}: {e}", self.binary.display()))?;
        Ok(status.success())
    }
}
