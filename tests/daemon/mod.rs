//! A real daemon for tests: the built binary on a temporary folder and a port the system chooses.
//!
//! Not here: what is tested.
#![allow(dead_code)] // Each test binary uses its own part of this.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use parking_lot::Mutex;
use runtime::clock::Instant;
use serde_json::Value;
use tempfile::TempDir;
use wire::http_client::{HttpAnswer, HttpClient, HttpError, HttpLimits, HttpStream};

/// The binary under test: the one `HIVEMEM_TEST_BINARY` names, else the one built with the tests.
pub fn binary() -> PathBuf {
    let given = std::env::var_os("HIVEMEM_TEST_BINARY").map(PathBuf::from);
    given.unwrap_or_else(|| env!("CARGO_BIN_EXE_hivemem").into())
}

/// A command of the binary on a data folder, free of the caller's environment.
pub fn hivemem(folder: &Path) -> Command {
    let mut command = Command::new(binary());
    command.env_clear().env("HOME", folder).arg("--data-dir").arg(folder);
    command
}

/// Runs a command and returns what it printed.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    hivemem(folder).args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
}

/// Runs a command that must succeed and returns its standard output.
pub fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{arguments:?} ended with {:?}: {}",
        output.status,
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Generous: the machine may be busy.
const SOON: Duration = Duration::from_secs(90);

/// The cluster that the roots of the tests belong to.
pub const CLUSTER: &str = "3f1f6dcb-6d4f-4f5a-9d2f-0a4f5f1c2b3d";

/// Tries until it succeeds; each try takes a process, so this spins slowly.
pub fn until<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(problem) => assert!(Instant::now() < deadline, "{what}: {problem}"),
        }
    }
}

/// JSON that must be some.
pub fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A folder for a member of a root, with the key that its members share.
pub fn member_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = std::fs::OpenOptions::new();
    let file =
        options.write(true).create_new(true).mode(0o600).open(folder.path().join("peer.key"));
    std::io::Write::write_all(&mut file.expect("a file"), b"between members").expect("written");
    folder
}

/// Waits until a member knows its root's rules.
pub fn confirmed(folder: &Path) {
    until("the rules are confirmed", || {
        let status = json_of(&ok(folder, &["root", "status", "--json"]));
        if status["confirmed"] == true { Ok(()) } else { Err(status.to_string()) }
    });
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    folder: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// Starts it and waits until it says where it serves.
    pub fn start(folder: &Path, settings: &[&str]) -> Self {
        Self::start_at(folder, "127.0.0.1:0", settings)
    }

    /// Starts it on an address and waits until it serves.
    pub fn start_at(folder: &Path, listen: &str, settings: &[&str]) -> Self {
        let mut command = hivemem(folder);
        command.arg("--set").arg(format!("server.listen={listen}"));
        for setting in settings {
            command.arg("--set").arg(setting);
        }
        let mut child = command
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = Vec::new();
        let url = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("the daemon ended before it served: {said:?}");
            };
            if let Some(url) = line.strip_prefix("hivemem serves on http") {
                break format!("http{url}");
            }
            said.push(line);
        };
        let log = Arc::new(Mutex::new(said));
        let kept = log.clone();
        // Keep reading, or a full pipe would stop the daemon.
        std::thread::Builder::new()
            .spawn(move || lines.map_while(Result::ok).for_each(|line| kept.lock().push(line)))
            .expect("a thread for the daemon's log");
        Self { child, url, folder: folder.to_owned(), log }
    }

    /// What it wrote to its log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// A client of it.
    pub fn client(&self) -> Api {
        Api::new(&self.url)
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        self.signal(libc::SIGTERM);
        self.child.wait().expect("it ends").code()
    }

    /// SIGSTOP: it is there and says nothing, until [`Daemon::thaw`]. Returns when every thread has stopped, so
    /// what is sent after that is not answered.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
        // SAFETY: all zeroes is a value of this plain structure, and the call only fills it in. It waits for
        // the stop alone (not for the end) and leaves the child to be waited for.
        let stopped = unsafe {
            let mut how: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, self.child.id(), &mut how, libc::WSTOPPED | libc::WNOWAIT)
        };
        assert_eq!(stopped, 0, "{}", std::io::Error::last_os_error());
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: a signal to a child that we have not waited for yet, so the id is still its own.
        unsafe { libc::kill(pid, signal) };
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of the HTTP contract.
pub struct Api {
    http: HttpClient,
    headers: HeaderMap,
}

impl Api {
    pub fn new(url: &str) -> Self {
        let limits = HttpLimits { answer: Duration::from_secs(20), ..HttpLimits::default() };
        let http = HttpClient::with_limits(url.parse().expect("an endpoint"), limits);
        Self { http, headers: HeaderMap::new() }
    }

    /// The same with a header more.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<HttpAnswer, HttpError> {
        self.http.request(method, path, &self.headers, body).await
    }

    /// Sends with an idempotency key.
    pub async fn once(&self, path: &str, body: &Value, key: &str) -> Result<HttpAnswer, HttpError> {
        let mut headers = self.headers.clone();
        let key = HeaderValue::from_str(key).expect("a header value");
        headers.insert(HeaderName::from_static("idempotency-key"), key);
        self.http.request(Method::POST, path, &headers, Some(body)).await
    }

    /// Sends one MCP message in a session and returns the answer's text.
    pub async fn in_session(&self, session: &str, message: &Value) -> String {
        let mut headers = self.headers.clone();
        let session = HeaderValue::from_str(session).expect("a header value");
        headers.insert(HeaderName::from_static("mcp-session-id"), session);
        let answer = self.http.request(Method::POST, "/mcp", &headers, Some(message)).await;
        String::from_utf8_lossy(&answer.expect("an answer").body).into_owned()
    }

    /// Opens a stream of events.
    pub async fn stream(&self, path: &str) -> HttpStream {
        self.http.stream(Method::GET, path, &self.headers, None).await.expect("a stream")
    }

    /// Status and JSON of an answer that must come.
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let answer = self.send(method, path, body).await.expect("an answer");
        (answer.status, answer.json().unwrap_or(Value::Null))
    }
}

/// The HTTP contract through a daemon's local socket, as its operator, for tests that have no runtime.
pub struct LocalApi(String);

impl LocalApi {
    pub fn of(folder: &Path) -> Self {
        Self(format!("unix:{}", folder.join("hivemem.sock").display()))
    }

    /// Posts what must be done.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.send(path, body);
        assert!(status < 400, "{path}: {status} {answer}");
        answer
    }

    pub fn send(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send_within(path, body, 15_000)
    }

    pub fn send_within(&self, path: &str, body: &Value, timeout_ms: u64) -> (u16, Value) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let timeout_ms = timeout_ms.to_string();
            let api = Api::new(&self.0).with("x-timeout-ms", &timeout_ms);
            api.json(Method::POST, path, Some(body)).await
        })
    }
}
