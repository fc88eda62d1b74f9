//! What a member does on its own: registering its start, following its log, proposing what is due.
//!
//! Invariants: `RTH-3`; `RTH-5` only a leader proposes ticks, and only when something is due by its
//! clock; `RTH-6` a start that the root refuses takes no part: the member stops.
//!
//! Not here: elections and replication (`consensus::raft`).

use std::{sync::Arc, time::Duration};

use consensus::{
    machine::{Body, Command, Empty, Init, RegisterBoot},
    raft::{Role, Status},
};
use runtime::{
    clock::{self, Instant},
    task::{self, JoinHandle},
};
use sha2::{Digest, Sha256};
use types::{AgentId, NodeId, Outcome, Reason};
use uuid::Uuid;

use super::Root;

/// How long one wait for the group lasts before it is begun again.
const LONG: Duration = Duration::from_secs(600);
/// Time for one proposal or read of the member's own.
const OWN: Duration = Duration::from_secs(5);
/// Time between two tries to register.
const AGAIN: Duration = Duration::from_millis(200);

pub(super) fn start(root: &Root) -> Vec<JoinHandle<()>> {
    let until_stopped = |name, work: futures::future::BoxFuture<'static, ()>| {
        let shutdown = root.0.shutdown.clone();
        task::spawn_named(name, async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = work => {}
            }
        })
    };
    vec![
        until_stopped("root follow", Box::pin(follow(root.clone()))),
        until_stopped("root rules", Box::pin(publish_rules(root.clone()))),
        until_stopped("root tick", Box::pin(tick(root.clone()))),
        until_stopped("root boot", Box::pin(register(root.clone()))),
    ]
}

fn long() -> Instant {
    Instant::now() + LONG
}

/// Whether a wait that found nothing may be begun again.
fn goes_on(root: &Root) -> bool {
    root.0.group.status().role != Role::Stopped
}

/// Tells the feed how far the member has come, also by snapshots, which have no effects.
async fn follow(root: Root) {
    let mut reached = None;
    loop {
        let further = |status: &Status| status.applied.map(|id| id.index) > reached;
        match root.0.group.wait_for(long(), further).await {
            Some(status) => {
                reached = status.applied.map(|id| id.index);
                root.0.feed.reached(reached.unwrap_or(0));
            }
            None if goes_on(&root) => {}
            None => return,
        }
    }
}

/// Publishes the rules, first when they are confirmed and then whenever they change (`RTH-3`).
async fn publish_rules(root: Root) {
    let mut changes = root.changes();
    while root.read(Instant::now() + OWN, |_| ()).await.is_err() {
        clock::sleep(AGAIN).await;
        if !goes_on(&root) {
            return;
        }
    }
    loop {
        changes.borrow_and_update();
        let known = root.0.rules.borrow().as_ref().map(|rules| rules.version());
        let newer = root.look(|machine| {
            (Some(machine.rules().version()) != known).then(|| machine.rules().clone())
        });
        if let Some(rules) = newer {
            tracing::debug!(version = rules.version(), "rules are in force");
            root.0.rules.send_replace(Some(Arc::new(rules)));
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Proposes a tick when something is due and nothing else comes (`RTH-5`).
async fn tick(root: Root) {
    let mut changes = root.changes();
    loop {
        let leads = |status: &Status| status.role == Role::Leader;
        if root.0.group.wait_for(long(), leads).await.is_none() {
            if goes_on(&root) {
                continue;
            }
            return;
        }
        changes.borrow_and_update();
        let due_ms = root.look(|machine| machine.next_deadline_ms());
        let left_ms = due_ms.map(|due_ms| due_ms.saturating_sub(root.0.group.time_ms()));
        if left_ms == Some(0) {
            let tick = Command::new(AgentId::node(), Body::Tick(Empty {}));
            let deadline = Instant::now() + OWN;
            let ticked = root.0.group.propose(tick.encode().into(), deadline).await;
            if !matches!(ticked, Outcome::Done(_)) {
                clock::sleep(AGAIN).await;
            }
            continue;
        }
        // The clock may be set, so a long wait is cut into pieces.
        let left = Duration::from_millis(left_ms.unwrap_or(1000).min(1000));
        let _ = clock::timeout(left, changes.changed()).await;
    }
}

/// Under which id this member's starts are counted. The node's own would not do: a node that joins again
/// under a new number begins with an empty folder, and its starts from 1.
pub(super) fn identity(root: &Root) -> NodeId {
    let mut hash = Sha256::new();
    hash.update(b"hivemem root member");
    hash.update(root.cluster().as_bytes());
    hash.update(root.0.node.to_string());
    hash.update(root.member().to_be_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    NodeId(Uuid::from_bytes(std::array::from_fn(|at| digest[at])))
}

/// Registers this start, founding the cluster's name on the way if it has none (`RTH-6`).
async fn register(root: Root) {
    let boot = root.0.group.boot();
    loop {
        let cluster_epoch = root.look(|machine| machine.cluster_epoch());
        let body = Body::RegisterBoot(RegisterBoot {
            node: identity(&root),
            boot_epoch: boot.epoch,
            nonce: boot.nonce,
            cluster_epoch,
        });
        let command = Command::new(AgentId::node(), body);
        match root.propose(command, Instant::now() + OWN).await {
            Outcome::Done(_) => return,
            Outcome::Rejected(refused) if refused.reason == Reason::StaleEpoch => {
                tracing::error!(%refused, "the root refuses this start: the node takes no part in it until it is readmitted");
                root.0.refused.send_replace(Some(refused));
                if let Err(error) = root.0.group.stop().await {
                    tracing::warn!(%error, "the root's log did not close cleanly");
                }
                return;
            }
            Outcome::Rejected(refused) if refused.reason == Reason::FailedPrecondition => {
                let init = Body::Init(Init { cluster: root.0.cluster });
                let command = Command::new(AgentId::node(), init);
                // Somebody else may be quicker: then there is a name, and the next try shows it.
                let _ = root.propose(command, Instant::now() + OWN).await;
            }
            _ => {}
        }
        clock::sleep(AGAIN).await;
        if !goes_on(&root) {
            return;
        }
    }
}
