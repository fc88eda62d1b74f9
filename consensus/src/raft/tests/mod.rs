//! The group in one process, on real files and a real runtime.

mod machine;
mod suite;
