//! The wire: everything between a byte on a socket and a request, on both sides of it.
//!
//! | module | what |
//! |---|---|
//! | [`v1`] | messages, service traits and clients generated from `proto/hivemem/v1` |
//! | [`convert`] | the words of `types` to and from those messages |
//! | [`trace`] | traces from node to node |
//! | [`errors`] | the one table from reason to status, and what a status means for a client |
//!
//! Invariants:
//! * The same code serves and calls over real and simulated sockets: hyper runs on the executor and
//!   the clock of `runtime`, never on its own.
//! * A reason has one row in [`errors`], so every door answers the same thing to the same refusal.
//! * A request that was sent and not answered is unknown, never refused.
//!
//! Deliberately not here: what a request means (`node`), where memories are kept (`storage`, which
//! this crate must not import), routes of the HTTP and MCP doors.

pub mod admission;
pub mod auth;
pub mod client;
pub mod convert;
pub mod dial;
pub mod errors;
pub mod grpc;
pub mod http_client;
pub mod hyper_rt;
pub mod io;
#[cfg(all(test, not(madsim)))]
mod loopback;
pub mod net;
pub mod serve;
pub mod tls;
pub mod trace;
pub mod v1;
pub mod vacant;
