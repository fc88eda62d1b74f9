//! Generated code of the package `hivemem.v1`; its documentation is that of the `.proto` files.
//!
//! Invariant: numbers of fields and enums never change meaning (the files are the public API).
//!
//! Not here: anything written by hand.

#![allow(missing_docs, clippy::all, clippy::too_many_lines)]

tonic::include_proto!("hivemem.v1");

/// The encoded `FileDescriptorSet` of the package and its imports, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hivemem_v1.bin"));
