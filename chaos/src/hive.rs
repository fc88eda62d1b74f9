//! A cluster as `hivemem up` makes it, driven by the same commands that a user has.
//!
//! Invariants: what is asked of a node has happened when the call returns, because the command says so only then; no
//! process outlives the value.
//!
//! Not here: when and why nodes are struck (`nemesis`).

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use http::Method;
use jiff::Timestamp;
use runtime::{
    blocking,
    clock::{self, Instant},
};
use serde_json::Value;
use sim::workload::root::{
    NodeAt, Papers, Target,
    outcome::Told,
    target::{Link, Question},
};

/// Time for one question about the state of a node, milliseconds.
const STATUS_MS: u64 = 1000;
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The daemon.
    pub binary: PathBuf,
    /// Where everything of it goes; must not exist.
    pub folder: PathBuf,
    /// As `hivemem up` calls it.
    pub shape: String,
    /// As `hivemem up` calls it.
    pub network: String,
    /// Settings of every node beyond those that it needs.
    pub settings: Vec<String>,
}

/// A node of it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Whether it is a voter of the root.
    pub votes: bool,
    /// How clients reach it.
    pub place: NodeAt,
}

/// A cluster.
#[derive(Debug)]
pub struct Hive {
    plan: Plan,
    /// Its nodes, those that vote first.
    pub members: Vec<Member>,
    /// What it took from nothing until all took requests, milliseconds, as the command said.
    pub took_ms: u64,
}

fn words(binary: &Path, folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(binary);
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("HOME", folder).args(words);
    command.args(["--json", "--folder"]).arg(folder);
    command
}

