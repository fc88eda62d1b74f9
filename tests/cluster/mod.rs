//! A cluster of `hivemem up` for tests.
//!
//! Not here: what is tested.
#![allow(dead_code)] // Each test binary uses its own part of this.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{binary, json_of};

/// A cluster; its processes end with it.
pub struct Cluster {
    place: TempDir,
}

/// Runs the binary in a folder.
pub fn command(place: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("HOME", place).env("PATH", path).current_dir(place);
    command.args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
}

/// What was printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Cluster {
    /// Brings one up on loopback, its nodes with these settings; with what the command told of it.
    pub fn up(shape: &str, settings: &[&str]) -> (Self, Value) {
        let cluster = Self { place: tempfile::tempdir().expect("a folder") };
        let mut all = vec!["up", "--shape", shape, "--network", "loopback", "--json"];
        for setting in settings {
            all.extend(["--set", setting]);
        }
        let told = json_of(&cluster.ok(&all));
        (cluster, told)
    }

    /// Runs the binary beside it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        command(self.place.path(), arguments)
    }

    /// Runs what must succeed; what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs what must be refused; its exit code and what it said.
    pub fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", text(&output.stdout));
        (output.status.code().unwrap_or(-1), text(&output.stderr))
    }

    /// The log of a node.
    pub fn log(&self, node: &str) -> String {
        std::fs::read_to_string(self.place.path().join("hive").join(node).join("log"))
            .expect("a log")
    }

    /// The data folder of a node.
    pub fn data(&self, node: &str) -> PathBuf {
        self.place.path().join("hive").join(node).join("data")
    }

    /// What is told of its nodes.
    pub fn nodes(&self) -> Vec<Value> {
        let status = json_of(&self.ok(&["up", "status", "--json"]));
        status["nodes"].as_array().expect("nodes").clone()
    }

    /// What is told of a node.
    pub fn node(&self, name: &str) -> Value {
        self.nodes().into_iter().find(|node| node["node"] == name).expect("a node")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}
