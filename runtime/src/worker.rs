//! The one-writer shape: a bounded queue in front of one handler that takes everything queued.
//!
//! While the handler syncs one batch the next one gathers in the queue; that is all there is to
//! group commit. In the real world the handler owns a thread; in the simulator it is a task that
//! runs the handler inline and then waits for the time its disk owes.
//!
//! Invariants:
//! * One handler, one batch at a time, jobs in the order they were queued.
//! * `WORKER-1`: what a handler puts into [`Replies`] is delivered only after the batch is over
//!   *and* the time its disk owes has passed. A handler must never answer another way.
//! * [`WorkerHandle::close`] lets every job that was accepted be handled, and returns after the
//!   handler has been dropped.
//! * A handler that panics stops the node: half a batch is no state to go on from.
//! * `WORKER-2`: a handler with work of its own left ([`Next::More`]) is called again with an empty
//!   batch, and every job that was queued meanwhile comes first.
//!
//! Deliberately not here: results and retries (the jobs carry their own reply channels), and
//! priorities.

use std::io;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::disk::DiskRef;
use crate::task::Shutdown;

/// How a worker is set up.
pub struct WorkerOptions {
    /// Name of the thread, at most 15 bytes are shown by the system.
    pub name: &'static str,
    /// Jobs that may wait; at least 1.
    pub capacity_jobs: usize,
    /// Jobs given to the handler at once; at least 1.
    pub max_batch: usize,
    /// The disk whose owed time delays the replies.
    pub disk: DiskRef,
}

/// Answers that become visible once their batch is over.
#[derive(Default)]
pub struct Replies(Vec<Box<dyn FnOnce() + Send>>);

impl Replies {
    /// Sends `value` when the batch is over; a receiver that has gone away is ignored.
    pub fn send<T: Send + 'static>(&mut self, to: oneshot::Sender<T>, value: T) {
        self.then(move || {
            let _ = to.send(value);
        });
    }

    /// Runs `action` when the batch is over. It must not block.
    pub fn then(&mut self, action: impl FnOnce() + Send + 'static) {
        self.0.push(Box::new(action));
    }

    fn deliver(&mut self) {
        for action in self.0.drain(..) {
            action();
        }
    }
}

/// A job was refused; it is handed back.
#[derive(Debug, thiserror::Error)]
pub enum SendError<J> {
    /// The queue is full: shed load, or wait with [`WorkerHandle::send`].
    #[error("the worker's queue is full")]
    Full(J),
    /// The worker is closing or gone.
    #[error("the worker is closed")]
    Closed(J),
}

/// What a handler wants after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To be called when there is a job.
    Wait,
    /// To be called again soon, with or without a job.
    More,
    /// The same after [`RETRY_PAUSE`]: something failed that may work later.
    Later,
}

impl From<()> for Next {
    fn from((): ()) -> Self {
        Next::Wait
    }
}

/// Pause before a handler that asked for [`Next::Later`] is called again. Jobs wait for it too.
pub const RETRY_PAUSE: Duration = Duration::from_millis(100);

enum Message<J> {
    Job(J),
    Close,
}

/// The queue of a worker. Clones feed the same worker; it ends when all are dropped or one calls
/// [`WorkerHandle::close`].
pub struct WorkerHandle<J> {
    queue: mpsc::Sender<Message<J>>,
    ended: Shutdown,
}

impl<J> Clone for WorkerHandle<J> {
    fn clone(&self) -> Self {
        WorkerHandle { queue: self.queue.clone(), ended: self.ended.clone() }
    }
}

impl<J> std::fmt::Debug for WorkerHandle<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerHandle").field("depth", &self.depth()).finish()
    }
}

impl<J> WorkerHandle<J> {
    /// Queues a job without waiting.
    pub fn try_send(&self, job: J) -> Result<(), SendError<J>> {
        self.queue.try_send(Message::Job(job)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(Message::Job(job)) => SendError::Full(job),
            mpsc::error::TrySendError::Closed(Message::Job(job)) => SendError::Closed(job),
            _ => unreachable!("a refused message is handed back unchanged"),
        })
    }

    /// Queues a job, waiting for room.
    pub async fn send(&self, job: J) -> Result<(), SendError<J>> {
        // Reserving first keeps the job in our hands until there is room for it.
        match self.queue.reserve().await {
            Ok(permit) => {
                permit.send(Message::Job(job));
                Ok(())
            }
            Err(_) => Err(SendError::Closed(job)),
        }
    }

    /// Jobs waiting now.
    pub fn depth(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Jobs that may wait.
    pub fn capacity_jobs(&self) -> usize {
        self.queue.max_capacity()
    }

    /// Whether jobs are refused because the worker is closing or gone.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Refuses new jobs, lets the accepted ones be handled, and returns once the handler and all
    /// it owns have been dropped. Calling it twice is fine.
    pub async fn close(&self) {
        // An error means that the worker is already past this point.
        let _ = self.queue.send(Message::Close).await;
        self.ended.cancelled().await;
    }
}

