//! The floor: where memories, operations and evidence are kept, and how they are found again.
//!
//! Shape: [`port`] is the backend-neutral contract, written in [`request`] and [`answer`];
//! [`rows`] implements it on a database, which is [`sqlite`] on one machine, or `postgres`; [`index`] holds the recall indexes derived from it;
//! [`conformance`] is the suite every backend passes.
//!
//! Invariants: `STO-1` nothing is acknowledged before it and its audit row are fsynced; `STO-2` a
//! read returns only what its [`request::Reader`] may see, decided inside the query; `STO-3` indexes are
//! derived and can be thrown away at any time.
//!
//! Not here: who the caller is, what a request means to a client, fan-out to peers.

pub mod ai_memory;
pub mod answer;
pub mod conformance;
pub mod cursor;
pub mod error;
pub mod folder;
pub mod graph;
pub mod index;
#[cfg(not(madsim))]
pub mod moving;
pub mod port;
pub mod postgres;
pub mod request;
pub mod rows;
pub mod similar;
pub(crate) mod sql;
pub mod sqlite;
pub mod state;

pub use error::{OpenError, StoreError};
pub use port::{ReadStore, Store, WriteStore};
pub use rows::{RowStore, StoreConfig};

use std::path::Path;

use postgres::PostgresConfig;
use runtime::disk::DiskRef;

/// Opens the store of a data folder: in a file there, or in a database elsewhere. Blocks, and is to be called where that is
/// allowed, within the runtime that will drive the connections.
///
/// # Errors
/// [`OpenError`], with the fix.
pub fn open_store(
    disk: DiskRef,
    folder: &Path,
    database: Option<&PostgresConfig>,
    config: StoreConfig,
) -> Result<RowStore, OpenError> {
    match database {
        None => sqlite::open_store(disk, folder, config),
        Some(postgres) => postgres::open_store(disk, folder, postgres, config),
    }
}
