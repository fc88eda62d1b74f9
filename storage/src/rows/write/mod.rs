//! The write side: one worker that turns queued requests into groups, each one transaction.
//!
//! | module | what |
//! |---|---|
//! | [`prepare`] | work on the caller's side, before the queue |
//! | [`writer`] | the worker: group, commit, publish, answer |
//! | [`group`] | intents become operations, in memory |
//! | [`store_memory`], [`change_memory`], [`links`], [`others`] | the rules of each intent |
//! | [`feeds`] | operations of other nodes |
//! | [`dealings`] | what is kept of dealings with peers: signed heads, dead letters, nonces |
//! | [`join`], [`forget`] | state of other stores; what every member has seen |
//! | [`views`] | records that are shown as one |
//! | [`overlay`] | what the group changed so far, over what the database holds |
//! | [`flush`] | the group as SQL, with its audit rows |
//! | [`traces`] | for which traces the last operations were made |
//! | [`head`], [`vocabulary`], [`quota`], [`idempotency`] | sequence, stamps and chain; names; counts; answers |
//!
//! Invariants: `STO-1` nothing is acknowledged before it and its audit row are fsynced; `STO-4`
//! what is acknowledged is in the index; `WRT-1` a refused request leaves no trace.
//!
//! Not here: reading for clients.

mod change_memory;
mod dealings;
mod events;
mod feeds;
mod fences;
mod flush;
mod forget;
pub(crate) mod group;
pub(crate) mod head;
mod idempotency;
mod join;
mod links;
mod others;
pub(crate) mod overlay;
pub(crate) mod prepare;
mod quota;
mod store_memory;
#[cfg(test)]
#[cfg(not(madsim))]
mod tests;
pub(crate) mod traces;
mod views;
pub(crate) mod vocabulary;
pub(crate) mod writer;
