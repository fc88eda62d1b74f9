//! The nodes: processes of this binary, their folders, certificates and lists of peers.
//!
//! Invariants: a node is asked nothing before it answers; a process that ends by itself is an error that shows the end of
//! its log; dropping the fleet kills what runs.
//!
//! Not here: what is asked of them.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use runtime::{
    blocking,
    clock::{self, Instant},
    disk::OsDisk,
};
use serde_json::Value;
use wire::{
    dial::Endpoint,
    http_client::{HttpAnswer, HttpClient},
    tls::{ClientIdentity, Fingerprint, ServerTrust, client_config},
    vacant::vacant,
};

use super::figures::{Figures, Sums, usage};
use crate::{
    bench::{Through, through::Way},
    peers::list::{self, Row},
};

/// How many nodes there are.
pub(super) const NODES: usize = 3;
/// How many of them must have a memory.
pub(super) const QUORUM: u32 = 2;
const NAMES: [&str; NODES] = ["a", "b", "c"];
/// Key of agents, and key between peers.
const KEYS: [(&str, &str); 2] = [("api.key", "for agents"), ("peer.key", "between peers")];
/// Longest time for a node to start or to stop.
const SOON: Duration = Duration::from_secs(120);
/// Time between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(10);

/// The three nodes, and what clients show them.
pub(super) struct Fleet {
    /// The nodes.
    pub(super) nodes: Vec<Node>,
    client: ClientIdentity,
    /// Rows of nodes that were here before: what they said is still believed.
    former: Vec<Row>,
}

/// One node.
pub(super) struct Node {
    /// Its name in the lists.
    pub(super) name: &'static str,
    folder: PathBuf,
    address: String,
    pin: Fingerprint,
    child: Option<Child>,
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A self-signed certificate and its key, as `NAME.crt` and `NAME.key`.
fn certificate(folder: &Path, name: &str) -> Result<Fingerprint> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    write(&folder.join(format!("{name}.crt")), &made.cert.pem(), 0o644)?;
    write(&folder.join(format!("{name}.key")), &made.signing_key.serialize_pem(), 0o600)?;
    Ok(Fingerprint::of(made.cert.der()))
}

fn identity(folder: &Path, name: &str) -> ClientIdentity {
    let file = |end: &str| folder.join(format!("{name}.{end}"));
    ClientIdentity { certificate: file("crt"), key: file("key") }
}

impl Node {
    fn new(folder: &Path, name: &'static str, client: Fingerprint) -> Result<Self> {
        let folder = folder.join(name);
        fs::create_dir_all(folder.join("data"))
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let pin = certificate(&folder, "node")?;
        write(&folder.join("allowed"), &format!("{client} # the clients\n"), 0o644)?;
        for (file, key) in KEYS {
            write(&folder.join(file), key, 0o600)?;
        }
        Ok(Self { name, folder, address: vacant()?.to_string(), pin, child: None })
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A command of this binary on the node's data, free of the caller's environment.
    fn command(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env_clear().env("HOME", &self.folder).arg("--data-dir").arg(self.file("data"));
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a command to its end; what it printed.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command()?;
        command.args(arguments);
        let output = blocking::run(move || command.output()).await?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("{arguments:?} of node {} ended with {}: {said}", self.name, output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Its row in the lists of the others.
    async fn row(&self) -> Result<Row> {
        let arguments = ["peers", "row", "--name", self.name, "--endpoint", &self.address];
        let rows = list::rows(Path::new("its own row"), &self.run(&arguments).await?)?;
        let row = rows.into_iter().next().context("a node has a row")?;
        Ok(Row { certificates: vec![self.pin.to_string()], ..row })
    }

    fn spawn(&mut self, more: &[&str]) -> Result<()> {
        let path = |name: &str| self.file(name).display().to_string();
        let settings = [
            format!("server.listen={}", self.address),
            format!("server.tls_cert={}", path("node.crt")),
            format!("server.tls_key={}", path("node.key")),
            format!("server.tls_client_allowlist={}", path("allowed")),
            format!("auth.api_key_file={}", path("api.key")),
            format!("federation.peers_file={}", path("peers.toml")),
            format!("federation.peer_key_file={}", path("peer.key")),
            format!("federation.quorum={QUORUM}"),
        ];
        let mut command = self.command()?;
        for setting in settings.iter().map(String::as_str).chain(more.iter().copied()) {
            command.arg("--set").arg(setting);
        }
        let log = fs::File::create(self.file("log"))?;
        command.arg("serve").stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// The last lines that it logged.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.file("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" | ")
    }

    /// Fails when the process has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("node {} ended with {status}: {}", self.name, self.last_words())
            }
        }
    }

    /// Lets it finish what it does, and waits until it has ended.
    pub(super) async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Ok(pid) = i32::try_from(child.id()) {
            // SAFETY: a signal to a child that was not waited for yet, so the id is still its own.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let end = Instant::now() + SOON;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
            clock::sleep(LOOK).await;
        }
        // Nothing that was acknowledged is lost by it.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Process id while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn headers() -> HeaderMap {
    let key = (HeaderName::from_static("x-api-key"), HeaderValue::from_static(KEYS[0].1));
    let any = (http::header::ACCEPT, HeaderValue::from_static("*/*"));
    HeaderMap::from_iter([key, any])
}

