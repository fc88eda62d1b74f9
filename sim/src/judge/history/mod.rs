//! A history: everything that a run showed from outside, in the order of one observer's clock.
//!
//! Invariants: `HIS-1` (see `event`); `HIS-2` stamps never decrease, an operation is invoked once and
//! completed at most once, after its invocation. A value of [`History`] keeps both.
//!
//! Not here: its form as text (`lines`), operations as intervals (`operations`).

pub mod event;
pub mod lines;
pub mod memory;
pub mod operations;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use event::{
    Answer, Call, ChainMark, ChainScan, Decision, Done, Event, Evidence, Invoke, Mode, Outcome,
    RaftStep, Request, Ruling, What,
};
pub use lines::ReadError;
pub use memory::{Federation, Seen};
pub use operations::{Case, Operation, Span, greatest_before};

/// Version of the recorded form. A reader refuses any other.
pub const VERSION: u32 = 1;

/// What is known of a run before its first event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the recorded form: [`VERSION`].
    pub history_version: u32,
    /// What was run, in words: scenario and seed.
    pub run: String,
    /// How far the order of events can be trusted.
    pub order: Order,
    /// How sessions end without being closed.
    pub expiry: Expiry,
    /// What the run promises about time.
    pub bounds: Bounds,
    /// How much faster than the observer's the clock of a node may run, parts per million; `None` where
    /// clocks jump forward or nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_fast_ppm: Option<u32>,
    /// Voters of the root at the beginning; empty when the run has no root.
    pub voters: Vec<String>,
    /// The federation, if the run has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub federation: Option<Federation>,
}

/// How far the order of events can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// One recorder wrote all of it: the order of lines is the order of events.
    Recorded,
    /// Several recorders with one clock were merged: events of the same stamp are concurrent.
    Stamped,
}

/// How sessions end without being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Expiry {
    /// Each expiry is an event of the history, recorded when the first node showed it.
    Recorded,
    /// Expiries are not seen. A session may be gone once its time to live has passed on a clock that
    /// runs up to `drift_ppm` fast; 1,000,000 and more means that clocks jump and it may be gone at once.
    ByLease {
        /// Parts per million.
        drift_ppm: u32,
    },
}

/// What the run promises about time. Microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Longest time without a leader after the last fault.
    pub leader_us: u64,
    /// Longest time an operation may take once there is one.
    pub operation_us: u64,
    /// Time after the last fault within which every table is back at its floor.
    pub settle_us: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { leader_us: 2_000_000, operation_us: 10_000_000, settle_us: 60_000_000 }
    }
}

/// Why a list of events is no history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {position}: {problem}")]
pub struct Malformed {
    /// Which event, counted from 1.
    pub position: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// A run as it was seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    header: Header,
    events: Vec<Event>,
}

impl History {
    /// Checks that the events can be a history.
    ///
    /// # Errors
    /// [`Malformed`] names the first event that breaks `HIS-2`.
    pub fn new(header: Header, events: Vec<Event>) -> Result<Self, Malformed> {
        let mut check = Check::default();
        for (at, event) in events.iter().enumerate() {
            check.event(event).map_err(|problem| Malformed { position: at + 1, problem })?;
        }
        Ok(Self { header, events })
    }

    /// What was known before the first event.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The events, oldest first.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The moment of the event at `position` as the judges order it: `a` was before `b` if and only
    /// if its rank is smaller.
    pub fn rank(&self, position: usize) -> u64 {
        match self.header.order {
            Order::Recorded => position as u64 + 1,
            Order::Stamped => self.events.get(position).map_or(u64::MAX, |event| event.at_us),
        }
    }
}

/// The state of checking `HIS-2`.
#[derive(Default)]
struct Check {
    last_us: u64,
    /// Operations and whether they are completed.
    invoked: BTreeMap<u64, bool>,
    faults: BTreeSet<u64>,
    ended: bool,
}

impl Check {
    fn event(&mut self, event: &Event) -> Result<(), String> {
        if event.at_us < self.last_us {
            return Err(format!("at {} µs, after {} µs", event.at_us, self.last_us));
        }
        self.last_us = event.at_us;
        if self.ended {
            return Err("follows the end of the recording".to_owned());
        }
        match &event.what {
            What::Invoke(invoke) if invoke.op == 0 => Err("operations count from 1".to_owned()),
            What::Invoke(invoke) => match self.invoked.insert(invoke.op, false) {
                None => Ok(()),
                Some(_) => Err(format!("operation {} is invoked twice", invoke.op)),
            },
            What::Complete { op, .. } => match self.invoked.insert(*op, true) {
                Some(false) => Ok(()),
                Some(true) => Err(format!("operation {op} is completed twice")),
                None => Err(format!("operation {op} is completed and was never invoked")),
            },
            What::Queued { op, .. } if !self.invoked.contains_key(op) => {
                Err(format!("operation {op} is queued and was never invoked"))
            }
            What::Fault { fault, .. } if !self.faults.insert(*fault) => {
                Err(format!("fault {fault} begins twice"))
            }
            What::FaultOver { fault } if !self.faults.contains(fault) => {
                Err(format!("fault {fault} ends and never began"))
            }
            What::End => {
                self.ended = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
