//! The operator's wish to stop the process.

/// Which signal arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// SIGINT, usually Ctrl-C at a terminal.
    Interrupt,
    /// SIGTERM, usually a service supervisor.
    Terminate,
}

/// The stream of SIGINT and SIGTERM. While it exists neither kills the process.
pub struct Interrupts {
    #[cfg(not(madsim))]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(not(madsim))]
    terminate: tokio::signal::unix::Signal,
}

/// Starts listening. Fails if the system refuses the handlers. In the simulator no signal ever
/// arrives: nodes are stopped by the world.
pub fn interrupts() -> std::io::Result<Interrupts> {
    #[cfg(not(madsim))]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok(Interrupts { interrupt, terminate })
    }
    #[cfg(madsim)]
    Ok(Interrupts {})
}

impl Interrupts {
    /// Waits for the next signal. Safe to drop and call again.
    pub async fn next(&mut self) -> Interrupt {
        #[cfg(not(madsim))]
        tokio::select! {
            Some(()) = self.interrupt.recv() => Interrupt::Interrupt,
            Some(()) = self.terminate.recv() => Interrupt::Terminate,
            else => std::future::pending().await,
        }
        #[cfg(madsim)]
        std::future::pending().await
    }
}
