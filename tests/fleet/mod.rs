//! Three real daemons on loopback that share their memories with everything on: certificates, a key between
//! peers, an API key for agents, signatures.
//!
//! Not here: what is tested. Includes `daemon`, which the test binary declares.
#![allow(dead_code)] // Each test binary uses its own part of this.

use std::{
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use runtime::disk::OsDisk;
use serde_json::{Value, json};
use tempfile::TempDir;
use wire::{
    dial::Endpoint,
    http_client::{HttpAnswer, HttpClient, HttpLimits},
    tls::{ClientIdentity, Fingerprint, ServerTrust, client_config},
    vacant::vacant,
};

use crate::daemon::{Daemon, ok, until};

/// Key of agents.
pub const API: &str = "for agents";
/// Key between peers.
pub const BETWEEN: &str = "between peers";
pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// Writes a file with a mode.
pub fn write(path: &Path, text: &str, mode: u32) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(mode).open(path);
    std::io::Write::write_all(&mut file.expect("a file"), text.as_bytes()).expect("written");
}

/// Writes a self-signed certificate and its key; gives the fingerprint.
pub fn certificate(folder: &Path, name: &str) -> Fingerprint {
    let names = ["localhost".into(), "127.0.0.1".into()];
    let made = rcgen::generate_simple_self_signed(names).expect("generates");
    write(&folder.join(format!("{name}.crt")), &made.cert.pem(), 0o644);
    write(&folder.join(format!("{name}.key")), &made.signing_key.serialize_pem(), 0o600);
    Fingerprint::of(made.cert.der())
}

pub fn identity(folder: &Path, name: &str) -> ClientIdentity {
    let file = |end: &str| folder.join(format!("{name}.{end}"));
    ClientIdentity { certificate: file("crt"), key: file("key") }
}

/// An endpoint over TLS: the server must be the pinned one, the client shows who it is.
pub fn over_tls(address: &str, pin: Fingerprint, who: Option<&ClientIdentity>) -> Endpoint {
    let config = client_config(&OsDisk, &ServerTrust::Pinned(pin), who).expect("configures");
    address.parse::<Endpoint>().expect("an endpoint").with_tls(config)
}

/// What one node says of another.
#[derive(Clone)]
pub struct Row {
    pub name: String,
    pub node: String,
    pub keys: Vec<String>,
    pub endpoint: Option<String>,
    pub certificates: Vec<String>,
    pub agents: Vec<String>,
    pub namespaces: Vec<String>,
}

impl Row {
    fn text(&self) -> String {
        hivemem::peers::list::show(hivemem::peers::list::Row {
            name: self.name.clone(),
            node: self.node.clone(),
            endpoint: self.endpoint.clone(),
            public_keys: self.keys.clone(),
            certificates: self.certificates.clone(),
            agents: self.agents.clone(),
            namespaces: self.namespaces.clone(),
        })
    }
}

/// One daemon and its files.
pub struct Node {
    pub name: &'static str,
    pub folder: TempDir,
    pub address: String,
    pub pin: Fingerprint,
    pub daemon: Option<Daemon>,
    settings: Vec<String>,
}

impl Node {
    fn new(name: &'static str, client: Fingerprint) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("data")).expect("a folder");
        let pin = certificate(folder.path(), "node");
        write(
            &folder.path().join("allowed"),
            &format!("# the test\nsha256:{client} # client\n"),
            0o644,
        );
        write(&folder.path().join("api.key"), API, 0o600);
        write(&folder.path().join("peer.key"), BETWEEN, 0o600);
        let address = vacant().expect("an address").to_string();
        Self { name, folder, address, pin, daemon: None, settings: Vec::new() }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.file("data")
    }

    /// Its row, as it says itself.
    pub fn row(&self) -> Row {
        let arguments = ["peers", "row", "--name", self.name, "--endpoint", &self.address];
        let table: toml::Table = ok(&self.data(), &arguments).parse().expect("a row");
        let row = &table["peer"][0];
        let texts = |field: &str| {
            let all = row[field].as_array().expect("texts").iter();
            all.map(|text| text.as_str().expect("text").to_owned()).collect()
        };
        Row {
            name: self.name.to_owned(),
            node: row["node"].as_str().expect("a node").to_owned(),
            keys: texts("public_keys"),
            endpoint: Some(self.address.clone()),
            certificates: vec![self.pin.to_string()],
            agents: vec!["*".to_owned()],
            namespaces: vec!["**".to_owned()],
        }
    }

