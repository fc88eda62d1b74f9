//! Groups on the disk that fails on purpose: power cuts, a full disk, an I/O error.
//!
//! The power cuts drive the writer's own transaction without its worker, because the worker's answer to
//! such an error is to end the process; what a restart finds is checked in the same process.

use std::{collections::BTreeSet, path::Path};

use runtime::disk::faulty::{Fault, Generator, Loss, When};
use types::{Reason, Scope};

use super::{
    machine::{FOLDER, Machine, commit},
    world::*,
};
use crate::{
    port::WriteStore,
    request::Intent,
    rows::{row, write::writer::Writer},
    sqlite::{checkpoint, open_store},
};

/// What is in the store, after checking that it fits together.
fn inspect(writer: &Writer) -> BTreeSet<u128> {
    assert_eq!(writer.broken, None, "the chain holds");
    let connection = writer.connection.as_ref().unwrap();
    let ops = count(connection.as_sqlite().unwrap(), "ops");
    assert_eq!(count(connection.as_sqlite().unwrap(), "signed_events"), ops, "FLU-1");
    let paired = "ops o JOIN signed_events e ON e.sequence = o.position AND e.seq = o.seq";
    assert_eq!(count(connection.as_sqlite().unwrap(), paired), ops, "FLU-1");
    let last: i64 =
        connection.query_row("SELECT coalesce(max(seq), 0) FROM ops", [], |r| r.get(0)).unwrap();
    assert_eq!(last, ops, "OP-2");
    let sql = format!("SELECT {} FROM memories", row::STORED_COLUMNS);
    let mut statement = connection.prepare_cached(&sql).unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut numbers = BTreeSet::new();
    while let Some(found) = rows.next().unwrap() {
        let stored = row::stored(found).unwrap();
        numbers.insert(stored.record.id.0.as_u128() & 0xffff_ffff);
    }
    assert_eq!(
        writer.recall.indexes().unwrap().serving().recall.snapshot().live() as usize,
        numbers.len(),
        "STO-3"
    );
    numbers
}

fn cut_power(seed: u64) -> (u64, u64) {
    let machine = Machine::new(seed);
    let mut chance = Generator::new(seed);
    let (mut next, mut acknowledged) = (1u128, BTreeSet::new());
    let (mut cuts, mut kept_in_doubt) = (0, 0);
    for _ in 0..4 {
        let losses = [Loss::All, Loss::Prefix, Loss::Subset, Loss::Torn];
        let loss = losses[chance.below(losses.len() as u64) as usize];
        machine.disk.inject(Fault::PowerCut(loss), When::Nth(1 + chance.below(250)), "");
        let mut doubtful: Vec<u128> = Vec::new();
        let mut dead = machine.boot().ok();
        while let Some(writer) = &mut dead {
            let group: Vec<u128> = (next..next + 1 + u128::from(chance.below(7))).collect();
            next += group.len() as u128;
            if commit(writer, &group).is_err() {
                assert!(machine.disk.is_off(), "only the cut may fail a commit");
                doubtful = group;
                break;
            }
            acknowledged.extend(group);
            let connection = writer.connection.as_ref().unwrap();
            if chance.below(5) == 0
                && checkpoint::run(connection.as_sqlite().unwrap(), checkpoint::Extent::WhatIsFree)
                    .is_err()
            {
                break;
            }
        }
        assert!(machine.disk.is_off());
        machine.disk.power_on();
        cuts += 1;
        let writer = machine.boot().unwrap();
        let found = inspect(&writer);
        let missing: Vec<&u128> = acknowledged.difference(&found).collect();
        assert!(missing.is_empty(), "seed {seed}: acknowledged and gone: {missing:?}");
        let extra: Vec<u128> = found.difference(&acknowledged).copied().collect();
        assert!(extra.is_empty() || extra == doubtful, "seed {seed}: half a group: {extra:?}");
        kept_in_doubt += u64::from(!extra.is_empty());
        acknowledged = found;
        // The dead boot's handles close after the new boot has begun: they must do nothing.
        drop(dead);
        drop(writer);
    }
    (cuts, kept_in_doubt)
}

