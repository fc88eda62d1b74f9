//! Who may replace a file of a member.
//!
//! Invariants: `RFT-25` one replaces it at a time, and to the end even if nobody waits for that any more (an answer may come
//! too late for whoever asked, and be dropped while the disk works); once [`Turns::close`] has returned, nobody does:
//! whatever still talks to a member that has stopped changes nothing in its folder.
//!
//! Not here: what is written (`boot`, `snapshot`); the log, whose thread ends with it.

use std::{io, sync::Arc};

use runtime::{blocking, disk::DiskRef};
use tokio::sync::Mutex;

/// The right to replace one file. Clones are one and the same.
#[derive(Clone)]
pub(super) struct Turns {
    disk: DiskRef,
    /// Held while the file is replaced; whether the member still runs.
    open: Arc<Mutex<bool>>,
}

impl Turns {
    pub(super) fn new(disk: DiskRef) -> Self {
        Self { disk, open: Arc::new(Mutex::new(true)) }
    }

    /// Does `work`, which may block, when nobody else does any.
    ///
    /// # Errors
    /// That of the work; [`io::ErrorKind::BrokenPipe`] when the member has stopped.
    pub(super) async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let open = self.open.clone().lock_owned().await;
        if !*open {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the member has stopped"));
        }
        let work = move || {
            let done = work();
            // Not before: the future that waits for the work may be gone.
            drop(open);
            done
        };
        blocking::run_on(self.disk.clone(), work).await
    }

    /// Waits for whoever has the turn, and lets nobody have one again.
    pub(super) async fn close(&self) {
        *self.open.lock().await = false;
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use std::sync::mpsc;

    use runtime::disk::OsDisk;

    use super::*;

    #[tokio::test]
    async fn work_that_nobody_waits_for_keeps_its_turn_to_the_end() {
        let turns = Turns::new(OsDisk::shared());
        let (begun, has_begun) = mpsc::channel();
        let (go, may_go) = mpsc::channel();
        let (wrote, written) = mpsc::channel();
        let first = {
            let wrote = wrote.clone();
            turns.take(move || {
                begun.send(()).unwrap();
                may_go.recv().unwrap();
                wrote.send("first").unwrap();
                Ok(())
            })
        };
        let mut first = Box::pin(first);
        assert!(futures::poll!(&mut first).is_pending());
        blocking::run(move || has_begun.recv().unwrap()).await;
        drop(first);
        let second = turns.take(move || {
            wrote.send("second").unwrap();
            Ok(())
        });
        let mut second = Box::pin(second);
        assert!(futures::poll!(&mut second).is_pending(), "one at a time");
        let mut closed = Box::pin(turns.close());
        assert!(futures::poll!(&mut closed).is_pending());
        go.send(()).unwrap();
        second.await.unwrap();
        closed.await;
        assert_eq!(written.iter().collect::<Vec<_>>(), ["first", "second"]);
        let late = turns.take(|| Ok(())).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::BrokenPipe);
    }
}
