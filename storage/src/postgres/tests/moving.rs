//! Moving memories from a file into a database and back (`MOV-1` to `MOV-3`).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::AtomicBool,
};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::{
    steps::{Plan, steps, viewers},
    *,
};
use crate::{
    moving::{self, MoveError, Moved, Progress, Way, tables},
    request::{CandidateQuery, ComputedVector, ListQuery, MemoryFilter},
    sqlite,
};

/// Sequences that are tried.
const SEQUENCES: u32 = 8;

fn plan(way: Way, folder: &Path, server: &PostgresConfig) -> moving::Plan {
    let (folder, server) = (folder.to_path_buf(), server.clone());
    moving::Plan { way, folder, server, space: config().space, waits: false }
}

async fn moves(plan: moving::Plan) -> Result<Moved, MoveError> {
    blocking::run(move || moving::run(&OsDisk::shared(), &plan, &mut |_| {})).await
}

fn lite(folder: &Path) -> RowStore {
    sqlite::open_store(OsDisk::shared(), folder, config()).unwrap()
}

async fn end(store: RowStore) {
    store.close().await.unwrap();
}

/// What a store answers, but for figures of the database itself.
async fn answers(store: &RowStore, now_ms: u64) -> Vec<String> {
    let mut all = vec![
        format!("{:?}", store.content_digest().await),
        format!("{:?}", store.audit_rows(0, None, 9999).await),
        format!("{:?}", store.feeds().await),
        format!("{:?}", store.changes(Reader::Operator, 0, 9999).await),
        format!("{:?}", store.agents().await),
    ];
    let stats = store.stats().await.unwrap();
    all.push(format!("{:?}", (stats.memories, stats.archived, stats.tombstones, stats.vectors)));
    for viewer in viewers() {
        let reader = Reader::Agent(&viewer);
        let (filter, archived, after) = (MemoryFilter::default(), false, None);
        let list = ListQuery { filter, archived, after, limit: 500, now_ms };
        all.push(format!("{:?}", store.list(reader, list).await));
        let query = CandidateQuery {
            text: "harbour lights at night".into(),
            vector: config().space.vectorizer.and_then(|letters| letters.vector("harbour lights")),
            filter: MemoryFilter::default(),
            depth: 500,
            now_ms,
            explain: false,
        };
        let found = store.candidates(reader, query).await.unwrap();
        let mut ids: Vec<MemoryId> = found.items.iter().map(|item| item.memory.id).collect();
        ids.sort();
        all.push(format!("{ids:?}"));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn random_memories_are_moved_there_and_back() {
    if !can_have_a_server() {
        return;
    }
    blocking::run(|| {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[42; 32]);
        let mut runner = TestRunner::new_with_rng(
            Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() },
            rng,
        );
        let handle = tokio::runtime::Handle::current();
        let tried = runner.run(&(steps(), steps()), |(first, second)| {
            handle.block_on(there_and_back(&first, &second))
        });
        tried.unwrap_or_else(|error| panic!("{error}"));
    })
    .await;
}

async fn there_and_back(
    first: &[super::steps::Step],
    second: &[super::steps::Step],
) -> Result<(), TestCaseError> {
    let (folder, postgres) = (TempDir::new().unwrap(), database().await);
    let (path, mut asked) = (folder.path(), Plan::default());
    let here = lite(path);
    let node = here.node_id();
    for step in first {
        let _ = here.write(asked.request(step)).await;
    }
    let before = answers(&here, asked.now_ms()).await;
    end(here).await;
    let moved = moves(plan(Way::ToServer, path, &postgres)).await.unwrap();
    let there = open(path, &postgres, config()).await.unwrap();
    prop_assert_eq!(there.node_id(), node, "MOV-3");
    prop_assert_eq!(&answers(&there, asked.now_ms()).await, &before, "MOV-3");
    prop_assert_eq!(there.content_digest().await.unwrap(), moved.content_digest);
    is_whole(&there).await;
    for step in second {
        let _ = there.write(asked.request(step)).await;
    }
    let after = answers(&there, asked.now_ms()).await;
    end(there).await;
    moves(plan(Way::ToFile, path, &postgres)).await.unwrap();
    let back = lite(path);
    prop_assert_eq!(back.node_id(), node, "MOV-3");
    prop_assert_eq!(&answers(&back, asked.now_ms()).await, &after, "MOV-3");
    is_whole(&back).await;
    end(back).await;
    Ok(())
}

