//! There is no server in the simulator.
//!
//! Not here: everything.

use std::path::Path;

use runtime::disk::DiskRef;

use super::{Initialised, PostgresConfig};
use crate::{OpenError, RowStore, StoreConfig};

fn absent() -> OpenError {
    let (place, problem) = ("storage.url".to_owned(), "is not there in a simulation".to_owned());
    OpenError::Server { place, problem }
}

/// Opens nothing.
///
/// # Errors
/// Always.
pub fn open_store(
    _disk: DiskRef,
    _folder: &Path,
    _postgres: &PostgresConfig,
    _config: StoreConfig,
) -> Result<RowStore, OpenError> {
    Err(absent())
}

/// Makes nothing.
///
/// # Errors
/// Always.
pub fn init(_disk: DiskRef, _postgres: &PostgresConfig) -> Result<Initialised, OpenError> {
    Err(absent())
}
