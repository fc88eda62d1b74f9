//! The Raft group of the root: the only files that know the Raft library.
//!
//! | file | what |
//! |---|---|
//! | `types`, `codec` | the library's parameters, and their bytes |
//! | `log_store` | `crate::log` as the library wants it |
//! | `snapshot`, `apply` | the state machine, fed and saved |
//!
//! Not here: what is decided (`crate::machine`), and sockets.

mod apply;
mod codec;
mod log_store;
mod snapshot;
mod types;

#[cfg(test)]
mod tests;

pub use apply::{EffectSink, StateMachine};
pub use codec::CodecError;
pub use types::{Answer, Command, Member, MemberId, TypeConfig};
