//! Putting what is asked at about the same time into one call.
//!
//! A call costs the same whatever is in it, so under load the questions that come while some calls are
//! under way share the next one.
//!
//! Invariants: `RTH-13` a question is put into one call at most, and no call begins before all of its
//! questions were asked, so what it finds out is new enough for each of them. Whoever does not wait any
//! more is left out of calls that have not begun, and knows whether its question was put.
//!
//! What waits here is as bounded as those who ask: each is a caller whom a door has admitted, and a caller
//! asks one question at a time.
//!
//! Not here: what is asked, and of whom (`root`, `peers`).

use std::{collections::VecDeque, sync::Arc};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use runtime::{
    clock::{self, Instant},
    task,
};
use tokio::sync::oneshot;

/// Most questions in one call.
pub(crate) const TOGETHER_MAX: usize = 64;
/// Bytes of questions behind which a call takes no more.
const BYTES_MAX: usize = 256 << 10;

/// Makes one call: an answer to each question, in their order.
type Call<Q, A> = Arc<dyn Fn(Vec<Q>) -> BoxFuture<'static, Vec<A>> + Send + Sync>;

/// What can be put into a call with others.
pub(crate) trait Question: Send + 'static {
    /// About how many bytes it takes in the call.
    fn bytes(&self) -> usize;
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The question was put into no call.
    NotAsked,
    /// It was, and the answer did not come.
    Open,
}

struct Asked<Q, A> {
    number: u64,
    question: Q,
    reply: oneshot::Sender<A>,
}

struct State<Q, A> {
    next: u64,
    /// Calls under way.
    calls: usize,
    waiting: VecDeque<Asked<Q, A>>,
}

/// Gathers questions of one kind for one place. Clones are one and the same.
pub(crate) struct Gather<Q, A> {
    call: Call<Q, A>,
    calls_max: usize,
    state: Arc<Mutex<State<Q, A>>>,
}

impl<Q, A> Clone for Gather<Q, A> {
    fn clone(&self) -> Self {
        Self { call: self.call.clone(), calls_max: self.calls_max, state: self.state.clone() }
    }
}

impl<Q: Question, A: Send + 'static> Gather<Q, A> {
    /// At most `calls_max` calls run at a time.
    pub(crate) fn new(
        calls_max: usize,
        call: impl Fn(Vec<Q>) -> BoxFuture<'static, Vec<A>> + Send + Sync + 'static,
    ) -> Self {
        let state = State { next: 0, calls: 0, waiting: VecDeque::new() };
        Self { call: Arc::new(call), calls_max, state: Arc::new(Mutex::new(state)) }
    }

    /// Asks, together with whoever else does.
    ///
    /// # Errors
    /// [`NoAnswer`] after the deadline.
    pub(crate) async fn ask(&self, question: Q, deadline: Instant) -> Result<A, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        let number = {
            let mut state = self.state.lock();
            let number = state.next;
            state.next += 1;
            state.waiting.push_back(Asked { number, question, reply });
            if state.calls < self.calls_max {
                state.calls += 1;
                drop(task::spawn(self.clone().work()));
            }
            number
        };
        match clock::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(NoAnswer::Open),
            Err(_) => Err(self.give_up(number)),
        }
    }

    fn give_up(&self, number: u64) -> NoAnswer {
        let waiting = &mut self.state.lock().waiting;
        match waiting.iter().position(|asked| asked.number == number) {
            Some(at) => {
                waiting.remove(at);
                NoAnswer::NotAsked
            }
            None => NoAnswer::Open,
        }
    }

    /// Makes calls until nobody waits.
    async fn work(self) {
        loop {
            let (questions, replies): (Vec<Q>, Vec<_>) = self.take().into_iter().unzip();
            if questions.is_empty() {
                return;
            }
            let answers = (self.call)(questions).await;
            for (reply, answer) in replies.into_iter().zip(answers) {
                // Whoever has gone away needs no answer.
                let _ = reply.send(answer);
            }
        }
    }

    /// What the next call is about; if it is nothing, the caller has stopped calling.
    fn take(&self) -> Vec<(Q, oneshot::Sender<A>)> {
        let mut state = self.state.lock();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < TOGETHER_MAX && bytes < BYTES_MAX {
            let Some(asked) = state.waiting.pop_front() else { break };
            if !asked.reply.is_closed() {
                bytes += asked.question.bytes();
                taken.push((asked.question, asked.reply));
            }
        }
        if taken.is_empty() {
            state.calls -= 1;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{FutureExt, future::join_all};
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    impl Question for u64 {
        fn bytes(&self) -> usize {
            BYTES_MAX.div_ceil(10)
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// Calls tell what is in them, wait for a permit and double each question.
    fn doubling(
        calls_max: usize,
    ) -> (Gather<u64, u64>, mpsc::UnboundedReceiver<Vec<u64>>, Arc<Semaphore>) {
        let (told, calls) = mpsc::unbounded_channel();
        let gate = Arc::new(Semaphore::new(0));
        let held = gate.clone();
        let gather = Gather::new(calls_max, move |questions: Vec<u64>| {
            told.send(questions.clone()).unwrap();
            let gate = held.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                questions.into_iter().map(|question| question * 2).collect()
            }
            .boxed()
        });
        (gather, calls, gate)
    }

    #[tokio::test]
    async fn what_is_asked_during_a_call_shares_the_next_one() {
        let (gather, mut calls, gate) = doubling(1);
        let asking = |question| {
            let gather = gather.clone();
            task::spawn(async move { gather.ask(question, soon()).await })
        };
        let first = asking(1);
        assert_eq!(calls.recv().await, Some(vec![1]));
        let others: Vec<_> = (2..=14).map(asking).collect();
        while gather.state.lock().waiting.len() < 13 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
        assert_eq!(first.await.unwrap(), Ok(2));
        let second = calls.recv().await.unwrap();
        assert_eq!(second.len(), 10, "as many as the bytes allow");
        gate.add_permits(2);
        let answers = join_all(others).await;
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().unwrap()).collect();
        assert_eq!(answers, (2..=14).map(|question| question * 2).collect::<Vec<_>>());
        assert_eq!(calls.recv().await.unwrap().len(), 3);
        // And the next one begins at once again.
        gate.add_permits(1);
        assert_eq!(gather.ask(50, soon()).await, Ok(100));
    }

    #[tokio::test]
    async fn whoever_stops_waiting_knows_whether_it_was_asked() {
        let (gather, mut calls, gate) = doubling(1);
        let late = gather.clone();
        let first = task::spawn(async move { late.ask(1, soon()).await });
        assert_eq!(calls.recv().await, Some(vec![1]));
        assert_eq!(gather.ask(2, Instant::now()).await, Err(NoAnswer::NotAsked));
        let other = gather.clone();
        let gone = task::spawn(async move { other.ask(3, soon()).await });
        while gather.state.lock().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        gone.abort();
        assert!(gone.await.is_err());
        gate.add_permits(2);
        assert_eq!(first.await.unwrap(), Ok(2));
        assert_eq!(gather.ask(4, soon()).await, Ok(8));
        assert_eq!(calls.recv().await, Some(vec![4]), "RTH-13");
    }
}
