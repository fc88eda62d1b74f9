//! Everything a reader can ask, as functions over one connection.
//!
//! | module | what |
//! |---|---|
//! | [`sight`] | what a reader may see, as a condition |
//! | [`conditions`] | a filter, as conditions |
//! | [`memories`] | get, list, forgettable, expired |
//! | [`views`] | records that are shown as one, and the list of them |
//! | [`links`] | links, graph, paths |
//! | [`candidates`] | recall and near-duplicates |
//! | [`duplicates`] | which memories are compared with a text, and how |
//! | [`scan`] | what recall searches while the indexes are being filled |
//! | [`changes`] | the stream of changes, timelines |
//! | [`registry`] | agents, entities, namespaces, quotas |
//! | [`feeds`], [`times`] | what other nodes are told; what was covered at a time |
//! | [`figures`], [`tally`] | stats, memories without a vector |
//! | `store` | the port's reading half |
//!
//! Invariants: `STO-2` a reader's sight is part of every statement that selects memories; `RED-1` one
//! answer is read from one snapshot ([`snapshot`]), so its parts fit together.
//!
//! Not here: the pool of connections and the recall indexes.

pub(crate) mod audit;
pub(crate) mod candidates;
pub(crate) mod changes;
pub(crate) mod conditions;
pub(crate) mod duplicates;
pub(crate) mod feeds;
pub(crate) mod figures;
pub(crate) mod links;
pub(crate) mod many;
pub(crate) mod memories;
pub(crate) mod reach;
pub(crate) mod registry;
pub(crate) mod scan;
pub(crate) mod sight;
pub(crate) mod states;
mod store;
pub(crate) mod tally;
pub(crate) mod times;
pub(crate) mod views;

use crate::sql::Connection;

use super::fault::SqlFault;

/// Runs `work` within one read transaction.
pub(crate) fn snapshot<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, SqlFault>,
) -> Result<T, SqlFault> {
    connection.snapshot(work)
}