#[test]
fn a_power_cut_never_loses_an_acknowledged_write_nor_leaves_half_a_group() {
    let (mut cuts, mut kept) = (0, 0);
    for seed in 1..=60 {
        let (more, in_doubt) = cut_power(seed);
        cuts += more;
        kept += in_doubt;
    }
    assert_eq!(cuts, 240);
    assert!(kept < cuts, "some cuts come before the commit");
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_kept_and_the_node_goes_on() {
    let machine = Machine::new(7);
    let ann = viewer("ann");
    let store = open_on(machine.disk.shared(), Path::new(FOLDER));
    put(&store, &ann, 1, "before").await;
    machine.disk.set_capacity_bytes(machine.disk.used_bytes() + 20_000);
    let mut refused = 0;
    for number in 2..40u128 {
        let batch = (0..5).map(|part| {
            store_intent(memory(
                &ann,
                number * 10 + part,
                &format!("m{number}.{part}"),
                Scope::Private,
            ))
        });
        match store.write(request(&ann, batch.collect())).await {
            Ok(_) => assert_eq!(refused, 0, "space does not come back by itself"),
            result => {
                assert_eq!(rejected(result).reason, Reason::StorageFull);
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "the disk was large enough for everything");
    let position = *store.position().borrow();
    machine.disk.set_capacity_bytes(1 << 30);
    put(&store, &ann, 9_999, "after").await;
    assert_eq!(*store.position().borrow(), position + 1, "WRT-2");
    store.close().await.unwrap();
    drop(store);
    let writer = machine.boot().unwrap();
    assert_eq!(inspect(&writer).len() as u64, position + 1);
}

#[tokio::test]
async fn short_of_space_only_what_makes_room_is_let_in() {
    let machine = Machine::new(8);
    let ann = viewer("ann");
    let mut config = config();
    config.reserve_bytes = 10_000_000;
    machine.disk.set_capacity_bytes(1 << 30);
    let store = open_store(machine.disk.shared(), Path::new(FOLDER), config).unwrap();
    put(&store, &ann, 1, "one").await;
    machine.disk.set_capacity_bytes(machine.disk.used_bytes() + 9_000_000);
    let new = memory(&ann, 2, "two", Scope::Private);
    let reject = rejected(store.write(request(&ann, vec![store_intent(new)])).await);
    assert_eq!(reject.reason, Reason::StorageFull);
    let delete = Intent::Delete { id: full(1), reason: String::new(), expected_version: None };
    act(&store, &ann, delete).await.unwrap();
    store.close().await.unwrap();
}

/// Names the child process of the test below.
const CHILD: &str = "HIVEMEM_TEST_CHILD_FAILS_A_SYNC";

#[test]
fn a_failed_sync_ends_the_process_before_anything_is_acknowledged() {
    let name = "rows::write::tests::faults::a_failed_sync_ends_the_process_before_anything_is_acknowledged";
    if std::env::var_os(CHILD).is_some() {
        return fail_a_sync();
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(!child.status.success(), "{said}");
    assert!(said.contains("fatal: a commit failed"), "SQL-2: {said}");
    let printed = String::from_utf8_lossy(&child.stdout);
    assert!(!printed.contains("acknowledged"), "STO-1: {printed}");
}

fn fail_a_sync() {
    let machine = Machine::new(9);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let ann = viewer("ann");
        let store = open_on(machine.disk.shared(), Path::new(FOLDER));
        put(&store, &ann, 1, "fine").await;
        machine.disk.inject(Fault::SyncEio, When::Nth(1), "-wal");
        put(&store, &ann, 2, "lost").await;
        println!("acknowledged");
    });
}