impl Fleet {
    /// Nodes that know each other and do not run.
    pub(super) async fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let client = certificate(folder, "client")?;
        let nodes = NAMES.into_iter().map(|name| Node::new(folder, name, client));
        let nodes = nodes.collect::<Result<Vec<Node>>>()?;
        let fleet = Self { nodes, client: identity(folder, "client"), former: Vec::new() };
        fleet.know(NODES).await?;
        Ok(fleet)
    }

    /// Writes the lists: the first so many nodes, and those that were here before.
    pub(super) async fn know(&self, nodes: usize) -> Result<()> {
        let mut rows = self.former.clone();
        for node in &self.nodes[..nodes] {
            rows.push(node.row().await?);
        }
        let text: String = rows.into_iter().map(list::show).collect();
        for node in &self.nodes {
            let new = node.file("peers.new");
            write(&new, &text, 0o644)?;
            fs::rename(new, node.file("peers.toml"))?;
        }
        Ok(())
    }

    /// Starts a node with settings more, and waits until it answers.
    pub(super) async fn start(&mut self, at: usize, more: &[&str]) -> Result<()> {
        self.nodes[at].spawn(more)?;
        self.answers(at).await
    }

    /// Waits until a node answers.
    async fn answers(&mut self, at: usize) -> Result<()> {
        let end = Instant::now() + SOON;
        while self.ask(at, Method::GET, "/api/v1/status", None).await.is_err() {
            self.nodes[at].check()?;
            if Instant::now() > end {
                bail!("node {} does not answer: {}", NAMES[at], self.nodes[at].last_words());
            }
            clock::sleep(LOOK).await;
        }
        Ok(())
    }

    pub(super) async fn start_all(&mut self, more: &[&str]) -> Result<()> {
        for at in 0..NODES {
            self.start(at, more).await?;
        }
        Ok(())
    }

    pub(super) async fn stop_all(&mut self) {
        for node in &mut self.nodes {
            node.stop().await;
        }
    }

    /// Starts nodes again, with other settings.
    pub(super) async fn restart(&mut self, nodes: &[usize], more: &[&str]) -> Result<()> {
        for at in nodes {
            self.nodes[*at].stop().await;
        }
        for at in nodes {
            self.start(*at, more).await?;
        }
        Ok(())
    }

    /// Takes the disk of the last node away; a new node gets an empty one. What the former said is still believed.
    /// The lists do not name the new one yet.
    pub(super) async fn empty_last(&mut self) -> Result<()> {
        let last = &mut self.nodes[NODES - 1];
        last.stop().await;
        let row = last.row().await?;
        let name = format!("before-{}", self.former.len());
        self.former.push(Row { name, endpoint: None, ..row });
        let data = last.file("data");
        fs::remove_dir_all(&data)?;
        fs::create_dir(data)?;
        Ok(())
    }

    fn endpoint(&self, at: usize) -> Result<Endpoint> {
        let node = &self.nodes[at];
        let trust = ServerTrust::Pinned(node.pin);
        let tls = client_config(&OsDisk, &trust, Some(&self.client))?;
        Ok(node.address.parse::<Endpoint>()?.with_tls(tls))
    }

    /// The way of clients to a node.
    pub(super) fn way(&self, at: usize, through: Through) -> Result<Way> {
        let endpoint = self.endpoint(at)?;
        Ok(match through {
            Through::Http => Way::Http(endpoint, headers()),
            Through::Grpc | Through::Process => Way::over_grpc(endpoint.presenting(KEYS[0].1)?),
        })
    }

    async fn ask(
        &self,
        at: usize,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<HttpAnswer> {
        let client = HttpClient::new(self.endpoint(at)?);
        let answer = client.request(method, path, &headers(), body).await?;
        if answer.status >= 400 {
            bail!("{path} at node {}: {}", NAMES[at], String::from_utf8_lossy(&answer.body));
        }
        Ok(answer)
    }

    /// What a node says in its metrics.
    pub(super) async fn figures(&self, at: usize) -> Result<Figures> {
        let answer = self.ask(at, Method::GET, "/metrics", None).await?;
        Ok(Figures::parse(&String::from_utf8_lossy(&answer.body)))
    }

    /// Live memories at a node.
    pub(super) async fn memories(&self, at: usize) -> Result<u64> {
        let status = self.ask(at, Method::GET, "/api/v1/status", None).await?;
        let status = status.json().unwrap_or_default();
        status["memories"].as_u64().context("a node says how many memories it has")
    }

    /// What all nodes that run have done so far.
    pub(super) async fn sums(&self) -> Result<Sums> {
        let mut sums = Sums::default();
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(pid) = node.pid() else { continue };
            sums.add(&self.figures(at).await?, usage(pid));
        }
        Ok(sums)
    }
}
