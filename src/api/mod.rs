//! The doors: protocols over one [`crate::node::service::Service`].
//!
//! Invariants: a door decodes, asks the service once, and renders; it decides nothing that another
//! door could decide differently. What a refusal looks like is `wire::errors`.
//!
//! Not here: accepting connections and TLS (`wire::serve`).

pub mod assemble;
#[cfg(feature = "host")]
pub mod call;
pub mod grpc;
pub mod http;
#[cfg(feature = "host")]
pub mod mcp;
mod panic;
mod spans;
#[cfg(feature = "host")]
pub(crate) mod uri;

#[cfg(feature = "host")]
pub(crate) use uri::{encode, query};
