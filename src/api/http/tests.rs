//! The door as a client sees it.
//!
//! Invariant: every test drives the whole router.
//!
//! Not here: the pieces, which are tested beside their code.

mod contract;
