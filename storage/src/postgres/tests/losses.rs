//! Servers that are killed, replaced by their standby, and full: nothing that was acknowledged is lost.

use std::os::unix::fs::MetadataExt;

use types::Reason;

use super::*;
use crate::sqlite::tests::config as plain;

fn impatient(url: &str) -> PostgresConfig {
    PostgresConfig { acquire_timeout: Duration::from_millis(500), ..PostgresConfig::new(url) }
}

/// Stores numbers until it is told to stop; gives those that were acknowledged, and those of which nobody knows.
async fn write_on(
    node: &RowStore,
    mut goes_on: impl FnMut(u128) -> bool,
) -> (Vec<u128>, Vec<u128>) {
    let (mut kept, mut unknown) = (Vec::new(), Vec::new());
    let mut number = 0;
    while goes_on(number) {
        match put(node, number).await {
            Ok(receipt) if receipt.results[0].is_ok() => kept.push(number),
            Ok(receipt) => panic!("{receipt:?}"),
            Err(error) if error.reason() == Reason::OutcomeUnknown => unknown.push(number),
            Err(error) => {
                assert_eq!(error.reason(), Reason::StorageUnavailable, "{error}");
                clock::sleep(Duration::from_millis(10)).await;
            }
        }
        number += 1;
    }
    (kept, unknown)
}

/// What was acknowledged is there; what was refused is not.
async fn agrees(node: &RowStore, (kept, unknown): &(Vec<u128>, Vec<u128>)) {
    let all = kept.iter().chain(unknown).max().copied().unwrap_or(0);
    for number in 0..=all {
        if !unknown.contains(&number) {
            assert_eq!(has(node, number).await, kept.contains(&number), "{number}");
        }
    }
    is_whole(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_comes_back_with_all_that_was_acknowledged() {
    if !can_start_a_server() {
        return;
    }
    let server = blocking::run(Server::new).await;
    let url = server.does("env")["URL"].clone();
    let node = Daemon::new(&impatient(&url), plain()).await;
    let (done, is_done) = tokio::sync::watch::channel(false);
    let mischief = async {
        for _ in 0..3 {
            let position = *node.position().borrow();
            node.position().wait_for(|now| *now >= position + 30).await.unwrap();
            blocking::run({
                let path = server.path();
                move || {
                    script("server.sh", &["kill", &path.to_string_lossy()]);
                    script("server.sh", &["start", &path.to_string_lossy()]);
                }
            })
            .await;
        }
        soon("a write after it", async || put(&node, 1 << 40).await.is_ok()).await;
        done.send_replace(true);
    };
    let (told, ()) = tokio::join!(write_on(&node, |_| !*is_done.borrow()), mischief);
    println!("{} acknowledged, {} unknown", told.0.len(), told.1.len());
    assert!(told.0.len() >= 90);
    agrees(&node, &told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_promoted_is_found() {
    if !can_start_a_server() {
        return;
    }
    let server = blocking::run(Server::new).await;
    let path = server.path();
    let (primary, standby) = blocking::run(move || {
        let words =
            |command: &str| settings(&script("server.sh", &[command, &path.to_string_lossy()]));
        words("start");
        let told = words("standby");
        (told["URL"].clone(), (told["STANDBY_URL"].clone(), told["ADMIN_URL"].clone()))
    })
    .await;
    let (standby, admin) = standby;
    // Only what both have is acknowledged.
    let both = "ALTER SYSTEM SET synchronous_standby_names = 'standby'";
    ask(&admin, &[both, "SELECT pg_reload_conf()"]).await;
    let host = standby.rsplit_once('@').unwrap().1.split_once('/').unwrap().0;
    let (before, database) = primary.rsplit_once('/').unwrap();
    let either = impatient(&format!("{before},{host}/{database}"));
    let node = Daemon::new(&either, plain()).await;
    let (done, is_done) = tokio::sync::watch::channel(false);
    let mischief = async {
        node.position().wait_for(|now| *now >= 50).await.unwrap();
        let path = server.path();
        blocking::run(move || {
            script("server.sh", &["kill", &path.to_string_lossy()]);
            script("server.sh", &["promote", &path.to_string_lossy()]);
        })
        .await;
        soon("a write on the other", async || put(&node, 1 << 40).await.is_ok()).await;
        done.send_replace(true);
    };
    let (told, ()) = tokio::join!(write_on(&node, |_| !*is_done.borrow()), mischief);
    println!("{} acknowledged, {} unknown", told.0.len(), told.1.len());
    assert!(told.0.len() >= 50);
    agrees(&node, &told).await;
    // And it is found at a start too.
    let node = node.again(&either, plain()).await;
    agrees(&node, &told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_room_says_so_and_goes_on_when_it_has_some() {
    if !can_start_a_server() {
        return;
    }
    let server = blocking::run(Server::new).await;
    let told = server.does("env");
    let small = server.path().join("server/small");
    let mounted = blocking::run({
        let (path, small) = (server.path(), small.clone());
        move || {
            script("server.sh", &["stop", &path.to_string_lossy()]);
            std::fs::create_dir(&small).unwrap();
            let owner = std::fs::metadata(path.join("server/primary")).unwrap().uid();
            let options = format!("size=24m,mode=700,uid={owner},gid={owner}");
            let mount = ["-t", "tmpfs", "-o", &options, "tmpfs"];
            let done = Command::new("mount").args(mount).arg(&small).output().unwrap();
            script("server.sh", &["start", &path.to_string_lossy()]);
            done.status.success()
        }
    })
    .await;
    if !mounted {
        println!("skipped: no small file system can be mounted here");
        return;
    }
    let mount = Mount(small);
    let admin = &told["ADMIN_URL"];
    let admin = format!("{}/postgres", admin.rsplit_once('/').unwrap().0);
    let place = "CREATE TABLESPACE small OWNER hivemem LOCATION '/server/small'";
    let database = "CREATE DATABASE tight OWNER hivemem TEMPLATE hivemem_template TABLESPACE small";
    ask(&admin, &[place, database]).await;
    let url = format!("{}/tight", told["URL"].rsplit_once('/').unwrap().0);
    let node = Daemon::new(&impatient(&url), plain()).await;
    let mut kept = 0;
    let refused = loop {
        match node.write(storing(kept, 60_000)).await {
            Ok(receipt) if receipt.results[0].is_ok() => kept += 1,
            Ok(receipt) => panic!("{receipt:?}"),
            Err(error) => break error,
        }
        assert!(kept < 2000, "it never gets full");
    };
    assert_eq!(refused.reason(), Reason::StorageFull, "{refused}");
    assert!(!has(&node, kept).await && has(&node, kept - 1).await);
    // Somebody makes room.
    let larger = ["-o", "remount,size=200m"];
    assert!(Command::new("mount").args(larger).arg(&mount.0).status().unwrap().success());
    let receipt = node.write(storing(kept, 60_000)).await.unwrap();
    assert!(receipt.results[0].is_ok() && !receipt.replayed);
    for number in 0..=kept {
        assert!(has(&node, number).await, "{number}");
    }
    is_whole(&node).await;
}

/// Unmounted before the server's folder is removed.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(done.unwrap().success());
    }
}