/// What a command printed, or why it failed.
fn told(words: &[&str], output: std::io::Result<Output>) -> Result<Value, String> {
    let command = || format!("hivemem {}", words.join(" "));
    let output = output.map_err(|error| format!("{}: {error}", command()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("{}: {said}", command()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{}: {error}", command()))
}

async fn asked(command: Command, of: &[&str]) -> Result<Value, String> {
    let mut command = command;
    told(of, blocking::run(move || command.output()).await)
}

impl Hive {
    /// Makes one; all of its nodes take requests.
    ///
    /// # Errors
    /// What the command said.
    pub async fn found(plan: Plan) -> Result<Self, String> {
        let mut hive = Self { plan, members: Vec::new(), took_ms: 0 };
        let mut all = vec!["up", "--shape", &hive.plan.shape, "--network", &hive.plan.network];
        for setting in &hive.plan.settings {
            all.extend(["--set", setting]);
        }
        let made = asked(words(&hive.plan.binary, &hive.plan.folder, &all), &all).await?;
        let secret = |name: &str| {
            let path = hive.plan.folder.join("keys").join(name);
            let text = std::fs::read_to_string(&path);
            text.map_err(|error| format!("{}: {error}", path.display()))
        };
        let (api, operator) = (secret("api.key")?, secret("operator.key")?);
        let pki = |name: &str| hive.plan.folder.join("pki").join(name);
        let papers = Papers {
            authority: pki("ca.crt"),
            certificate: pki("client.crt"),
            key: pki("client.key"),
        };
        let members = made["nodes"].as_array().into_iter().flatten().map(|node| {
            let text = |name: &str| node[name].as_str().unwrap_or_default().to_owned();
            let endpoint = text("endpoint").trim_start_matches("https://").to_owned();
            let place = NodeAt {
                name: text("node"),
                endpoint,
                api_key: Some(api.clone()),
                operator_key: operator.clone(),
                papers: Some(papers.clone()),
            };
            Member { name: place.name.clone(), votes: node["part"] == "voter", place }
        });
        hive.members = members.collect();
        hive.took_ms = made["took_ms"].as_u64().unwrap_or(0);
        Ok(hive)
    }

    /// A command of `hivemem up` about some nodes.
    ///
    /// # Errors
    /// What it said.
    pub async fn command(&self, verb: &str, nodes: &[String]) -> Result<Value, String> {
        self.command_of(&self.plan.binary, verb, nodes, &[]).await
    }

    /// The same, of another binary and with variables of the environment, which nodes that it starts have too.
    ///
    /// # Errors
    /// What it said.
    pub async fn command_of(
        &self,
        binary: &Path,
        verb: &str,
        nodes: &[String],
        variables: &[(&str, String)],
    ) -> Result<Value, String> {
        let mut all = vec!["up", verb];
        all.extend(nodes.iter().map(String::as_str));
        let mut command = words(binary, &self.plan.folder, &all);
        command.envs(variables.iter().map(|(name, value)| (*name, value)));
        asked(command, &all).await
    }

    /// What it was made of.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Nodes that are started from now on are of another version.
    pub fn become_version(&mut self, binary: PathBuf) {
        self.plan.binary = binary;
    }

    /// Where a node keeps everything.
    pub fn data(&self, node: &str) -> PathBuf {
        self.plan.folder.join(node).join("data")
    }

    /// A node's log.
    pub fn log(&self, node: &str) -> PathBuf {
        self.plan.folder.join(node).join("log")
    }

    /// A node's list of peers.
    pub fn list(&self, node: &str) -> PathBuf {
        self.plan.folder.join(node).join("peers.toml")
    }

    /// Its nodes' processes, by name, as the system tells of them: how they are, and their numbers.
    ///
    /// # Errors
    /// What the command said.
    pub async fn processes(&self) -> Result<Vec<(String, String, Option<i32>)>, String> {
        let status = self.command("status", &[]).await?;
        let row = |node: &Value| {
            let name = node["node"].as_str()?.to_owned();
            let pid = node["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            Some((name, node["process"].as_str()?.to_owned(), pid))
        };
        Ok(status["nodes"].as_array().into_iter().flatten().filter_map(row).collect())
    }

    /// The number of a node's process, if it runs.
    pub async fn pid(&self, node: &str) -> Option<i32> {
        let all = self.processes().await.ok()?;
        let (_, state, pid) = all.into_iter().find(|(name, ..)| name == node)?;
        pid.filter(|_| state != "gone")
    }

    /// Whether a node's process is so: running, paused or gone.
    pub async fn is(&self, node: &str, wanted: &str) -> bool {
        let all = self.processes().await.unwrap_or_default();
        all.iter().any(|(name, state, _)| name == node && state == wanted)
    }

    /// Names of those that vote, or of those that do not.
    pub fn names(&self, votes: bool) -> Vec<String> {
        let some = self.members.iter().filter(|member| member.votes == votes);
        some.map(|member| member.name.clone()).collect()
    }

    /// The place of a node among all, from 0.
    pub fn place(&self, node: &str) -> Option<usize> {
        self.members.iter().position(|member| member.name == node)
    }

    /// Whom clients ask: those that vote, or those that do not.
    pub fn target(&self, votes: bool) -> Target {
        let some = self.members.iter().filter(|member| member.votes == votes);
        Target { nodes: some.map(|member| member.place.clone()).collect() }
    }

    /// Asks a node as its operator.
    pub async fn ask(
        &self,
        node: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Option<Value> {
        let member = self.members.iter().find(|member| member.name == node)?;
        let link = Link::new(&member.place, STATUS_MS).ok()?;
        let question = Question { body, method, ..Question::get(path, "operator", STATUS_MS) };
        match link.ask(&question.by_operator()).await {
            Told::Yes(value) => Some(value),
            _ => None,
        }
    }

    /// How far a node's wall clock is ahead of this machine's, seconds, as it says.
    pub async fn clock_ahead_s(&self, node: &str) -> Option<i64> {
        let status = self.ask(node, Method::GET, "/api/v1/status", None).await?;
        let theirs: Timestamp = status["time"].as_str()?.parse().ok()?;
        Some(theirs.as_second() - (clock::now_unix_ms() / 1000).cast_signed())
    }

    /// Name of the voter that leads the greatest term, waited for.
    pub async fn leader(&self, limit: Duration) -> Option<String> {
        let deadline = Instant::now() + limit;
        let voters = self.names(true);
        loop {
            let status = |name: String| async move {
                let status = self.ask(&name, Method::GET, "/api/v1/root/status", None).await;
                (name, status)
            };
            let all = futures::future::join_all(voters.iter().cloned().map(status)).await;
            let leads = |(name, status): (String, Option<Value>)| {
                let status = status.filter(|status| status["role"] == "leader")?;
                Some((status["term"].as_u64()?, name))
            };
            if let Some((_, name)) = all.into_iter().filter_map(leads).max() {
                return Some(name);
            }
            if Instant::now() >= deadline {
                return None;
            }
            clock::sleep(LOOK).await;
        }
    }

    /// The end of a node's log, for messages.
    pub fn last_lines(&self, node: &str, lines: usize) -> String {
        let text = std::fs::read_to_string(self.log(node)).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Hive {
    fn drop(&mut self) {
        let ended = words(&self.plan.binary, &self.plan.folder, &["up", "down"]).output();
        if let Err(problem) = told(&["up", "down"], ended) {
            // Nothing was started where there is no cluster.
            if !problem.contains("there is no cluster") {
                eprintln!("{problem}");
            }
        }
    }
}
