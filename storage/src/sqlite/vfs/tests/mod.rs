//! SQLite itself on the faulty disk: what survives, what does not, and that nothing else escapes
//! the seed.

mod crash;
mod wal;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use runtime::disk::Disk;
use runtime::disk::faulty::{FaultyDisk, Generator};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::{SimVfs, seed_sqlite_prng};

/// A fixed wall clock: 2023-11-14T22:13:20Z.
const NOW_UNIX_MS: u64 = 1_700_000_000_000;

/// One simulated machine with a database path on it.
struct Machine {
    disk: FaultyDisk,
    vfs: SimVfs,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let disk = FaultyDisk::new(seed);
        disk.create_dir_all(Path::new("data")).unwrap();
        let vfs = SimVfs::register(&disk, seed, || NOW_UNIX_MS);
        Machine { disk, vfs }
    }

    /// A connection in WAL mode. The switch is stepped to its end: the row that says "wal" comes
    /// before the switch is committed, and `query_row` drops the error of that commit.
    fn connect(&self, synchronous: &str) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags_and_vfs("data/db", flags, self.vfs.name())?;
        connection.busy_timeout(Duration::from_millis(50))?;
        let modes = connection
            .prepare("PRAGMA journal_mode=WAL")?
            .query_map([], |row| row.get::<_, String>(0))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        assert_eq!(modes, ["wal"]);
        connection.execute_batch(&format!("PRAGMA synchronous={synchronous}"))?;
        connection.execute_batch("PRAGMA temp_store=MEMORY")?;
        Ok(connection)
    }
}

/// What the database must contain, kept outside of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    sequence: i64,
    rows: BTreeMap<i64, Vec<u8>>,
}

fn create_schema(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "BEGIN;
         CREATE TABLE IF NOT EXISTS rows(key INTEGER PRIMARY KEY, value BLOB);
         CREATE TABLE IF NOT EXISTS progress(id INTEGER PRIMARY KEY CHECK(id = 1), sequence INT);
         INSERT OR IGNORE INTO progress VALUES(1, 0);
         COMMIT",
    )
}

impl Model {
    /// Reads the model back; a database without schema is the empty model.
    fn read(connection: &Connection) -> rusqlite::Result<Model> {
        let exists = "SELECT count(*) FROM sqlite_schema WHERE name = 'progress'";
        if connection.query_row(exists, [], |row| row.get::<_, i64>(0))? == 0 {
            return Ok(Model::default());
        }
        let sequence =
            connection.query_row("SELECT sequence FROM progress", [], |row| row.get(0))?;
        let rows = connection
            .prepare("SELECT key, value FROM rows ORDER BY key")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Model { sequence, rows })
    }

    /// Runs one random transaction; returns the state it makes if it commits, and whether it did.
    fn transact(
        &self,
        connection: &mut Connection,
        chance: &mut Generator,
    ) -> (Model, rusqlite::Result<()>) {
        let mut next = self.clone();
        next.sequence += 1;
        let mut run = || {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for _ in 0..1 + chance.below(6) {
                let key = chance.below(60) as i64;
                if chance.below(4) == 0 {
                    transaction.execute("DELETE FROM rows WHERE key = ?", [key])?;
                    next.rows.remove(&key);
                    continue;
                }
                let longest = if chance.below(10) == 0 { 9000 } else { 200 };
                let len = chance.below(longest);
                let value: Vec<u8> = (0..len).map(|_| chance.next_u64() as u8).collect();
                let insert = "INSERT OR REPLACE INTO rows VALUES(?, ?)";
                transaction.prepare_cached(insert)?.execute(params![key, value])?;
                next.rows.insert(key, value);
            }
            transaction.execute("UPDATE progress SET sequence = ?", [next.sequence])?;
            transaction.commit()
        };
        let result = run();
        (next, result)
    }
}

fn is_intact(connection: &Connection) -> rusqlite::Result<bool> {
    let answer: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    Ok(answer == "ok")
}
