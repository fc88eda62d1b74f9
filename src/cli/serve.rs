//! `hivemem serve`: a node with its doors, until a signal.
//!
//! Invariants: the first SIGINT or SIGTERM drains and closes; a second one stops at once, which is
//! safe because nothing is acknowledged before it is durable.

use runtime::{disk::DiskRef, signal, task::Shutdown};

use super::exit::{Code, Failure};
use crate::{
    config::Config,
    doors,
    node::Node,
    telemetry::health::{self, Phase},
};

/// Serves until interrupted.
///
/// # Errors
/// [`Failure`] when the node or a door cannot be started.
pub(super) async fn serve(disk: DiskRef, config: Config) -> Result<(), Failure> {
    let mut interrupts = signal::interrupts()
        .map_err(|e| Failure::start(format!("cannot watch for signals: {e}")))?;
    let node = Node::start(disk.clone(), &config).await?;
    let (phase, ready) = health::phase();
    let shutdown = Shutdown::new();
    let service = node.service().clone();
    let doors = match doors::open(disk, &config, service, ready, shutdown.clone()).await {
        Ok(doors) => doors,
        Err(error) => {
            node.stop().await;
            return Err(Failure::start(error.to_string()));
        }
    };
    phase.set(Phase::Ready);
    for address in doors.addresses() {
        eprintln!("hivemem serves on {address}");
    }
    let _ = interrupts.next().await;
    eprintln!("stopping: finishing requests in progress (interrupt again to stop at once)");
    phase.set(Phase::Stopping);
    shutdown.trigger();
    let graceful = async {
        node.leave_root().await;
        doors.closed().await;
        node.stop().await;
    };
    tokio::select! {
        () = graceful => Ok(()),
        _ = interrupts.next() => Err(Failure::new(Code::Unavailable, "stopped at once; the next start recovers")),
    }
}
