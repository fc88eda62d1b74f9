//! Compiles the `.proto` files in pure Rust (no `protoc`) into message types, service traits and
//! clients, and keeps the descriptor set for server reflection.
//!
//! Not here: a transport. The code runs over our own hyper loop in both worlds.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const PROTO_FILES: [&str; 10] = [
    "hivemem/v1/common.proto",
    "hivemem/v1/memory.proto",
    "hivemem/v1/recall.proto",
    "hivemem/v1/watch.proto",
    "hivemem/v1/admin.proto",
    "hivemem/v1/raft.proto",
    "hivemem/v1/sync.proto",
    "hivemem/v1/root.proto",
    "hivemem/v1/lock.proto",
    "hivemem/v1/governance.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTO_FILES, ["proto"])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("hivemem_v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
