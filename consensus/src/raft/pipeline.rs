//! A stream of appends to one peer: questions without end, and an answer to each, in their order.
//!
//! The library tells which questions an answer is for by the end of the log that it names. A question
//! without entries names the same end as the one before it. So an answer on its way counts for a
//! question that was asked only now, and its time of sending for a sign of life: a leader that had stood
//! still for seconds believed that a majority had just confirmed it, and served reads that others had
//! overtaken. Here an answer is passed on only when it can be taken for nothing but what it is.
//!
//! Invariants: `RFT-22` an answer is passed on only while every question that the library would take
//! as answered by it has been answered; what is held back is said again by a later answer. `RFT-23` no
//! question is taken from the library while it works an answer in.
//!
//! Not here: how messages travel (`network`), what is in them (`message`).

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::{Stream, StreamExt, stream::BoxStream};
use openraft::{
    entry::RaftEntry,
    raft::{AppendEntriesRequest, StreamAppendResult},
};
use parking_lot::Mutex;
use types::planted;

use super::types::{LogId, TypeConfig};

/// The part of the log that a question is about: what is before it, and its last entry.
type Part = (Option<LogId>, Option<LogId>);

/// What the two sides of a stream know of each other.
#[derive(Default)]
struct Flow {
    /// Questions without an answer, in their order.
    asked: VecDeque<Part>,
    /// Whether the library works an answer in.
    busy: bool,
    /// Wakes who asks once it is done.
    waiting: Option<Waker>,
}

impl Flow {
    /// Whether the library would take an open question as answered, wholly or in part, by an answer
    /// that names this end of the log.
    fn counts_for_more(&self, end: &Option<LogId>) -> bool {
        self.asked.iter().any(|(before, last)| end >= last || end > before)
    }

    fn free(&mut self) {
        self.busy = false;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

/// Questions, noted as they are taken from the library.
pub(super) struct Questions<S> {
    input: S,
    flow: Arc<Mutex<Flow>>,
}

/// Answers to them.
pub(super) struct Answered<E> {
    answers: BoxStream<'static, Result<StreamAppendResult<TypeConfig>, E>>,
    flow: Arc<Mutex<Flow>>,
}

/// The place where questions and answers meet.
#[derive(Default)]
pub(super) struct Pipeline(Arc<Mutex<Flow>>);

impl Pipeline {
    /// The questions, as they are to be sent.
    pub(super) fn questions<S>(&self, input: S) -> Questions<S> {
        Questions { input, flow: self.0.clone() }
    }

    /// The answers to them, as they are to be passed on.
    pub(super) fn answered<E>(
        self,
        answers: BoxStream<'static, Result<StreamAppendResult<TypeConfig>, E>>,
    ) -> Answered<E> {
        Answered { answers, flow: self.0 }
    }
}

impl<S> Stream for Questions<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    type Item = AppendEntriesRequest<TypeConfig>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { input, flow } = &mut *self;
        // Held while the library makes the question: it notes it for itself before it is seen here.
        let mut flow = flow.lock();
        if flow.busy {
            flow.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        let question = input.poll_next_unpin(context);
        if let Poll::Ready(Some(request)) = &question {
            let before = request.prev_log_id;
            let last = request.entries.last().map(RaftEntry::log_id).or(before);
            flow.asked.push_back((before, last));
        }
        question
    }
}

impl<E> Stream for Answered<E> {
    type Item = Result<StreamAppendResult<TypeConfig>, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Whoever asks for the next answer is done with the one before.
        self.flow.lock().free();
        loop {
            let answer = std::task::ready!(self.answers.poll_next_unpin(context));
            if let Some(Ok(Ok(end))) = &answer {
                let mut flow = self.flow.lock();
                flow.asked.pop_front();
                if flow.counts_for_more(end) && !planted::is_on("answer-counts-for-later") {
                    continue;
                }
                flow.busy = true;
            }
            return Poll::Ready(answer);
        }
    }
}