    /// Writes its list of peers.
    pub fn knows(&self, rows: &[Row]) {
        let text: Vec<String> = rows.iter().map(Row::text).collect();
        let new = self.file("peers.new");
        write(&new, &text.concat(), 0o644);
        std::fs::rename(new, self.file("peers.toml")).expect("renamed");
    }

    pub fn start(&mut self) {
        let file = |name: &str| self.file(name).display().to_string();
        let mut settings = vec![
            format!("server.tls_cert={}", file("node.crt")),
            format!("server.tls_key={}", file("node.key")),
            format!("server.tls_client_allowlist={}", file("allowed")),
            format!("auth.api_key_file={}", file("api.key")),
            format!("federation.peers_file={}", file("peers.toml")),
            format!("federation.peer_key_file={}", file("peer.key")),
            "federation.catch_up=1s".to_owned(),
        ];
        settings.extend(self.settings.clone());
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        self.daemon = Some(Daemon::start_at(&self.data(), &self.address, &settings));
    }

    /// Starts it with settings more than it had.
    pub fn start_with(&mut self, settings: &[String]) {
        let before = self.settings.clone();
        self.settings.extend_from_slice(settings);
        self.start();
        self.settings = before;
    }

    pub fn kill(&mut self) {
        self.daemon.take().expect("it runs").kill();
    }
}

/// An answer to an agent.
pub struct Told {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

/// Three nodes and an agent's certificate.
pub struct Fleet {
    pub nodes: Vec<Node>,
    pub client: TempDir,
}

impl Fleet {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With settings more on each node.
    pub fn start_with(settings: &[&str]) -> Self {
        let mut fleet = Self::at_rest(settings);
        fleet.nodes.iter_mut().for_each(Node::start);
        fleet
    }

    /// Nodes that know each other and do not run.
    pub fn at_rest(settings: &[&str]) -> Self {
        let client = tempfile::tempdir().expect("a folder");
        let fingerprint = certificate(client.path(), "client");
        let mut nodes: Vec<Node> = NAMES.iter().map(|name| Node::new(name, fingerprint)).collect();
        let rows: Vec<Row> = nodes.iter().map(Node::row).collect();
        for node in &mut nodes {
            node.knows(&rows);
            node.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        }
        Self { nodes, client }
    }

    pub fn rows(&self) -> Vec<Row> {
        self.nodes.iter().map(Node::row).collect()
    }

    /// Asks a node as an agent.
    pub fn ask(&self, at: usize, method: Method, path: &str, body: Option<&Value>) -> Told {
        self.ask_as(at, "local", method, path, body, None)
    }

    pub fn ask_as(
        &self,
        at: usize,
        agent: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        idempotency: Option<&str>,
    ) -> Told {
        let pairs = [("x-agent-id", agent), ("idempotency-key", idempotency.unwrap_or_default())];
        let answer = self.answer(at, method, path, body, &pairs);
        let body = answer.json().unwrap_or(Value::Null);
        Told { status: answer.status, headers: answer.headers, body }
    }

    /// Asks a node, which may take so many milliseconds.
    pub fn ask_within(&self, at: usize, method: Method, path: &str, body: &Value, ms: u64) -> Told {
        let pairs = [("x-agent-id", "local"), ("x-timeout-ms", &ms.to_string())];
        let answer = self.answer(at, method, path, Some(body), &pairs);
        let body = answer.json().unwrap_or(Value::Null);
        Told { status: answer.status, headers: answer.headers, body }
    }

    /// What a node shows of itself to a monitor.
    pub fn metrics(&self, at: usize) -> String {
        let answer = self.answer(at, Method::GET, "/metrics", None, &[("x-agent-id", "local")]);
        String::from_utf8(answer.body.to_vec()).expect("text")
    }