/// Starts a worker. The handler takes jobs out of the vector, in order, and puts its answers into
/// [`Replies`]; jobs it leaves behind are dropped. It answers `()` or what it wants [`Next`]. It
/// runs outside any async runtime: it must not spawn tasks. Fails only if the system refuses a
/// thread.
pub fn start<J, H, N>(options: WorkerOptions, mut handler: H) -> io::Result<WorkerHandle<J>>
where
    J: Send + 'static,
    H: FnMut(&mut Vec<J>, &mut Replies) -> N + Send + 'static,
    N: Into<Next>,
{
    let (queue, inbox) = mpsc::channel(options.capacity_jobs.max(1));
    let ended = Shutdown::new();
    let turn = Turn {
        inbox,
        messages: Vec::new(),
        jobs: Vec::new(),
        replies: Replies::default(),
        handler: move |jobs: &mut Vec<J>, replies: &mut Replies| handler(jobs, replies).into(),
        next: Next::Wait,
        max_batch: options.max_batch.max(1),
    };
    launch(options.name, options.disk, turn, Ended(ended.clone()))?;
    Ok(WorkerHandle { queue, ended })
}

/// Tells the closers when it is dropped, which is after the handler was.
struct Ended(Shutdown);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

/// What both worlds share: the state of the worker and one turn of its loop.
struct Turn<J, H> {
    inbox: mpsc::Receiver<Message<J>>,
    messages: Vec<Message<J>>,
    jobs: Vec<J>,
    replies: Replies,
    handler: H,
    next: Next,
    max_batch: usize,
}

impl<J, H: FnMut(&mut Vec<J>, &mut Replies) -> Next> Turn<J, H> {
    /// Takes what is queued without waiting for it; whether the queue is still open.
    fn take_queued(&mut self) -> bool {
        while self.messages.len() < self.max_batch {
            match self.inbox.try_recv() {
                Ok(message) => self.messages.push(message),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return !self.messages.is_empty(),
            }
        }
        true
    }

    /// Hands the received messages to the handler.
    fn handle(&mut self) {
        for message in self.messages.drain(..) {
            match message {
                Message::Job(job) => self.jobs.push(job),
                Message::Close => self.inbox.close(),
            }
        }
        if !self.jobs.is_empty() || self.next != Next::Wait {
            self.next = (self.handler)(&mut self.jobs, &mut self.replies);
            self.jobs.clear();
        }
    }
}

#[cfg(not(madsim))]
fn launch<J, H>(
    name: &'static str,
    _: DiskRef,
    mut turn: Turn<J, H>,
    ended: Ended,
) -> io::Result<()>
where
    J: Send + 'static,
    H: FnMut(&mut Vec<J>, &mut Replies) -> Next + Send + 'static,
{
    let body = move || {
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            loop {
                let open = match turn.next {
                    Next::Wait => {
                        turn.inbox.blocking_recv_many(&mut turn.messages, turn.max_batch) > 0
                    }
                    Next::More => turn.take_queued(),
                    Next::Later => {
                        #[expect(clippy::disallowed_methods, reason = "this thread has no timer")]
                        std::thread::sleep(RETRY_PAUSE);
                        turn.take_queued()
                    }
                };
                if !open {
                    break;
                }
                turn.handle();
                turn.replies.deliver();
            }
        }));
        if worked.is_err() {
            crate::fatal::stop_node(&format!("the worker {name} panicked"));
        }
        drop(ended);
    };
    std::thread::Builder::new().name(name.into()).spawn(body).map(drop)
}

#[cfg(madsim)]
fn launch<J, H>(
    name: &'static str,
    disk: DiskRef,
    mut turn: Turn<J, H>,
    ended: Ended,
) -> io::Result<()>
where
    J: Send + 'static,
    H: FnMut(&mut Vec<J>, &mut Replies) -> Next + Send + 'static,
{
    /// Simulated time between two calls of a handler that wants more: others get their turn.
    const STEP: Duration = Duration::from_millis(1);
    drop(crate::task::spawn_named(name, async move {
        loop {
            let open = match turn.next {
                Next::Wait => turn.inbox.recv_many(&mut turn.messages, turn.max_batch).await > 0,
                Next::More => {
                    crate::clock::sleep(STEP).await;
                    turn.take_queued()
                }
                Next::Later => {
                    crate::clock::sleep(RETRY_PAUSE).await;
                    turn.take_queued()
                }
            };
            if !open {
                break;
            }
            turn.handle();
            crate::disk::settle_latency(&*disk).await;
            turn.replies.deliver();
        }
        drop(turn);
        drop(ended);
    }));
    Ok(())
}

#[cfg(all(test, not(madsim)))]
#[path = "worker_tests.rs"]
mod tests;
