//! Epochs: what is known to be later than what.
//!
//! A node counts its starts in its own store and registers each. One that comes from a backup counts
//! from where the backup was taken, so it arrives with a number that is known already: it is refused,
//! and may take part again only after an operator has readmitted it, under a new number. The same
//! number may be registered again by the same start (a retry), which a nonce tells.
//!
//! The cluster's epoch is raised by a restore of a whole tier: nodes of the old world are refused.
//!
//! Invariant: `EPO-1` a node's boot epoch and the cluster's epoch only grow, and are never forgotten.
//!
//! Not here: what a refused node does (it does not vote), restoring.

use std::collections::BTreeMap;

use types::{
    Invalid, NodeId, Reason, Reject, limits::REASON_BYTES_MAX, planted,
    root_limits::BOOT_EPOCHS_MAX,
};

use super::{
    Machine,
    effect::Effect,
    entry::Entry,
    response::{BootAnswer, Response},
};

/// A node has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterBoot {
    /// Which node.
    pub node: NodeId,
    /// How often it has started, this time included, from 1.
    pub boot_epoch: u64,
    /// Drawn at this start.
    pub nonce: u64,
    /// The cluster's epoch that it last heard of; 0 when it has heard of none.
    pub cluster_epoch: u64,
}

/// Lets a refused node take part again, at its next registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readmit {
    /// Which node.
    pub node: NodeId,
    /// Why, 1 to 1024 bytes.
    pub reason: String,
}

/// Raises the cluster's epoch by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvanceEpoch {
    /// The current epoch, so that a repetition does not raise it twice.
    pub current: u64,
    /// Why, 1 to 1024 bytes.
    pub reason: String,
}

/// The last start of a node that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Boot {
    pub epoch: u64,
    pub nonce: u64,
    pub readmitted: bool,
}

/// All epochs.
#[derive(Clone, Debug, Default)]
pub(super) struct Epochs {
    pub cluster: u64,
    pub boots: BTreeMap<NodeId, Boot>,
}

types::proto_message!(RegisterBoot { 1 => node, 2 => boot_epoch, 3 => nonce, 4 => cluster_epoch });
types::proto_message!(Readmit { 1 => node, 2 => reason });
types::proto_message!(AdvanceEpoch { 1 => current, 2 => reason });
types::proto_message!(Boot { 1 => epoch, 2 => nonce, 3 => readmitted });
types::proto_message!(Epochs { 1 => cluster, 2 => boots });

/// Whether a start is the last one that was accepted, or a later one (`EPO-1`).
fn is_current(known: &Boot, body: &RegisterBoot) -> bool {
    if planted::is_on("copy-not-fenced") {
        return true;
    }
    body.boot_epoch > known.epoch || (body.boot_epoch == known.epoch && body.nonce == known.nonce)
}

fn check_reason(reason: &str) -> Result<(), Invalid> {
    match reason.is_empty() || reason.len() > REASON_BYTES_MAX {
        true => Err(Invalid::new("reason", format!("needs 1 to {REASON_BYTES_MAX} bytes"))),
        false => Ok(()),
    }
}

impl Machine {
    pub(super) fn register_boot(
        &mut self,
        entry: &mut Entry,
        body: &RegisterBoot,
    ) -> Result<Response, Reject> {
        self.members.founded()?;
        let (node, cluster_epoch) = (body.node, self.epochs.cluster);
        if body.boot_epoch == 0 {
            return Err(Invalid::new("boot_epoch", "starts are counted from 1").into());
        }
        let known = self.epochs.boots.get(&node);
        let readmitted = known.filter(|known| known.readmitted).map(|known| known.epoch + 1);
        let accepted = match (known, readmitted) {
            (_, Some(next)) => next.max(body.boot_epoch),
            (_, None) if body.cluster_epoch != 0 && body.cluster_epoch < cluster_epoch => {
                let detail =
                    format!("node {node} is of epoch {}, before a restore", body.cluster_epoch);
                let reject = Reject::new(Reason::StaleEpoch, detail);
                return Err(reject.with("current_epoch", cluster_epoch));
            }
            (Some(known), None) if !is_current(known, body) => {
                let detail = format!(
                    "node {node} started as {}, but has been {} already: it comes from a backup, readmit it",
                    body.boot_epoch, known.epoch
                );
                let reject = Reject::new(Reason::StaleEpoch, detail);
                return Err(reject.with("current_epoch", known.epoch));
            }
            (None, None) if self.epochs.boots.len() >= BOOT_EPOCHS_MAX => {
                let detail = format!("{BOOT_EPOCHS_MAX} nodes have been members");
                return Err(Reject::new(Reason::Overloaded, detail).with("limit", BOOT_EPOCHS_MAX));
            }
            _ => body.boot_epoch,
        };
        let boot = Boot { epoch: accepted, nonce: body.nonce, readmitted: false };
        if self.epochs.boots.insert(node, boot.clone()) != Some(boot) {
            let facts = vec![("boot_epoch", accepted.to_string())];
            entry.audit("node.boot", node, facts);
        }
        Ok(Response::Boot(BootAnswer { boot_epoch: accepted, cluster_epoch }))
    }

    pub(super) fn readmit(
        &mut self,
        entry: &mut Entry,
        body: &Readmit,
    ) -> Result<Response, Reject> {
        check_reason(&body.reason)?;
        let Some(boot) = self.epochs.boots.get_mut(&body.node) else {
            let detail = format!("node {} has never started here", body.node);
            return Err(Reject::new(Reason::NotFound, detail));
        };
        boot.readmitted = true;
        let boot_epoch = boot.epoch;
        entry.audit("node.readmit", body.node, vec![("reason", body.reason.clone())]);
        Ok(Response::Boot(BootAnswer { boot_epoch, cluster_epoch: self.epochs.cluster }))
    }

    pub(super) fn advance_epoch(
        &mut self,
        entry: &mut Entry,
        body: &AdvanceEpoch,
    ) -> Result<Response, Reject> {
        check_reason(&body.reason)?;
        let current = self.epochs.cluster;
        if body.current != current {
            let detail = format!("the cluster is in epoch {current}, not {}", body.current);
            return Err(Reject::new(Reason::StaleEpoch, detail).with("current_epoch", current));
        }
        self.epochs.cluster = current + 1;
        entry.audit("cluster.epoch", current + 1, vec![("reason", body.reason.clone())]);
        entry.effects.push(Effect::EpochChanged { cluster_epoch: current + 1 });
        Ok(Response::Version(current + 1))
    }
}