impl<E> Drop for Answered<E> {
    fn drop(&mut self) {
        self.flow.lock().free();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use futures::{channel::mpsc, task::noop_waker_ref};

    use super::*;
    use crate::{
        log::EntryId,
        raft::types::{Entry, RaftVote, log_id},
    };

    type Result = std::result::Result<StreamAppendResult<TypeConfig>, ()>;

    struct Peer {
        library: mpsc::UnboundedSender<AppendEntriesRequest<TypeConfig>>,
        questions: Questions<mpsc::UnboundedReceiver<AppendEntriesRequest<TypeConfig>>>,
        wire: mpsc::UnboundedSender<Result>,
        answered: Answered<()>,
    }

    fn peer() -> Peer {
        let (both, (library, input), (wire, answers)) =
            (Pipeline::default(), mpsc::unbounded(), mpsc::unbounded());
        let questions = both.questions(input);
        Peer { library, questions, wire, answered: both.answered(answers.boxed()) }
    }

    fn id(index: u64) -> LogId {
        log_id(EntryId { term: 3, index })
    }

    impl Peer {
        /// The library has a question about the entries after `before` up to `last`.
        fn ask(&mut self, before: u64, last: u64) {
            let entry = |index| Entry::new_blank(id(index));
            let request = AppendEntriesRequest {
                vote: RaftVote::new_committed(3, 1),
                prev_log_id: Some(id(before)),
                entries: (before + 1..=last).map(entry).collect(),
                leader_commit: None,
            };
            self.library.unbounded_send(request).expect("taken");
        }

        /// Whether a question goes out.
        fn sends(&mut self) -> bool {
            let context = &mut Context::from_waker(noop_waker_ref());
            matches!(self.questions.poll_next_unpin(context), Poll::Ready(Some(_)))
        }

        fn answer(&mut self, end: u64) {
            self.wire.unbounded_send(Ok(Ok(Some(id(end))))).expect("heard");
        }

        /// The end of the log that the library learns of.
        fn learns(&mut self) -> Option<u64> {
            let context = &mut Context::from_waker(noop_waker_ref());
            match self.answered.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(Ok(Some(end))))) => Some(end.index),
                _ => None,
            }
        }
    }

    #[test]
    fn an_answer_does_not_count_for_a_later_question_without_entries() {
        let mut peer = peer();
        peer.ask(4, 5);
        assert!(peer.sends());
        peer.ask(5, 5);
        assert!(peer.sends());
        peer.answer(5);
        assert_eq!(peer.learns(), None, "RFT-22: the second question is open");
        peer.answer(5);
        assert_eq!(peer.learns(), Some(5));
    }

    #[test]
    fn answers_to_questions_with_entries_are_passed_on_as_they_come() {
        let mut peer = peer();
        for last in 5..8 {
            peer.ask(last - 1, last);
            assert!(peer.sends());
        }
        for last in 5..8 {
            peer.answer(last);
            assert_eq!(peer.learns(), Some(last));
        }
    }

    #[test]
    fn nothing_is_asked_while_an_answer_is_worked_in() {
        let mut peer = peer();
        peer.ask(4, 5);
        assert!(peer.sends());
        peer.answer(5);
        assert_eq!(peer.learns(), Some(5));
        peer.ask(5, 5);
        assert!(!peer.sends(), "RFT-23");
        assert_eq!(
            peer.learns(),
            None,
            "there is no further answer, and the last one is worked in"
        );
        assert!(peer.sends());
    }

    #[test]
    fn who_gives_the_answers_up_lets_the_questions_end() {
        let mut peer = peer();
        peer.ask(4, 5);
        assert!(peer.sends());
        peer.answer(5);
        assert_eq!(peer.learns(), Some(5));
        let Peer { library, mut questions, answered, .. } = peer;
        drop((library, answered));
        let context = &mut Context::from_waker(noop_waker_ref());
        assert!(matches!(questions.poll_next_unpin(context), Poll::Ready(None)));
    }
}