    fn answer(
        &self,
        at: usize,
        method: Method,
        path: &str,
        body: Option<&Value>,
        pairs: &[(&'static str, &str)],
    ) -> HttpAnswer {
        let node = &self.nodes[at];
        let who = identity(self.client.path(), "client");
        let limits = HttpLimits { answer: Duration::from_secs(20), ..HttpLimits::default() };
        let client = HttpClient::with_limits(over_tls(&node.address, node.pin, Some(&who)), limits);
        let mut headers = HeaderMap::new();
        let given = pairs.iter().copied().filter(|(_, value)| !value.is_empty());
        for (name, value) in given.chain([("x-api-key", API)]) {
            let value = HeaderValue::from_str(value).expect("a header value");
            headers.insert(HeaderName::from_static(name), value);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime
            .expect("a runtime")
            .block_on(client.request(method, path, &headers, body))
            .expect("an answer")
    }

    /// Takes a node's disk away, which does not run; it comes back as somebody new, and the others believe what it
    /// had said before.
    pub fn replace(&mut self, at: usize) {
        let mut rows = self.rows();
        let former = Row { name: "before".to_owned(), endpoint: None, ..rows.remove(at) };
        let data = self.nodes[at].data();
        std::fs::remove_dir_all(&data).expect("removed");
        std::fs::create_dir(&data).expect("a folder");
        rows.extend([former, self.nodes[at].row()]);
        for node in &self.nodes {
            node.knows(&rows);
        }
        self.nodes[at].start();
    }

    pub fn store(&self, at: usize, body: &Value) -> Told {
        self.ask(at, Method::POST, "/api/v1/memories", Some(body))
    }

    /// Stores what must be acknowledged; gives its id.
    pub fn stored(&self, at: usize, body: &Value) -> String {
        let told = self.store(at, body);
        assert_eq!(told.status, 201, "{}", told.body);
        told.body["id"].as_str().expect("an id").to_owned()
    }

    /// Changes what must be changed.
    pub fn changed(&self, at: usize, method: Method, path: &str, body: Option<&Value>) -> Value {
        let told = self.ask(at, method, path, body);
        assert!(told.status < 400, "{path}: {} {}", told.status, told.body);
        told.body
    }

    pub fn get(&self, at: usize, id: &str) -> Told {
        self.ask(at, Method::GET, &format!("/api/v1/memories/{id}"), None)
    }

    /// Titles of everything at a node.
    pub fn titles(&self, at: usize) -> Vec<String> {
        let told = self.ask(at, Method::GET, "/api/v1/memories?limit=1000", None);
        let items = told.body["items"].as_array().expect("items").iter();
        let mut titles: Vec<String> =
            items.map(|item| item["title"].as_str().expect("a title").to_owned()).collect();
        titles.sort();
        titles
    }

    /// Waits until all of these nodes list exactly these titles.
    pub fn all_have(&self, nodes: &[usize], titles: &[&str]) {
        for at in nodes {
            until(&format!("{titles:?} at {}", NAMES[*at]), || match self.titles(*at) {
                there if there == titles => Ok(()),
                there => Err(there.join(", ")),
            });
        }
    }

    /// Waits until a question has the same answer at all nodes, and this about it holds.
    pub fn agree(&self, what: &str, ask: impl Fn(usize) -> Value, holds: impl Fn(&Value) -> bool) {
        until(what, || {
            let all: Vec<Value> = (0..self.nodes.len()).map(&ask).collect();
            match all.iter().all(|one| one == &all[0]) && holds(&all[0]) {
                true => Ok(()),
                false => Err(json!(all).to_string()),
            }
        });
    }

    /// What readers see of a memory: its status, and what is not about this node alone.
    pub fn seen(&self, at: usize, id: &str) -> Value {
        let Told { status, body, .. } = self.get(at, id);
        let fields = ["title", "content", "tier", "tags", "priority", "expires_at", "metadata"];
        let seen: serde_json::Map<String, Value> =
            fields.iter().map(|field| ((*field).to_owned(), body[*field].clone())).collect();
        json!({ "status": status, "memory": seen })
    }
}

pub fn memory(title: &str) -> Value {
    json!({ "title": title, "content": format!("all about {title}"), "scope": "collective" })
}
