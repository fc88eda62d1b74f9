//! storage

pub mod index;
