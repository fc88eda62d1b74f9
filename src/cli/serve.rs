//! `hivemem serve`: a node with its doors, until a signal.
//!
//! Invariants: the first SIGINT or SIGTERM drains and closes; a second one stops at once, which is
//! safe because nothing is acknowledged before it is durable.

use runtime::{
    disk::DiskRef,
    signal,
    task::{JoinHandle, Shutdown},
};

use super::exit::{Code, Failure};
use crate::{
    config::Config,
    doors::{self, Doors},
    node::Node,
    telemetry::{
        health::{self, Phase, ReadyProbe},
        otlp,
    },
};

/// Opens the doors, which close with the first of two, and begins to send spans, which ends with the second.
async fn open(
    disk: DiskRef,
    config: &Config,
    node: &Node,
    ready: ReadyProbe,
    (shutdown, last): (&Shutdown, &Shutdown),
) -> Result<(Doors, Option<JoinHandle<()>>), Failure> {
    let service = node.service();
    let name = service.own_row().node;
    let spans = otlp::start(&disk, &config.trace, name, service.tracer(), last)
        .map_err(|error| Failure::start(format!("trace.otlp_ca_file: {error}")))?;
    let doors = doors::open(disk, config, service.clone(), ready, shutdown.clone()).await;
    let doors = doors.map_err(|error| Failure::start(error.to_string()))?;
    Ok((doors, spans))
}

/// Serves until interrupted.
///
/// # Errors
/// [`Failure`] when the node or a door cannot be started.
pub(super) async fn serve(disk: DiskRef, config: Config) -> Result<(), Failure> {
    let mut interrupts = signal::interrupts()
        .map_err(|e| Failure::start(format!("cannot watch for signals: {e}")))?;
    let node = Node::start(disk.clone(), &config).await?;
    let (phase, ready) = health::phase();
    let (shutdown, last) = (Shutdown::new(), Shutdown::new());
    let opened = open(disk, &config, &node, ready, (&shutdown, &last)).await;
    let (doors, spans) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            node.stop().await;
            return Err(failure);
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
        last.trigger();
        if let Some(spans) = spans {
            // One that panicked has logged why.
            let _ = spans.await;
        }
    };
    tokio::select! {
        () = graceful => Ok(()),
        _ = interrupts.next() => Err(Failure::new(Code::Unavailable, "stopped at once; the next start recovers")),
    }
}
