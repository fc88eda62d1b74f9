//! Tests of the worker on a real thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::disk::OsDisk;

type Job = (u64, oneshot::Sender<u64>);

fn options(capacity_jobs: usize, max_batch: usize) -> WorkerOptions {
    WorkerOptions { name: "test", capacity_jobs, max_batch, disk: OsDisk::shared() }
}

/// A handler that waits for the gate before each batch and records batch sizes.
fn gated(
    gate: std::sync::mpsc::Receiver<()>,
    sizes: Arc<parking_lot::Mutex<Vec<usize>>>,
) -> impl FnMut(&mut Vec<Job>, &mut Replies) + Send {
    move |jobs, replies| {
        let _ = gate.recv();
        sizes.lock().push(jobs.len());
        for (n, reply) in jobs.drain(..) {
            replies.send(reply, n * 2);
        }
    }
}

#[tokio::test]
async fn what_queues_up_during_a_batch_is_the_next_batch() {
    let (open, gate) = std::sync::mpsc::channel();
    let sizes = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let worker = start(options(10, 3), gated(gate, sizes.clone())).unwrap();
    let mut answers = Vec::new();
    for n in 0..6 {
        let (reply, answer) = oneshot::channel();
        worker.send((n, reply)).await.unwrap();
        answers.push(answer);
        // The first job must have left the queue, so that the rest gathers behind it.
        while n == 0 && worker.depth() > 0 {
            tokio::task::yield_now().await;
        }
    }
    for _ in 0..3 {
        open.send(()).unwrap();
    }
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), n as u64 * 2);
    }
    assert_eq!(*sizes.lock(), [1, 3, 2]);
}

#[tokio::test]
async fn a_full_queue_refuses_and_hands_the_job_back() {
    let (open, gate) = std::sync::mpsc::channel();
    let worker = start(options(2, 1), gated(gate, Arc::default())).unwrap();
    let refused = loop {
        let (reply, _) = oneshot::channel();
        if let Err(error) = worker.try_send((7, reply)) {
            break error;
        }
    };
    assert!(matches!(refused, SendError::Full((7, _))), "{refused:?}");
    drop(open);
    worker.close().await;
    let (reply, _) = oneshot::channel();
    assert!(matches!(worker.try_send((8, reply)), Err(SendError::Closed((8, _)))));
    let (reply, _) = oneshot::channel();
    assert!(matches!(worker.send((9, reply)).await, Err(SendError::Closed((9, _)))));
    assert!(worker.is_closed());
}

#[tokio::test]
async fn close_handles_what_was_accepted_and_outlives_the_handler() {
    struct Owned(Arc<AtomicBool>);
    impl Drop for Owned {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (dropped, handled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (owned, count) = (Owned(dropped.clone()), handled.clone());
    let worker = start(options(64, 4), move |jobs: &mut Vec<u32>, _: &mut Replies| {
        let _alive = &owned;
        count.fetch_add(jobs.drain(..).count(), Ordering::SeqCst);
    })
    .unwrap();
    for n in 0..50 {
        worker.try_send(n).unwrap();
    }
    worker.close().await;
    assert_eq!(handled.load(Ordering::SeqCst), 50);
    assert!(dropped.load(Ordering::SeqCst));
    worker.close().await;
}

#[tokio::test]
async fn a_handler_that_wants_more_is_called_without_jobs_until_it_is_done() {
    let (calls, jobs_seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, seen) = (calls.clone(), jobs_seen.clone());
    let mut left = 5;
    let worker = start(options(4, 4), move |jobs: &mut Vec<Job>, replies: &mut Replies| {
        count.fetch_add(1, Ordering::SeqCst);
        for (n, reply) in jobs.drain(..) {
            seen.fetch_add(1, Ordering::SeqCst);
            replies.send(reply, n);
        }
        left -= 1;
        match left {
            0 => Next::Wait,
            3 => Next::Later,
            _ => Next::More,
        }
    })
    .unwrap();
    let (reply, answer) = oneshot::channel();
    worker.send((1, reply)).await.unwrap();
    assert_eq!(answer.await, Ok(1));
    while calls.load(Ordering::SeqCst) < 5 {
        tokio::task::yield_now().await;
    }
    worker.close().await;
    assert_eq!((calls.load(Ordering::SeqCst), jobs_seen.load(Ordering::SeqCst)), (5, 1));
}

#[tokio::test]
async fn close_ends_a_handler_that_always_wants_more() {
    let worker = start(options(4, 4), |_: &mut Vec<Job>, _: &mut Replies| Next::More).unwrap();
    let (reply, answer) = oneshot::channel();
    worker.send((1, reply)).await.unwrap();
    assert!(answer.await.is_err(), "a job left behind is dropped");
    worker.close().await;
    assert!(worker.is_closed());
}
