//! Backups: made while in use, verified to the row, installed only where nothing is.

use std::path::Path;

use runtime::disk::OsDisk;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::{Rig, config};
use crate::{
    port::{ReadStore, WriteStore},
    request::Reader,
    sqlite::{
        backup::{self, BackupError, BackupManifest},
        open_store, schema,
    },
};

async fn backed_up(rig: &Rig) -> BackupManifest {
    rig.store.backup(rig.path("backup")).await.unwrap();
    backup::verify_backup(&OsDisk, &rig.path("backup")).unwrap()
}

/// Rewrites the manifest's hash of the database, as somebody would who covers his traces.
fn cover_traces(folder: &Path) {
    let file = folder.join(backup::MANIFEST_FILE);
    let mut manifest: BackupManifest =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let bytes = std::fs::read(folder.join(backup::DATABASE_FILE)).unwrap();
    manifest.files[0].bytes = bytes.len() as u64;
    manifest.files[0].sha256 = hex::encode(Sha256::digest(&bytes));
    std::fs::write(&file, serde_json::to_vec(&manifest).unwrap()).unwrap();
}

fn tampered(folder: &Path) -> String {
    match backup::verify_backup(&OsDisk, folder) {
        Err(error @ BackupError::Tampered { .. }) => error.to_string(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn a_restored_store_has_the_same_content_and_chain() {
    let rig = Rig::new();
    let ids = rig.fill(20).await;
    let manifest = backed_up(&rig).await;
    let digest = rig.store.content_digest().await.unwrap();
    let chain = rig.store.verify_chain(0).await.unwrap();
    assert_eq!(manifest.content_digest, hex::encode(digest));
    assert_eq!(manifest.node_id, rig.store.node_id().to_string());
    assert_eq!((manifest.position, manifest.chain_head_sequence), (20, 20));
    let names: Vec<_> = std::fs::read_dir(rig.path("backup"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "the database and the manifest, nothing beside: {names:?}");

    let target = rig.path("restored");
    let installed = backup::install_backup(&OsDisk, &rig.path("backup"), &target).unwrap();
    assert_eq!(installed, manifest);
    let restored = open_store(OsDisk::shared(), &target, config()).unwrap();
    assert_eq!(restored.node_id(), rig.store.node_id());
    assert_eq!(restored.content_digest().await.unwrap(), digest);
    assert_eq!(restored.verify_chain(0).await.unwrap(), chain);
    assert_eq!(restored.check().await.unwrap(), []);
    let id = types::ids::IdRef::Full(ids[7]);
    let view = restored.get(Reader::Operator, id, super::NOW_MS).await.unwrap();
    assert_eq!(view.title, "note 7");
    restored.close().await.unwrap();
}

#[tokio::test]
async fn a_backup_made_while_writing_is_one_moment() {
    let rig = Rig::new();
    rig.fill(30).await;
    let (made, _) = futures::join!(rig.store.backup(rig.path("backup")), async {
        let request = rig.store.position();
        assert_eq!(*request.borrow(), 30);
        rig.store.check().await.unwrap()
    });
    made.unwrap();
    let manifest = backup::verify_backup(&OsDisk, &rig.path("backup")).unwrap();
    assert_eq!(manifest.position, 30);
}

#[tokio::test]
async fn a_folder_that_is_not_empty_is_left_alone() {
    let rig = Rig::new();
    rig.fill(2).await;
    backed_up(&rig).await;
    let again = rig.store.backup(rig.path("backup")).await.unwrap_err();
    assert!(again.to_string().contains("not empty"), "{again}");
    let target = rig.path("target");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("notes.txt"), "mine").unwrap();
    let refusal = backup::install_backup(&OsDisk, &rig.path("backup"), &target).unwrap_err();
    assert!(matches!(refusal, BackupError::NotEmpty { .. }), "{refusal}");
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 1);
}

#[tokio::test]
async fn a_flipped_byte_in_the_file_is_refused_and_nothing_is_installed() {
    let rig = Rig::new();
    rig.fill(10).await;
    backed_up(&rig).await;
    let file = rig.path("backup").join(backup::DATABASE_FILE);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(tampered(&rig.path("backup")).contains(backup::DATABASE_FILE));
    let target = rig.path("target");
    backup::install_backup(&OsDisk, &rig.path("backup"), &target).unwrap_err();
    assert!(!target.exists(), "nothing is created for a backup that does not verify");
}

#[tokio::test]
async fn a_row_changed_in_a_backup_is_named_even_when_the_manifest_was_changed_too() {
    let cases = [
        ("UPDATE memories SET content = 'a lie' WHERE row = 3", "memory"),
        ("UPDATE ops SET bytes = x'00' WHERE position = 4", "audit row 4"),
        ("UPDATE signed_events SET event_type = 'memory.delete' WHERE sequence = 5", "audit row 5"),
        ("DELETE FROM signed_events WHERE sequence = 2", "audit row 2"),
        ("UPDATE agents SET revoked = 1", "content"),
    ];
    for (statement, named) in cases {
        let rig = Rig::new();
        let ids = rig.fill(6).await;
        register(&rig).await;
        backed_up(&rig).await;
        let folder = rig.path("backup");
        let behind = Connection::open(folder.join(backup::DATABASE_FILE)).unwrap();
        assert!(behind.execute(statement, []).unwrap() > 0, "{statement}");
        drop(behind);
        cover_traces(&folder);
        let refusal = tampered(&folder);
        assert!(refusal.contains(named), "{statement}: {refusal}");
        if named == "memory" {
            assert!(refusal.contains(&ids[2].to_string()), "{refusal}");
        }
    }
}

async fn register(rig: &Rig) {
    let agent = types::AgentRecord {
        agent_id: "ann".parse().unwrap(),
        affiliation: types::Affiliation::default(),
        token_sha256: None,
        public_key: None,
        revoked: false,
        changed: types::Hlc::default(),
    };
    let viewer = crate::request::Viewer {
        agent: "root".parse().unwrap(),
        audiences: Vec::new(),
        attest: types::audit::AttestLevel::Node,
        operator: true,
    };
    let request = crate::request::WriteRequest {
        viewer,
        now_ms: super::NOW_MS,
        fence: 0,
        idempotency: None,
        intents: vec![crate::request::Intent::Agent(Box::new(agent))],
        atomic: true,
        quota: None,
        reflection_depth_max: 3,
    };
    rig.store.write(request).await.unwrap();
}

#[tokio::test]
async fn what_is_no_manifest_is_refused_by_name() {
    let rig = Rig::new();
    rig.fill(1).await;
    backed_up(&rig).await;
    let file = rig.path("backup").join(backup::MANIFEST_FILE);
    let good = std::fs::read_to_string(&file).unwrap();
    let wrong = [
        good.replace("\"format\": 1", "\"format\": 2"),
        good.replace("hivemem.db", "../data/hivemem.db"),
        good.replace("\"position\"", "\"place\""),
        "{".to_owned(),
    ];
    for text in wrong {
        assert_ne!(text, good);
        std::fs::write(&file, &text).unwrap();
        let refusal = backup::verify_backup(&OsDisk, &rig.path("backup")).unwrap_err();
        assert!(matches!(refusal, BackupError::Manifest { .. }), "{refusal}");
        assert!(refusal.to_string().contains(backup::MANIFEST_FILE), "{refusal}");
    }
    let (known, next) = (schema::VERSION, schema::VERSION + 1);
    let version = |version: i64| format!("\"schema_version\": {version}");
    let newer = good.replace(&version(known), &version(next));
    assert_ne!(newer, good);
    std::fs::write(&file, newer).unwrap();
    let refusal = backup::verify_backup(&OsDisk, &rig.path("backup")).unwrap_err();
    assert!(matches!(refusal, BackupError::Newer { found, .. } if found == next), "{refusal}");
}
