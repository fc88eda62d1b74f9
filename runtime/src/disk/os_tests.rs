//! Tests of the real disk, on a temporary folder.

use super::super::{copy, read_all, remove_if_exists, write_atomically};
use super::*;

#[test]
fn writes_read_back_and_reads_stop_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let file = OsDisk.open(&path, OpenMode::CreateNew).unwrap();
    file.write_at(3, b"abc").unwrap();
    let mut buf = [9; 10];
    assert_eq!(file.read_at(0, &mut buf).unwrap(), 6);
    assert_eq!(&buf[..6], b"\0\0\0abc");
    file.set_len(4).unwrap();
    file.sync().unwrap();
    assert_eq!(file.len().unwrap(), 4);
    assert_eq!(read_all(&OsDisk, &path).unwrap(), b"\0\0\0a");
    file.set_len(0).unwrap();
    assert!(OsDisk.map(&path).unwrap().is_empty());
}

#[test]
fn open_modes_are_honest_about_what_exists() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let missing = OsDisk.open(&path, OpenMode::Existing).err().unwrap();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    assert!(missing.to_string().starts_with(&format!("cannot open {}", path.display())));
    OsDisk.open(&path, OpenMode::CreateNew).unwrap();
    let twice = OsDisk.open(&path, OpenMode::CreateNew).err().unwrap();
    assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
    let read_only = OsDisk.open(&path, OpenMode::ReadOnly).unwrap();
    assert!(read_only.write_at(0, b"x").is_err());
}

#[test]
fn replaced_content_has_the_mode_asked_for_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    write_atomically(&OsDisk, &path, b"one", 0o600).unwrap();
    write_atomically(&OsDisk, &path, b"two", 0o644).unwrap();
    assert_eq!(read_all(&OsDisk, &path).unwrap(), b"two");
    assert_eq!(OsDisk.metadata(&path).unwrap().mode, 0o644);
    assert_eq!(OsDisk.list(folder.path()).unwrap(), ["key"]);
    assert_eq!(copy(&OsDisk, &path, &folder.path().join("copy")).unwrap(), 3);
    assert_eq!(&*OsDisk.map(&folder.path().join("copy")).unwrap(), b"two");
    assert!(remove_if_exists(&OsDisk, &path).unwrap());
    assert!(!remove_if_exists(&OsDisk, &path).unwrap());
}

#[test]
fn new_folders_and_files_belong_to_the_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("x/y");
    OsDisk.create_dir_all(&deep).unwrap();
    OsDisk.create_dir_all(&deep).unwrap();
    OsDisk.open(&deep.join("f"), OpenMode::OpenOrCreate).unwrap();
    assert_eq!(OsDisk.metadata(&deep).unwrap().mode, 0o700);
    assert_eq!(OsDisk.metadata(&deep.join("f")).unwrap().mode, 0o600);
    assert!(OsDisk.free_bytes(&deep).unwrap() > 0);
}

#[test]
fn a_second_lock_is_refused_and_names_the_holder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let held = OsDisk.lock_exclusive(&path).unwrap();
    let refused = OsDisk.lock_exclusive(&path).err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    drop(held);
    OsDisk.lock_exclusive(&path).unwrap();
}