/// A file with so many memories.
async fn file_of(folder: &Path, memories: u128) {
    let here = lite(folder);
    for number in 0..memories {
        assert!(put(&here, number).await.unwrap().results[0].is_ok());
    }
    end(here).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_cut_off_anywhere_goes_on() {
    if !can_have_a_server() {
        return;
    }
    let (folder, postgres) = (TempDir::new().unwrap(), database().await);
    let path = folder.path();
    file_of(path, 40).await;
    for way in [Way::ToServer, Way::ToFile] {
        // Each try comes a step further than the one before.
        for further in 1.. {
            let (plan, mut left) = (plan(way, path, &postgres), further);
            let done = blocking::run(move || {
                let mut tell = |_: Progress| {
                    left -= 1;
                    assert!(left > 0, "cut off, on purpose");
                };
                let run = || moving::run(&OsDisk::shared(), &plan, &mut tell);
                catch_unwind(AssertUnwindSafe(run)).ok()
            })
            .await;
            match done {
                Some(done) => {
                    assert!(further > 20, "it was cut off {further} times");
                    done.unwrap();
                    break;
                }
                // MOV-2: what is not finished is not opened, and the source still is.
                None if way == Way::ToServer && further > 2 => {
                    let elsewhere = TempDir::new().unwrap();
                    let refused = open(elsewhere.path(), &postgres, config()).await.map(drop);
                    let refused = refused.unwrap_err().to_string();
                    assert!(refused.contains("unfinished copy"), "{refused}");
                }
                None => {}
            }
        }
        if way == Way::ToServer {
            let there = open(path, &postgres, config()).await.unwrap();
            is_whole(&there).await;
            assert!(put(&there, 77).await.unwrap().results[0].is_ok());
            end(there).await;
        }
    }
    let back = lite(path);
    for number in (0..40).chain([77]) {
        assert!(has(&back, number).await, "{number}");
    }
    is_whole(&back).await;
    end(back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_on_while_its_memories_are_copied() {
    if !can_have_a_server() {
        return;
    }
    let (folder, postgres) = (TempDir::new().unwrap(), database().await);
    let path = folder.path();
    for way in [Way::ToServer, Way::ToFile] {
        let first = if way == Way::ToServer { 0 } else { 1000 };
        let store = match way {
            Way::ToServer => lite(path),
            Way::ToFile => open(path, &postgres, config()).await.unwrap(),
        };
        for number in first..first + 30 {
            assert!(put(&store, number).await.unwrap().results[0].is_ok());
        }
        let refused = moves(plan(way, path, &postgres)).await.unwrap_err();
        assert!(matches!(refused, MoveError::Running { .. }), "{refused}");
        let waiting = Arc::new(AtomicBool::new(false));
        let moving = task_of(moving::Plan { waits: true, ..plan(way, path, &postgres) }, &waiting);
        let mut next = first + 30;
        while !waiting.load(Ordering::Acquire) {
            assert!(put(&store, next).await.unwrap().results[0].is_ok());
            next += 1;
        }
        // Behind what was copied.
        for number in next..next + 20 {
            assert!(put(&store, number).await.unwrap().results[0].is_ok());
        }
        let digest = store.content_digest().await.unwrap();
        end(store).await;
        let moved = moving.await.unwrap().unwrap();
        assert_eq!(moved.content_digest, digest, "MOV-1");
        let store = match way {
            Way::ToServer => open(path, &postgres, config()).await.unwrap(),
            Way::ToFile => lite(path),
        };
        for number in first..next + 20 {
            assert!(has(&store, number).await, "{way:?}: {number}");
        }
        is_whole(&store).await;
        end(store).await;
    }
}

fn task_of(
    plan: moving::Plan,
    waiting: &Arc<AtomicBool>,
) -> runtime::task::JoinHandle<Result<Moved, MoveError>> {
    let waiting = waiting.clone();
    runtime::task::spawn_named("moving", async move {
        blocking::run(move || {
            moving::run(&OsDisk::shared(), &plan, &mut |progress| {
                if matches!(progress, Progress::Waiting { .. }) {
                    waiting.store(true, Ordering::Release);
                }
            })
        })
        .await
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_moves_and_a_late_one_ends() {
    if !can_have_a_server() {
        return;
    }
    let (folder, postgres) = (TempDir::new().unwrap(), database().await);
    let copy = TempDir::new().unwrap();
    file_of(folder.path(), 200).await;
    std::fs::copy(folder.path().join("hivemem.db"), copy.path().join("hivemem.db")).unwrap();
    // While one is on its way another one begins in the same folder, and a third one, from a copy of it, comes to its end.
    let (first, third) = (
        plan(Way::ToServer, folder.path(), &postgres),
        plan(Way::ToServer, copy.path(), &postgres),
    );
    let (second, mut met) = (first.clone(), false);
    let late = blocking::run(move || {
        let mut tell = |_: Progress| {
            if std::mem::replace(&mut met, true) {
                return;
            }
            let refused = moving::run(&OsDisk::shared(), &second, &mut |_| {}).unwrap_err();
            assert!(refused.to_string().contains("hivemem.moving.lock is in use"), "{refused}");
            moving::run(&OsDisk::shared(), &third, &mut |_| {}).unwrap();
        };
        moving::run(&OsDisk::shared(), &first, &mut tell).unwrap_err()
    })
    .await;
    assert!(late.to_string().contains("is in use already"), "MOV-2: {late}");
    let there = open(copy.path(), &postgres, config()).await.unwrap();
    is_whole(&there).await;
    let here = lite(folder.path());
    assert!(has(&here, 199).await, "it is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn memories_are_not_moved_over_others() {
    if !can_have_a_server() {
        return;
    }
    let (postgres, empty) = (database().await, TempDir::new().unwrap());
    let nothing = moves(plan(Way::ToServer, empty.path(), &postgres)).await.unwrap_err();
    assert!(nothing.to_string().contains("no such file"), "{nothing}");
    let nothing = moves(plan(Way::ToFile, empty.path(), &postgres)).await.unwrap_err();
    assert!(nothing.to_string().contains("no node was started"), "{nothing}");
    let other = Daemon::new(&postgres, config()).await;
    let folder = TempDir::new().unwrap();
    file_of(folder.path(), 3).await;
    let taken = moves(plan(Way::ToServer, folder.path(), &postgres)).await.unwrap_err();
    assert!(taken.to_string().contains("has memories already"), "MOV-2: {taken}");
    let taken = moves(plan(Way::ToFile, folder.path(), &postgres)).await.unwrap_err();
    assert!(taken.to_string().contains("is there already"), "MOV-2: {taken}");
    drop(other);
    // Nothing of it was touched, and it is refused where it was once it has gone.
    let here = lite(folder.path());
    assert!(has(&here, 2).await);
    end(here).await;
    // A node's limits are not those of a move.
    let statement_timeout = Duration::from_millis(1);
    let fresh = PostgresConfig { statement_timeout, ..database().await };
    let moved = moves(plan(Way::ToServer, folder.path(), &fresh)).await.unwrap();
    let fresh = PostgresConfig::new(&fresh.url);
    assert!(moved.left.ends_with("hivemem.db.moved"), "{}", moved.left);
    let gone = sqlite::open_store(OsDisk::shared(), folder.path(), config()).map(drop).unwrap_err();
    assert!(gone.to_string().contains("set storage.url"), "FLD-1: {gone}");
    let again = moves(plan(Way::ToServer, folder.path(), &fresh)).await.unwrap_err();
    assert!(again.to_string().contains("moved before"), "{again}");
    // Back into another folder, which then is that of the node.
    let elsewhere = TempDir::new().unwrap();
    moves(plan(Way::ToFile, elsewhere.path(), &fresh)).await.unwrap();
    let back = lite(elsewhere.path());
    assert!(has(&back, 2).await);
    end(back).await;
    let gone = open(folder.path(), &fresh, config()).await.map(drop).unwrap_err();
    assert!(gone.to_string().contains("moved into a file"), "FLD-1: {gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_of_a_model_are_moved_bit_for_bit() {
    if !can_have_a_server() {
        return;
    }
    let (folder, postgres) = (TempDir::new().unwrap(), database().await);
    let mut slow = config();
    slow.space.vectorizer = None;
    let here = sqlite::open_store(OsDisk::shared(), folder.path(), slow.clone()).unwrap();
    for number in 0..9 {
        assert!(put(&here, number).await.unwrap().results[0].is_ok());
    }
    let pending = here.take_texts(100, NOW_MS, 0).await.unwrap();
    assert_eq!(pending.len(), 9);
    let computed = pending.iter().take(7).enumerate().map(|(at, text)| ComputedVector {
        id: text.id,
        text_sha256: text.text_sha256,
        values: (0..32).map(|part| ((at * 32 + part) as f32).sin()).collect(),
    });
    assert_eq!(here.put_vectors(computed.collect()).await.unwrap(), 7);
    end(here).await;
    let halves = |path: &Path| {
        let file = rusqlite::Connection::open(path).unwrap();
        let mut statement = file.prepare("SELECT row, halves FROM vectors ORDER BY row").unwrap();
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
        statement.query_map([], read).unwrap().collect::<Result<Vec<_>, _>>().unwrap()
    };
    let to =
        moving::Plan { space: slow.space.clone(), ..plan(Way::ToServer, folder.path(), &postgres) };
    let moved = moves(to.clone()).await.unwrap();
    let before = halves(Path::new(&moved.left));
    assert_eq!(before.len(), 7);
    let there = open(folder.path(), &postgres, slow.clone()).await.unwrap();
    assert_eq!(there.take_texts(100, NOW_MS, 0).await.unwrap().len(), 2);
    end(there).await;
    moves(moving::Plan { way: Way::ToFile, ..to }).await.unwrap();
    assert_eq!(halves(&folder.path().join("hivemem.db")), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_is_moved() {
    if !can_have_a_server() {
        return;
    }
    let (folder, postgres) = (TempDir::new().unwrap(), database().await);
    drop(Daemon::new(&postgres, config()).await);
    file_of(folder.path(), 1).await;
    let file = rusqlite::Connection::open(folder.path().join("hivemem.db")).unwrap();
    let mut statement = file
        .prepare(
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY 1, 2",
        )
        .unwrap();
    let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let here: Vec<(String, String)> = columns.collect::<Result<_, _>>().unwrap();
    let mut asking = PgConnection::connect(&postgres.url).await.unwrap();
    let there: Vec<(String, String)> = sqlx::query_as(
        "SELECT CAST(table_name AS text) COLLATE \"C\", CAST(column_name AS text) COLLATE \"C\"
         FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2",
    )
    .fetch_all(&mut asking)
    .await
    .unwrap();
    let moved: Vec<(String, String)> = {
        let each = |table: &'static tables::Table| {
            table.columns.iter().map(|column| (table.name.to_owned(), (*column).to_owned()))
        };
        let mut all: Vec<_> = tables::TABLES.iter().flat_map(each).collect();
        all.sort();
        all
    };
    assert_eq!(here, moved);
    let spelled = |(table, column): (String, String)| match column.as_str() {
        "vector" => (table, "halves".to_owned()),
        _ => (table, column),
    };
    let known = |(table, _): &(String, String)| !tables::DERIVED.contains(&table.as_str());
    let mut there: Vec<_> = there.into_iter().filter(known).map(spelled).collect();
    there.sort();
    assert_eq!(there, moved);
}
