//! Voters of a root as real processes, each with a folder and a port of its own.
//!
//! Invariants: a process that this started does not outlive it; a voter that is started again has the
//! folder, the port and the number that it had.
//!
//! Not here: when and why they are killed (`nemesis`).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use http::Method;
use runtime::clock::{self, Instant};
use serde_json::{Value, json};
use sim::workload::root::{
    NodeAt, Target,
    outcome::Told,
    target::{Link, Question},
};
use wire::vacant::vacant;

/// The cluster's name; every run has folders of its own.
const CLUSTER: &str = "3f1f6dcb-6d4f-4f5a-9d2f-0a4f5f1c2b3d";
/// Key of operators.
const OPERATOR_KEY: &str = "operators of the storm";
/// Key between members.
const PEER_KEY: &str = "between members";
/// Time for a process to serve.
const START: Duration = Duration::from_secs(60);
/// Time for one question about the state of a voter, milliseconds.
const STATUS_MS: u64 = 1000;
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Why a cluster cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Folders, files, processes.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A voter is not as it should be in time.
    #[error("{voter}: {problem} (its log: {log})")]
    Voter {
        /// Which.
        voter: String,
        /// What is wrong.
        problem: String,
        /// Where it wrote its log.
        log: String,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterError {
    let what = what.into();
    move |source| ClusterError::System { what, source }
}

/// A voter.
pub struct Voter {
    /// Its number, from 1.
    pub number: u64,
    /// Its name in histories.
    pub name: String,
    address: String,
    folder: PathBuf,
    binary: PathBuf,
    settings: Vec<String>,
    child: Option<Child>,
    link: Link,
}

impl Voter {
    fn new(
        number: u64,
        binary: &Path,
        base: &Path,
        settings: &[String],
    ) -> Result<Self, ClusterError> {
        let name = format!("n{number}");
        let folder = base.join(&name);
        fs::create_dir_all(&folder).map_err(system(format!("folder {}", folder.display())))?;
        for (file, text) in [("peer.key", PEER_KEY), ("operator.key", OPERATOR_KEY)] {
            let path = folder.join(file);
            let mut options = OpenOptions::new();
            let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
            let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
            written.map_err(system(format!("file {}", path.display())))?;
        }
        let address = vacant().map_err(system("a vacant address"))?.to_string();
        let node = node_at(&name, &address);
        let link = Link::new(&node, STATUS_MS).map_err(|invalid| ClusterError::Voter {
            voter: name.clone(),
            problem: invalid.to_string(),
            log: String::new(),
        })?;
        let (binary, settings) = (binary.to_owned(), settings.to_vec());
        Ok(Self { number, name, address, folder, binary, settings, child: None, link })
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Starts the process; it does not serve yet.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(&mut self) -> Result<(), ClusterError> {
        let what = || format!("{} at {}", self.binary.display(), self.folder.display());
        let log = OpenOptions::new().create(true).append(true).open(self.log());
        let log: File = log.map_err(system(what()))?;
        let mut command = Command::new(&self.binary);
        command.env_clear().env("HOME", &self.folder).arg("--data-dir").arg(&self.folder);
        let mut settings = vec![
            format!("server.listen={}", self.address),
            format!("auth.operator_key_file={}", self.folder.join("operator.key").display()),
            format!("root.member={}", self.number),
            format!("root.cluster={CLUSTER}"),
            format!("root.endpoint={}", self.address),
            format!("root.peer_key_file={}", self.folder.join("peer.key").display()),
        ];
        settings.extend(self.settings.iter().cloned());
        for setting in settings {
            command.arg("--set").arg(setting);
        }
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().map_err(system(what()))?);
        Ok(())
    }

    /// The process's id, if it runs.
    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok())
    }

    /// How it sees the root; `None` when it does not answer.
    pub async fn status(&self) -> Option<Value> {
        self.child.as_ref()?;
        let question = Question::get("/api/v1/root/status", "operator", STATUS_MS).by_operator();
        match self.link.ask(&question).await {
            Told::Yes(status) => Some(status),
            _ => None,
        }
    }

    /// Waits until its status fits.
    ///
    /// # Errors
    /// It does not in time, or the process has ended.
    pub async fn until(
        &mut self,
        what: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Value, ClusterError> {
        let deadline = Instant::now() + START;
        loop {
            let status = self.status().await;
            if let Some(status) = status.as_ref().filter(|status| fits(status)) {
                return Ok(status.clone());
            }
            let ended = match &mut self.child {
                Some(child) => child.try_wait().ok().flatten(),
                None => None,
            };
            if ended.is_some() || Instant::now() >= deadline {
                let seen = status.map_or("no answer".to_owned(), |status| status.to_string());
                let problem = match ended {
                    Some(status) => format!("{what}: it ended: {status}"),
                    None => format!("{what}: not within {} s: {seen}", START.as_secs()),
                };
                let (voter, log) = (self.name.clone(), self.log().display().to_string());
                return Err(ClusterError::Voter { voter, problem, log });
            }
            clock::sleep(LOOK).await;
        }
    }

    /// SIGKILL; whether the process is gone.
    pub fn kill(&mut self) -> bool {
        let Some(mut child) = self.child.take() else { return false };
        // A stopped process is killed too. The wait makes sure that it is gone and not only told so.
        child.kill().is_ok() && child.wait().is_ok()
    }

    /// Sends a signal; whether it was delivered.
    pub fn signal(&self, signal: i32) -> bool {
        let Some(pid) = self.pid() else { return false };
        // SAFETY: a signal to a child that was not waited for yet, so the id is still its own.
        unsafe { libc::kill(pid, signal) == 0 }
    }

    /// The state of the process as the system sees it, `T` when it is stopped.
    pub fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()?)).ok()?;
        // The name in parentheses may contain anything, parentheses included.
        stat.rsplit_once(')')?.1.trim_start().chars().next()
    }
}

