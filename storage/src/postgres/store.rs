//! A store in a PostgreSQL database.
//!
//! Not here: what a store does once it is open (`rows::store`).

use std::{str::FromStr, sync::Arc};

use runtime::{clock, disk::DiskRef};
use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use types::NodeId;

use super::{
    PostgresConfig,
    engine::PostgresEngine,
    recall::PostgresRecall,
    schema::{self, Unfit},
};
use crate::{
    error::OpenError,
    rows::{
        RowStore, StoreConfig, daemon,
        engine::{Engine, Role},
        fault::SqlFault,
        store::{Parts, Search},
        vectors,
        write::{head::Head, vocabulary::Vocabulary},
    },
    sql::Connection,
};

/// Statements that are kept prepared on each connection.
const STATEMENTS: usize = 256;

/// Opens the store in a database as a node, which has its rows there with those of others. Blocks, and is to be called where
/// that is allowed, within the runtime that will drive its connections.
///
/// # Errors
/// [`OpenError::Server`], [`OpenError::Newer`], each with its fix.
pub fn open_store(
    disk: DiskRef,
    postgres: &PostgresConfig,
    node: NodeId,
    config: StoreConfig,
) -> Result<RowStore, OpenError> {
    let options = options(&postgres.url)?;
    let place = place(&options);
    let refused = |unfit: Unfit| match unfit {
        Unfit::Newer { found } => {
            OpenError::Newer { path: place.clone().into(), found, known: schema::VERSION }
        }
        other => OpenError::Server { place: place.clone(), problem: other.to_string() },
    };
    let engine = PostgresEngine::new(options, postgres, disk);
    engine
        .reach(postgres.acquire_timeout)
        .and_then(|()| open(engine, postgres, node, config))
        .map_err(refused)
}

fn options(url: &str) -> Result<PgConnectOptions, OpenError> {
    let wrong = |problem: String| OpenError::Server { place: "store.url".into(), problem };
    // The library takes any scheme for its own.
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(wrong("must begin with postgres://".to_owned()));
    }
    let options = PgConnectOptions::from_str(url).map_err(|error| wrong(error.to_string()))?;
    Ok(options
        .application_name("hivemem")
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging())
}

/// Where a database is, without the password.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or("its default database");
    format!("{}:{}/{database}", options.get_host(), options.get_port())
}

fn open(
    engine: PostgresEngine,
    postgres: &PostgresConfig,
    node: NodeId,
    config: StoreConfig,
) -> Result<RowStore, Unfit> {
    let connection = engine.open(Role::Writer)?;
    schema::migrate(&connection)?;
    let space = vectors::space_number(&connection, &config.space)?;
    let recall = PostgresRecall::new(postgres, &config.space, space);
    recall.make_index(&connection)?;
    let daemon = daemon::start(&connection, node, config.signer.as_ref(), clock::now_unix_ms())?;
    let (words, head, broken) = end(&connection, &daemon, &config)?;
    if let Some(problem) = &broken {
        tracing::error!(problem, "the audit chain does not hold; writes will be refused");
    }
    let parts = Parts {
        engine: Arc::new(engine.of(daemon)),
        config: Arc::new(config),
        connection,
        node,
        words,
        head,
        broken,
        search: Search::Database(Arc::new(recall)),
        lock: None,
    };
    RowStore::start(parts).map_err(|error| {
        let cause = format!("a thread: {error}");
        SqlFault::Damaged { table: "the writer", key: "of the store".into(), problem: cause }.into()
    })
}

/// Where everything ends, with nobody writing meanwhile.
fn end(
    connection: &Connection,
    daemon: &daemon::Daemon,
    config: &StoreConfig,
) -> Result<(Vocabulary, Head, Option<String>), SqlFault> {
    let transaction = connection.begin()?;
    let words = Vocabulary::load(connection)?;
    let (mut head, broken) = Head::load(connection, daemon)?;
    transaction.commit()?;
    head.is_mute = config.has_peers;
    Ok((words, head, broken))
}
