//! Many connections on one file: snapshots, locks, stale connections, errors, the clock.

use std::sync::atomic::{AtomicBool, Ordering};

use runtime::disk::DiskFile;
use runtime::disk::OpenMode;
use runtime::disk::faulty::{Fault, Loss, When};

use super::*;

fn count(connection: &Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

fn table(machine: &Machine) -> Connection {
    let connection = machine.connect("FULL").unwrap();
    connection.execute_batch("CREATE TABLE t(n INT); PRAGMA wal_autocheckpoint=20").unwrap();
    connection
}

#[test]
fn a_snapshot_stays_while_the_writer_goes_on() {
    let machine = Machine::new(1);
    let writer = table(&machine);
    let readers: Vec<Connection> = (0..4).map(|_| machine.connect("FULL").unwrap()).collect();
    let mut seen = [0; 4];
    for i in 0..400 {
        let reader = &readers[i % 4];
        if reader.is_autocommit() {
            reader.execute_batch("BEGIN").unwrap();
            seen[i % 4] = count(reader);
        }
        writer.execute("INSERT INTO t VALUES(?)", [i as i64]).unwrap();
        assert_eq!(count(reader), seen[i % 4]);
        if i % 9 == 0 {
            reader.execute_batch("COMMIT").unwrap();
            assert_eq!(count(reader), i as i64 + 1);
        }
    }
    assert!(machine.disk.file_len(Path::new("data/db-wal")).unwrap().is_some());
}

#[test]
fn readers_on_other_threads_see_only_whole_transactions() {
    let machine = Machine::new(2);
    let mut writer = table(&machine);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let reader = machine.connect("FULL").unwrap();
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(count(&reader) % 3, 0);
                }
            });
        }
        for i in 0..300 {
            let transaction = writer.transaction().unwrap();
            for _ in 0..3 {
                transaction.execute("INSERT INTO t VALUES(?)", [i]).unwrap();
            }
            transaction.commit().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(count(&writer), 900);
}

#[test]
fn a_second_writer_is_refused_without_sleeping_and_owes_the_time() {
    let machine = Machine::new(3);
    let first = table(&machine);
    let second = machine.connect("FULL").unwrap();
    machine.disk.take_latency();
    first.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = second.execute("INSERT INTO t VALUES(1)", []).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
    assert!(machine.disk.take_latency() >= Duration::from_millis(50));
    first.execute_batch("ROLLBACK").unwrap();
    second.execute("INSERT INTO t VALUES(1)", []).unwrap();
}

#[test]
fn a_connection_of_a_dead_boot_changes_nothing_even_when_it_is_closed() {
    let machine = Machine::new(4);
    let stale = table(&machine);
    stale.execute("INSERT INTO t VALUES(1)", []).unwrap();
    machine.disk.crash_process();
    let before = machine.disk.dump(Path::new("data/db-wal")).unwrap();
    assert!(stale.execute("INSERT INTO t VALUES(2)", []).is_err());
    // Closing the last connection would checkpoint and delete the WAL.
    drop(stale);
    assert_eq!(machine.disk.dump(Path::new("data/db-wal")).unwrap(), before);
    assert_eq!(count(&machine.connect("FULL").unwrap()), 1);
}

#[test]
fn errors_of_the_disk_reach_sqlite_under_their_own_names() {
    use rusqlite::ErrorCode;
    let machine = Machine::new(5);
    let connection = table(&machine);
    // Each larger than the last: frames of a failed commit are reused and would not grow the WAL.
    let insert = |blob_bytes: i64| {
        let failed = connection.execute("INSERT INTO t VALUES(zeroblob(?))", [blob_bytes]);
        failed.unwrap_err().sqlite_error_code()
    };
    machine.disk.inject(Fault::SyncEio, When::Nth(1), "-wal");
    assert_eq!(insert(100), Some(ErrorCode::SystemIoFailure));
    machine.disk.inject(Fault::WriteEio, When::Nth(1), "-wal");
    assert_eq!(insert(1_000), Some(ErrorCode::SystemIoFailure));
    machine.disk.set_capacity_bytes(machine.disk.used_bytes());
    assert_eq!(insert(100_000), Some(ErrorCode::DiskFull));
    machine.disk.set_capacity_bytes(u64::MAX);
    connection.execute("INSERT INTO t VALUES(1)", []).unwrap();
    assert_eq!(count(&connection), 1);
}

#[test]
fn the_name_of_a_new_wal_survives_a_power_cut() {
    let machine = Machine::new(6);
    drop(machine.connect("FULL").unwrap());
    machine.disk.sync_dir(Path::new("data")).unwrap();
    let connection = table(&machine);
    connection.execute("INSERT INTO t VALUES(1)", []).unwrap();
    machine.disk.power_loss(Loss::All);
    assert_eq!(count(&machine.connect("FULL").unwrap()), 1);
}

#[test]
fn the_clock_is_the_nodes_own_and_large_sorts_work_in_temporary_files() {
    let machine = Machine::new(7);
    let connection = table(&machine);
    let now: String = connection.query_row("SELECT datetime('now')", [], |row| row.get(0)).unwrap();
    assert_eq!(now, "2023-11-14 22:13:20");
    connection.execute_batch("PRAGMA temp_store=FILE; PRAGMA cache_size=5").unwrap();
    let many = "WITH RECURSIVE i(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM i WHERE x < 20000)
                INSERT INTO t SELECT (x * 7919) % 20000 FROM i";
    connection.execute(many, []).unwrap();
    let sorted = "SELECT max(n) FROM (SELECT n FROM t ORDER BY n, randomblob(200))";
    let max: i64 = connection.query_row(sorted, [], |row| row.get(0)).unwrap();
    assert_eq!(max, 19_999);
}

#[test]
fn a_vfs_is_gone_with_its_last_connection() {
    let machine = Machine::new(8);
    let name = machine.disk.sqlite_vfs().unwrap();
    assert_eq!(name, machine.vfs.name());
    let connection = table(&machine);
    let disk = machine.disk.clone();
    drop(machine);
    connection.execute("INSERT INTO t VALUES(1)", []).unwrap();
    drop(connection);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    assert!(Connection::open_with_flags_and_vfs("data/db", flags, name.as_str()).is_err());
    assert!(disk.open_file(Path::new("data/db"), OpenMode::ReadOnly).unwrap().len().unwrap() > 0);
}
