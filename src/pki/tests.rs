//! Authorities and what they issue, on a real disk.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use runtime::disk::OsDisk;
use tempfile::TempDir;
use wire::tls::{ClientIdentity, ServerTrust, client_config};

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn leaf(text: &str, hosts: &[&str]) -> Leaf {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Leaf { name: name(text), hosts, days: 90 }
}

fn founded() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    Authority::found(&OsDisk, folder.path(), &name("hive"), 365).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let all = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn keys_are_their_owners_and_nothing_is_overwritten() {
    let folder = founded();
    let authority = Authority::open(&OsDisk, folder.path()).unwrap();
    authority.issue(&leaf("a", &["10.0.0.1", "a.hive.example"])).unwrap();
    assert_eq!(names(folder.path()), ["a.crt", "a.key", "ca.crt", "ca.key"]);
    for key in ["a.key", "ca.key"] {
        let mode = fs::metadata(folder.path().join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "PKI-2");
    }
    let before = fs::read(folder.path().join("a.crt")).unwrap();
    let again = authority.issue(&leaf("a", &[]));
    assert!(matches!(again, Err(PkiError::Exists { .. })), "PKI-1");
    let again = Authority::found(&OsDisk, folder.path(), &name("hive"), 365);
    assert!(matches!(again, Err(PkiError::Exists { .. })), "PKI-1");
    assert_eq!(fs::read(folder.path().join("a.crt")).unwrap(), before);
}

#[test]
fn what_is_issued_serves_and_dials() {
    let folder = founded();
    let authority = Authority::open(&OsDisk, folder.path()).unwrap();
    let issued = authority.issue(&leaf("a", &["127.0.0.1", "::1", "*.hive.example"])).unwrap();
    let read = shown(&OsDisk, &folder.path().join("a.crt")).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].fingerprint, issued.fingerprint);
    assert_eq!(read[0].name, "a");
    let hosts: Vec<Host> =
        ["127.0.0.1", "::1", "*.hive.example"].map(|host| host.parse().unwrap()).into();
    assert_eq!(read[0].hosts, hosts);
    let identity = ClientIdentity {
        certificate: folder.path().join("a.crt"),
        key: folder.path().join("a.key"),
    };
    let trust = ServerTrust::AuthorityFile(folder.path().join("ca.crt"));
    client_config(&OsDisk, &trust, Some(&identity)).expect("a pair that fits");
}

#[test]
fn a_rotation_is_begun_and_ended_and_may_be_interrupted() {
    let folder = founded();
    let authority = Authority::open(&OsDisk, folder.path()).unwrap();
    let first = authority.issue(&leaf("a", &["10.0.0.1"])).unwrap();
    let ended = finish(&OsDisk, folder.path(), &name("a"));
    assert!(matches!(ended, Err(PkiError::Missing { .. })), "none has begun");
    let Rotation { old, new } = authority.rotate(&name("a"), 30).unwrap();
    assert_eq!(old.fingerprint, first.fingerprint);
    assert_ne!(new.fingerprint, old.fingerprint);
    assert_eq!(new.hosts, old.hosts);
    let again = authority.rotate(&name("a"), 30);
    assert!(matches!(again, Err(PkiError::Exists { .. })), "PKI-1");
    // Interrupted between its two steps.
    fs::rename(folder.path().join("a.next.key"), folder.path().join("a.key")).unwrap();
    let ended = finish(&OsDisk, folder.path(), &name("a")).unwrap();
    assert_eq!(ended.fingerprint, new.fingerprint, "PKI-4");
    assert_eq!(names(folder.path()), ["a.crt", "a.key", "ca.crt", "ca.key"]);
}

#[test]
fn nothing_outlives_its_authority() {
    let folder = founded();
    let authority = Authority::open(&OsDisk, folder.path()).unwrap();
    let long = Leaf { days: 400, ..leaf("a", &[]) };
    let refused = authority.issue(&long).unwrap_err().to_string();
    assert!(refused.starts_with("days: the authority itself ends "), "{refused}");
    assert_eq!(names(folder.path()), ["ca.crt", "ca.key"], "PKI-3");
    let none = Leaf { days: 0, ..leaf("a", &[]) };
    assert!(matches!(authority.issue(&none), Err(PkiError::Value { field: "days", .. })));
}

#[test]
fn what_cannot_be_used_is_named() {
    for bad in ["", ".a", "a/b", "ä", &"a".repeat(65)] {
        assert!(bad.parse::<Name>().is_err(), "{bad}");
    }
    for bad in ["", "a:7747", "a..b", "*", "a.*.b", "x y"] {
        assert!(bad.parse::<Host>().is_err(), "{bad}");
    }
    let empty = tempfile::tempdir().unwrap();
    let none = Authority::open(&OsDisk, empty.path()).err().unwrap();
    assert!(matches!(none, PkiError::NoAuthority { .. }));
    let folder = founded();
    let key = folder.path().join("ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let lax = Authority::open(&OsDisk, folder.path()).err().unwrap().to_string();
    assert!(lax.contains("chmod 600"), "{lax}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let authority = Authority::open(&OsDisk, folder.path()).unwrap();
    assert!(authority.issue(&leaf("ca", &[])).is_err(), "the authority's own name");
    fs::write(folder.path().join("no.crt"), "nothing").unwrap();
    let no = shown(&OsDisk, &folder.path().join("no.crt")).unwrap_err().to_string();
    assert!(no.ends_with("no.crt has no certificate"), "{no}");
}
