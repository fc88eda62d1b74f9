//! Golden scripts: what happens to a peer, line by line, and what it does about it.
//!
//! A line that starts with `@` is a time in milliseconds and what happens then; what the engine says is to
//! be done stands below it, indented; `?` shows the peers; `#` is a comment. The node itself is `a`.
//! A vector is written `a=3,b=1`; a batch to peer `b` is `b#7`.
//!
//! `HIVEMEM_REWRITE_SCRIPTS=1 cargo test -p federation scripts` writes what comes of it into the
//! files; read the difference before believing it.

mod parse;
mod show;

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use types::{NodeId, VersionVector};
use uuid::Uuid;

use crate::engine::{Engine, Options};

/// The node of a name: one small letter.
fn node(name: &str) -> NodeId {
    let letter = name.bytes().next().filter(u8::is_ascii_lowercase);
    let number = letter.unwrap_or_else(|| panic!("{name} is no node")) - b'a';
    NodeId(Uuid::from_u128(u128::from(number) << 32))
}

/// The name of a node.
fn name(node: NodeId) -> char {
    char::from(b'a' + node.as_bytes()[11])
}

struct Runner {
    engine: Engine,
    now_ms: u64,
}

impl Runner {
    fn new() -> Self {
        let options = Options { catch_up_ms: 1000, compare_ms: 100_000 };
        Self {
            engine: Engine::new(node("a"), 0, VersionVector::default(), BTreeMap::new(), options),
            now_ms: 0,
        }
    }

    /// Runs a line and says what came of it.
    fn run(&mut self, line: &str) -> String {
        if line.starts_with('?') {
            return show::peers(&self.engine);
        }
        let (at_ms, input) = parse::step(line);
        assert!(at_ms >= self.now_ms, "time goes on: {line}");
        self.now_ms = at_ms;
        let twin = self.engine.clone().handle(at_ms, input.clone());
        let out = self.engine.handle(at_ms, input);
        assert_eq!(out, twin, "the same inputs give the same outputs");
        show::outputs(&out)
    }
}

fn rerun(text: &str) -> String {
    let mut runner = Runner::new();
    let mut again = String::new();
    for line in text.lines().filter(|line| !line.starts_with("  ")) {
        let _ = writeln!(again, "{line}");
        if line.starts_with(['@', '?']) {
            again.push_str(&runner.run(line));
        }
    }
    again
}

#[test]
fn scripts_come_out_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/tests/scripts");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 7, "the scripts are there");
    let rewrite = std::env::var_os("HIVEMEM_REWRITE_SCRIPTS").is_some();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let again = rerun(&text);
        if rewrite {
            fs::write(&path, &again).unwrap();
            continue;
        }
        assert_eq!(again, text, "{}", path.display());
    }
}