impl Drop for Voter {
    fn drop(&mut self) {
        self.kill();
    }
}

fn node_at(name: &str, address: &str) -> NodeAt {
    NodeAt {
        name: name.to_owned(),
        endpoint: format!("http://{address}"),
        api_key: None,
        operator_key: OPERATOR_KEY.to_owned(),
    }
}

/// A founded root.
pub struct Cluster {
    /// Its voters, by number from 1.
    pub voters: Vec<Voter>,
}

impl Cluster {
    /// Starts so many voters below a folder and founds their root; all of them know its leader and
    /// have confirmed their rules.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn found(
        binary: &Path,
        base: &Path,
        voters: u64,
        settings: &[String],
    ) -> Result<Self, ClusterError> {
        let voters: Result<Vec<Voter>, ClusterError> =
            (1..=voters).map(|number| Voter::new(number, binary, base, settings)).collect();
        let mut cluster = Self { voters: voters? };
        for voter in &mut cluster.voters {
            voter.start()?;
        }
        for voter in &mut cluster.voters {
            voter.until("it serves", |_| true).await?;
        }
        let members: Vec<Value> = cluster
            .voters
            .iter()
            .map(|voter| json!({ "member": voter.number, "endpoint": voter.address }))
            .collect();
        let body = json!({ "members": members });
        let question = Question::send(Method::POST, "/api/v1/root/init", "operator", 20_000, body);
        let first = &cluster.voters[0];
        match first.link.ask(&question.by_operator()).await {
            Told::Yes(_) => {}
            other => {
                let (voter, log) = (first.name.clone(), first.log().display().to_string());
                let problem = format!("the root is not founded: {other:?}");
                return Err(ClusterError::Voter { voter, problem, log });
            }
        }
        for voter in &mut cluster.voters {
            voter.until("its rules are confirmed", |status| status["confirmed"] == true).await?;
        }
        Ok(cluster)
    }

    /// Whom clients ask.
    pub fn target(&self) -> Target {
        let nodes = self.voters.iter().map(|voter| node_at(&voter.name, &voter.address));
        Target { nodes: nodes.collect() }
    }

    /// Names of all voters.
    pub fn names(&self) -> Vec<String> {
        self.voters.iter().map(|voter| voter.name.clone()).collect()
    }

    /// Position of the voter that leads the greatest term, waited for.
    pub async fn leader(&self, limit: Duration) -> Option<usize> {
        let deadline = Instant::now() + limit;
        loop {
            let mut best: Option<(u64, usize)> = None;
            for (at, voter) in self.voters.iter().enumerate() {
                let Some(status) = voter.status().await else { continue };
                let term = status["term"].as_u64().unwrap_or(0);
                if status["role"] == "leader" && best.is_none_or(|(greatest, _)| term > greatest) {
                    best = Some((term, at));
                }
            }
            if let Some((_, at)) = best {
                return Some(at);
            }
            if Instant::now() >= deadline {
                return None;
            }
            clock::sleep(LOOK).await;
        }
    }
}
