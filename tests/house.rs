//! The rules of the house, checked: which crate may use which, which words the pure cores must not
//! contain, and what every file owes its reader.
//!
//! Not here: rules that the compiler or clippy checks already.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What each crate may import from this workspace.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("types", &[][..]),
        ("runtime", &["types"]),
        ("storage", &["types", "runtime"]),
        ("wire", &["types", "runtime"]),
        ("consensus", &["types", "runtime", "storage", "wire"]),
        ("federation", &["types", "runtime", "storage", "wire"]),
        ("hivemem", &["types", "runtime", "storage", "wire", "consensus", "federation"]),
        ("sim", &["types", "runtime", "storage", "wire", "consensus", "federation", "hivemem"]),
        ("chaos", &["types", "runtime", "wire", "sim"]),
    ])
}

/// Which outside crates only some of ours may know.
const KEEPERS: &[(&str, &[&str])] = &[
    ("rusqlite", &["storage"]),
    ("libsqlite3-sys", &["storage"]),
    ("sqlx", &["storage"]),
    ("usearch", &["storage"]),
    ("openraft", &["consensus", "runtime"]),
    ("axum", &["hivemem"]),
    ("rmcp", &["hivemem"]),
    ("madsim", &["runtime", "sim"]),
];

fn manifest(package: &str) -> toml::Table {
    let folder = if package == "hivemem" { root().to_owned() } else { root().join(package) };
    let text = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
    text.parse().expect("valid TOML")
}

/// Names of all dependencies, those for tests left out.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut add = |table: Option<&toml::Value>| {
        names.extend(table.and_then(|t| t.as_table()).into_iter().flat_map(|t| t.keys().cloned()));
    };
    add(manifest.get("dependencies"));
    let targets = manifest.get("target").and_then(|t| t.as_table());
    for target in targets.into_iter().flat_map(|t| t.values()) {
        add(target.get("dependencies"));
    }
    names
}

#[test]
fn arrows_point_one_way() {
    let allowed = allowed();
    for (package, may) in &allowed {
        for name in dependencies(&manifest(package)) {
            let ours = allowed.contains_key(name.as_str());
            assert!(!ours || may.contains(&name.as_str()), "{package} must not import {name}");
        }
    }
}

/// Whether the bytes are somewhere in the others.
fn contains(all: &[u8], part: &[u8]) -> bool {
    let first = part[0];
    let begins = |at: &usize| all[*at] == first && all[*at..].starts_with(part);
    (0..all.len()).any(|at| begins(&at))
}

#[test]
fn a_normal_build_contains_no_planted_bug() {
    let binary = fs::read(env!("CARGO_BIN_EXE_hivemem")).expect("the binary");
    assert!(contains(&binary, b"already_decided"), "the search finds what is there");
    for bug in types::planted::ALL {
        assert!(!contains(&binary, bug.name.as_bytes()), "{} is in the binary", bug.name);
    }
}

#[test]
fn libraries_have_their_keepers() {
    for package in allowed().keys() {
        for name in dependencies(&manifest(package)) {
            for (library, keepers) in KEEPERS {
                assert!(
                    name != *library || keepers.contains(package),
                    "{package} must not know {library}: only {keepers:?} may"
                );
            }
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for package in allowed().keys() {
        let base = if *package == "hivemem" { root().to_owned() } else { root().join(package) };
        for part in ["src", "tests", "examples", "benches"] {
            sources(&base.join(part), &mut found);
        }
    }
    found.sort();
    found
}

/// The part of a file before its tests, without comments.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]").next().unwrap_or_default();
    body.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn pure_cores_stay_pure() {
    const BANNED: &[&str] = &[
        "async ",
        ".await",
        "HashMap",
        "HashSet",
        "std::fs",
        "std::net",
        "std::thread",
        "SystemTime",
        "Instant::now",
        "tokio::",
        "rand::",
    ];
    for core in ["types/src", "consensus/src/machine", "federation/src/engine"] {
        let mut files = Vec::new();
        sources(&root().join(core), &mut files);
        for file in files {
            let text = code(&fs::read_to_string(&file).expect("readable"));
            for word in BANNED {
                assert!(!text.contains(word), "{} contains {word:?}", file.display());
            }
        }
    }
}

#[test]
fn only_the_ground_knows_of_two_worlds() {
    for file in all_sources() {
        let of = file.strip_prefix(root()).expect("below the root");
        if of.starts_with("runtime") || of.starts_with("sim") || of.starts_with("tests") {
            continue;
        }
        // A server that the simulator does not have (docs/adr/0010-postgres.md).
        if of.starts_with("storage/src/postgres") {
            continue;
        }
        let text = code(&fs::read_to_string(&file).expect("readable"));
        assert!(!text.contains("cfg(madsim)"), "{} asks which world it is in", of.display());
    }
}

#[test]
fn every_file_introduces_itself_and_stays_small() {
    let mut lengths = Vec::new();
    for file in all_sources() {
        let text = fs::read_to_string(&file).expect("readable");
        let first = text.lines().find(|l| !l.starts_with("#!")).unwrap_or_default();
        assert!(first.starts_with("//!"), "{} does not introduce itself", file.display());
        let lines = text.lines().count();
        assert!(lines <= 800, "{} has {lines} lines", file.display());
        lengths.push(lines);
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median < 250, "the median file has {median} lines");
}

fn all_files(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && name != ".git" {
            found.push(format!("/{}/", path.strip_prefix(root()).expect("inside").display()));
            all_files(&path, found);
        } else {
            found.push(format!("/{}", path.strip_prefix(root()).expect("inside").display()));
        }
    }
}

/// A page may name a file by the end of its path. Names in braces are not looked for.
#[test]
fn files_that_the_documents_name_exist() {
    let mut files = Vec::new();
    all_files(root(), &mut files);
    let pages = files.iter().filter(|file| {
        file.as_str() == "/README.md" || file.starts_with("/docs/") && file.ends_with(".md")
    });
    let mut named = 0;
    for page in pages {
        let text = fs::read_to_string(root().join(&page[1..])).expect("a page");
        let is_path = |word: &&str| {
            !word.contains(|c: char| c.is_whitespace() || c == '{') && word.ends_with(".rs")
        };
        for file in text.split('`').skip(1).step_by(2).filter(is_path) {
            named += 1;
            let exists = files.iter().any(|known| known.ends_with(&format!("/{file}")));
            assert!(exists, "{page} names {file}, which is not there");
        }
    }
    assert!(named > 100, "pages name files: {named}");
}

#[test]
fn no_unfinished_work_is_called_done() {
    for file in all_sources() {
        if file.ends_with("tests/house.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("readable");
        for word in ["todo!(", "unimplemented!(", "FIXME", "XXX", "#[ignore"] {
            assert!(!text.contains(word), "{} contains {word:?}", file.display());
        }
    }
}
