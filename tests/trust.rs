//! Trust on first use between two real daemons: rows that people carry, fingerprints that they compare.
//!
//! Not here: what is signed of a row (`peers::trust`), certificates in the handshake (`tests/mutual_tls.rs`).

mod daemon;
mod fleet;

use std::{
    fs::File,
    io::Write as _,
    os::fd::{FromRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use daemon::{Daemon, LocalApi, hivemem, until};
use fleet::{BETWEEN, certificate, memory, write};
use serde_json::json;
use tempfile::TempDir;
use wire::vacant::vacant;

/// A node with a certificate and an empty list.
struct Node {
    name: &'static str,
    folder: TempDir,
    address: String,
}

impl Node {
    fn new(name: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        certificate(folder.path(), "node");
        write(&folder.path().join("peer.key"), BETWEEN, 0o600);
        write(&folder.path().join("allowed"), "", 0o644);
        write(&folder.path().join("peers.toml"), "# ours\n", 0o644);
        Self { name, folder, address: vacant().expect("an address").to_string() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> Vec<String> {
        let file = |key: &str, name: &str| format!("{key}={}", self.file(name).display());
        vec![
            file("server.tls_cert", "node.crt"),
            file("server.tls_key", "node.key"),
            file("server.tls_client_allowlist", "allowed"),
            file("federation.peers_file", "peers.toml"),
            file("federation.peer_key_file", "peer.key"),
        ]
    }

    fn run(&self, arguments: &[&str], stdin: Stdio) -> Output {
        let mut command = hivemem(&self.file("data"));
        for setting in self.settings() {
            command.arg("--set").arg(setting);
        }
        command.args(arguments).stdin(stdin).output().expect("the binary runs")
    }

    /// Writes its row to a file; gives the fingerprint that it prints.
    fn exports(&self, to: &Path) -> String {
        let to = to.display().to_string();
        let arguments =
            ["identity", "export", "--name", self.name, "--endpoint", &self.address, "--out", &to];
        let output = self.run(&arguments, Stdio::null());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    fn imports(&self, from: &Path, more: &[&str], stdin: Stdio) -> (Option<i32>, String) {
        let from = from.display().to_string();
        let scope = ["--agents", "*", "--namespaces", "**"];
        let arguments = [&["identity", "import", &from][..], &scope, more].concat();
        let output = self.run(&arguments, stdin);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    fn list(&self) -> String {
        std::fs::read_to_string(self.file("peers.toml")).expect("a list")
    }

    fn start(&self) -> Daemon {
        let settings = self.settings();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        Daemon::start_at(&self.file("data"), &self.address, &settings)
    }
}

/// A terminal on which somebody has typed this.
fn terminal(typed: &str) -> (File, Stdio) {
    let (mut ours, mut theirs) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: both places are written by the call, and the optional arguments are absent.
    let opened = unsafe { libc::openpty(&mut ours, &mut theirs, none, none.cast(), none.cast()) };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the call opened both, and nobody else has them.
    let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    let mut ours = File::from(ours);
    ours.write_all(typed.as_bytes()).expect("typed");
    (ours, Stdio::from(theirs))
}

#[test]
fn nothing_is_believed_that_nobody_compared() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let row = a.file("b.toml");
    let compared = b.exports(&row);
    assert_eq!(compared.len(), 39, "{compared}");
    let before = a.list();
    let first = if compared.starts_with('0') { "1" } else { "0" };
    let wrong = format!("{first}{}", &compared[1..]);
    for (more, stdin, why) in [
        (&["--fingerprint", wrong.as_str()][..], Stdio::null(), "is not the fingerprint"),
        (&[][..], Stdio::null(), "--fingerprint"),
        (&[][..], terminal("n\n").1, "nothing was changed"),
    ] {
        let (code, said) = a.imports(&row, more, stdin);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(why) && said.contains(&compared), "{said}");
        assert_eq!(a.list(), before, "TRU-1");
    }
    // A row that was changed on the way has another fingerprint, whatever its first line says.
    let changed = a.file("changed.toml");
    let text = std::fs::read_to_string(&row).expect("a row");
    let at = text.find("certificates = [\"").expect("certificates") + 17;
    let digit = if &text[at..=at] == "0" { "1" } else { "0" };
    std::fs::write(&changed, format!("{}{digit}{}", &text[..at], &text[at + 1..]))
        .expect("written");
    let (code, said) = a.imports(&changed, &["--fingerprint", &compared], Stdio::null());
    assert!(code == Some(2) && said.contains("is not the fingerprint"), "TRU-1: {said}");
    assert_eq!(a.list(), before);
    // Somebody at a terminal who says that it is the same.
    let (_terminal, stdin) = terminal("y\n");
    let (code, said) = a.imports(&row, &[], stdin);
    assert_eq!(code, Some(0), "{said}");
    assert!(a.list().starts_with("# ours\n[[peer]]\nname = \"b\""), "{}", a.list());
    let (code, said) = a.imports(&row, &["--fingerprint", &compared], Stdio::null());
    assert!(code == Some(2) && said.contains("twice"), "{said}");
}

#[test]
fn two_nodes_that_imported_each_other_share_what_they_are_told() {
    let nodes = [Node::new("a"), Node::new("b")];
    let _daemons = nodes.each_ref().map(Node::start);
    for (one, other) in [(0, 1), (1, 0)] {
        let row = nodes[one].file("other.toml");
        // From the running daemon: its certificate is that of its doors.
        let compared = nodes[other].exports(&row);
        let more = ["--fingerprint", &compared];
        let (code, said) = nodes[one].imports(&row, &more, Stdio::null());
        assert_eq!(code, Some(0), "{said}");
    }
    let api = LocalApi::of(&nodes[0].file("data"));
    until("both have a write", || {
        let (_, told) = api.send("/api/v1/memories", &memory("one"));
        match told["quorum_acks"] == json!(2) {
            true => Ok(()),
            false => Err(told.to_string()),
        }
    });
    let list = nodes[1].run(&["list", "--json"], Stdio::null());
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("\"one\""), "{list}");
}
