//! A network of the storm's own: each node in a namespace, all of them at one switch that this process plays.
//!
//! | file | what |
//! |---|---|
//! | `spaces` | namespaces, devices and addresses |
//! | `switch` | frames from device to device |
//! | `path` | what the weather between two of them does |
//!
//! Not here: which weather there is, and when (`nemesis`).

mod path;
mod spaces;
mod switch;

use std::sync::Arc;

pub use self::{
    path::{Counts, Weather},
    spaces::{Spaces, obstacle},
    switch::Switch,
};

/// Namespaces and the switch between them.
pub struct Network {
    /// What is between the nodes, whose ports are their places from 0; this machine's own is the last.
    pub switch: Arc<Switch>,
    spaces: Spaces,
}

impl Network {
    /// For so many nodes.
    ///
    /// # Errors
    /// What the system refused, in words.
    pub fn of(nodes: usize, seed: u64) -> Result<Self, String> {
        let (spaces, devices) = Spaces::make(nodes)?;
        let switch = Switch::between(devices, seed).map_err(|e| format!("the switch: {e}"))?;
        Ok(Self { switch: Arc::new(switch), spaces })
    }

    /// How `hivemem up` is told of it.
    pub fn choice(&self) -> String {
        format!("namespaces:{}", self.spaces.number())
    }
}
