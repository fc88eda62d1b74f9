//! S5: a daemon whose rows are in PostgreSQL, and what psql sees of them beside it.
//!
//! The server is started from packages by `deploy/postgres`, below the folder of the check, and ends with it.
//!
//! Invariant: what the daemon says is compared with what the database says, by programs that share nothing.
//!
//! Not here: servers that fail (`storage::postgres`, beside its code).

use std::{
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
};

use serde_json::Value;

use crate::checks::Found;

/// A server of PostgreSQL.
struct Server(PathBuf);

impl Server {
    fn start(folder: PathBuf) -> Result<Self, String> {
        script("install.sh", &[])?;
        let server = Self(folder);
        server.does("start", &[])?;
        Ok(server)
    }

    fn does(&self, command: &str, words: &[&str]) -> Result<String, String> {
        let folder = self.0.display().to_string();
        let all: Vec<&str> = [command, &folder].into_iter().chain(words.iter().copied()).collect();
        script("server.sh", &all)
    }

    /// The lines that psql answers, without empty ones.
    fn psql(&self, database: &str, text: &str) -> Result<String, String> {
        let words = ["-X", "-q", "-A", "-t", "-d", database, "-c", text];
        Ok(self.does("psql", &words)?.trim().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(problem) = self.does("destroy", &[]) {
            eprintln!("{problem}");
        }
    }
}

fn script(name: &str, words: &[&str]) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres").join(name);
    // Nobody pulls a plug here.
    told(Command::new(&path).args(words).env("FSYNC", "off"), name)
}

fn told(command: &mut Command, name: &str) -> Result<String, String> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// How the daemon is called.
struct Node<'a> {
    binary: &'a Path,
    data: PathBuf,
    url: String,
}

/// A daemon that runs; killed when this goes.
struct Running {
    child: Child,
    /// Kept open: a daemon that cannot write its log would say so.
    lines: Lines<BufReader<ChildStderr>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.binary);
        command.env_clear().arg("--data-dir").arg(&self.data).args(["--store-url", &self.url]);
        command.args(words);
        command
    }

    /// What a command answers, as JSON.
    fn asks(&self, words: &[&str]) -> Result<Value, String> {
        let all: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        let text = told(&mut self.command(&all), &format!("hivemem {}", words.join(" ")))?;
        serde_json::from_str(&text).map_err(|error| format!("{words:?}: {error}: {text}"))
    }

    fn starts(&self) -> Result<Running, String> {
        let words = ["--set", "server.listen=127.0.0.1:0", "serve"];
        let mut command = self.command(&words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("the daemon: {error}"))?;
        let pipe = child.stderr.take().ok_or("the daemon says nothing")?;
        let mut running = Running { child, lines: BufReader::new(pipe).lines() };
        let mut said = Vec::new();
        while let Some(Ok(line)) = running.lines.next() {
            if line.starts_with("hivemem serves on") {
                return Ok(running);
            }
            said.push(line);
        }
        Err(format!("the daemon ended before it served: {}", said.join("; ")))
    }

    fn stores(&self, title: &str) -> Result<String, String> {
        let stored = self.asks(&["store", title, &format!("all about {title}")])?;
        Ok(stored["id"].as_str().unwrap_or_default().to_owned())
    }
}

/// What must be, and what is.
struct Seen {
    passed: bool,
    words: Vec<String>,
}

impl Seen {
    fn note(&mut self, what: &str, found: &Value, expected: &Value) {
        let fits = found == expected;
        self.passed &= fits;
        self.words.push(match fits {
            true => format!("{what} {found}"),
            false => format!("{what} {found} instead of {expected}"),
        });
    }
}

/// Goes through it, below a folder. Blocks.
///
/// # Errors
/// In words: there is no server to be had, or a command failed.
pub(crate) fn check(binary: &Path, folder: &Path) -> Result<Found, String> {
    let server = Server::start(folder.join("postgres"))?;
    let url = server.does("database", &["s5"])?.trim().to_owned();
    let node = Node { binary, data: folder.join("on-postgres"), url };
    let mut seen = Seen { passed: true, words: Vec::new() };
    let made = node.asks(&["schema-init"])?;
    seen.note("schema found", &made["found"], &0.into());
    let running = node.starts()?;
    let (one, two, three) =
        (node.stores("harbour")?, node.stores("lights")?, node.stores("train")?);
    node.asks(&["link", &one, "depends_on", &two])?;
    node.asks(&["link", &two, "related_to", &three])?;
    node.asks(&["update", &two, "--content", "they are switched off at dawn"])?;
    let found = node.asks(&["recall", "switched off at dawn"])?;
    seen.note("recalled", &found["hits"][0]["memory"]["title"], &"lights".into());
    let graph = node.asks(&["graph", &one, "--depth", "2"])?;
    let count = |value: &Value| Value::from(value.as_array().map_or(0, Vec::len));
    seen.note("memories of the graph", &count(&graph["nodes"]), &3.into());
    drop(running);

    let running = node.starts()?;
    node.asks(&["delete", &three, "--yes"])?;
    let left = node.asks(&["list"])?;
    seen.note("after SIGKILL and a deletion", &count(&left["items"]), &2.into());
    let beside = "SELECT string_agg(title, ' ' ORDER BY title) FROM memories WHERE life = 0";
    seen.note("psql", &server.psql("s5", beside)?.into(), &"harbour lights".into());
    let cypher = "SET search_path = public, ag_catalog; SELECT * FROM cypher('hivemem_graph',
        $$ MATCH (a:Memory)-[:Link]->(b:Memory) RETURN count(*) $$) AS (links agtype)";
    let removed = server.psql("s5", "SELECT count(*) FROM links WHERE removed = 0")?;
    seen.note("links by Cypher", &server.psql("s5", cypher)?.into(), &removed.into());
    let healthy = node.asks(&["doctor"])?;
    seen.note("healthy", &healthy["healthy"], &true.into());
    drop(running);
    let versions = made["server"].to_string();
    Ok(Found { passed: seen.passed, seen: format!("{versions}; {}", seen.words.join("; ")) })
}
