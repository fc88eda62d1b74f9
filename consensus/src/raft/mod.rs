//! The Raft group of the root: the only files that know the Raft library.
//!
//! | file | what |
//! |---|---|
//! | `types`, `codec` | the library's parameters, and their bytes |
//! | `log_store` | `crate::log` as the library wants it |
//! | `snapshot`, `apply` | the state machine, fed and saved |
//! | `turns` | who may replace a file |
//! | `boot` | starts counted, so that a member put back from a backup is found out |
//! | `introduce` | every start is made known to all |
//! | `message`, `network`, `serve` | asking and answering peers, over any [`Transport`] |
//! | `pipeline` | questions and answers of a stream, one for one |
//! | `grpc` | the transport of the product |
//! | `time` | what a leader writes into its entries |
//! | `options`, `group`, `membership` | [`Group`]: a running member |
//! | `recovery` | going on after the quorum is lost for ever, offline |
//!
//! The invariants are `RFT-1` to `RFT-26`, each stated where it is kept.
//!
//! Not here: what is decided (`crate::machine`), and sockets.

mod apply;
mod boot;
mod codec;
mod group;
mod grpc;
mod introduce;
mod log_store;
mod membership;
mod message;
mod network;
mod options;
mod pipeline;
#[cfg(planted)]
mod planted;
mod recovery;
mod serve;
mod snapshot;
mod time;
mod turns;
mod types;

#[cfg(test)]
mod tests;

pub use apply::{EffectSink, Listener, StateMachine};
pub use boot::{Boot, StaleBoot};
pub use codec::CodecError;
pub use group::{Group, Home, StartError};
pub use grpc::{Dialer, GrpcTransport, MESSAGE_BYTES_MAX, PEER_TIMES, PeerService, dialer};
pub use membership::{Role, Status};
pub use network::{Answers, NoAnswer, Transport};
pub use options::GroupOptions;
pub use recovery::{Recovered, RecoveryError, Survivor, complete, inspect, recover};
pub use types::{Answer, Command, Member, MemberId, TypeConfig};
