//! The group in one process, on real files and a real runtime.

mod cluster;
mod cut;
mod effects;
mod failure;
mod grpc;
mod life;
mod machine;
mod recovery;
mod starts;
mod suite;
