//! `hivemem pki`, as an operator uses it.
//!
//! Not here: TLS with what it issues (`tests/up.rs`, where every node has a certificate of its own).

mod daemon;

use std::path::Path;

use crate::daemon::{json_of, ok, run};

fn refused(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = run(folder, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn an_authority_issues_and_rotates() {
    let folder = tempfile::tempdir().expect("a folder");
    let (at, dir) = (folder.path(), folder.path().join("pki").display().to_string());
    let (code, said) = refused(at, &["pki", "issue", "a", "--dir", &dir]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("hivemem pki init"), "{said}");
    ok(at, &["pki", "init", "--dir", &dir]);
    let (code, said) = refused(at, &["pki", "init", "--dir", &dir]);
    assert_eq!(code, 4, "{said}");
    let line = ok(at, &["pki", "issue", "a", "--host", "10.0.0.1", "--dir", &dir]);
    let shown = ok(at, &["pki", "fingerprint", &format!("{dir}/a.crt")]);
    assert_eq!(line, shown, "what is issued is told as a line of an allowlist");
    let begun = json_of(&ok(at, &["pki", "rotate", "a", "--dir", &dir, "--json"]));
    assert_eq!(begun["new"]["hosts"], begun["old"]["hosts"]);
    let done = json_of(&ok(at, &["pki", "rotate", "a", "--finish", "--dir", &dir, "--json"]));
    assert_eq!(done["fingerprint"], begun["new"]["fingerprint"]);
    for (arguments, code, part) in [
        (&["pki", "issue", "a", "--dir", &dir][..], 4, "hivemem pki rotate"),
        (&["pki", "issue", "../b", "--dir", &dir][..], 2, "name"),
        (&["pki", "issue", "b", "--host", "10.0.0.1:7747", "--dir", &dir][..], 2, "without a port"),
        (&["pki", "issue", "b", "--days", "9999", "--dir", &dir][..], 2, "at most"),
        (&["pki", "rotate", "b", "--dir", &dir][..], 3, "hivemem pki issue b"),
        (&["pki", "rotate", "a", "--finish", "--dir", &dir][..], 3, "hivemem pki rotate a"),
        (&["pki", "fingerprint", &dir][..], 2, "cannot read"),
    ] {
        let (found, said) = refused(at, arguments);
        assert_eq!(found, code, "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}
