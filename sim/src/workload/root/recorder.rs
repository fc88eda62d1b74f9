//! The recorder: everything that a run shows, stamped by one clock, in one order.
//!
//! Invariants: stamps never decrease and operations are numbered in the order of their invocation, so
//! that what was recorded is a [`History`]; an operation is completed once.
//!
//! Not here: whose clock it is (whoever makes the recorder says), and files.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;

use crate::judge::history::{
    Answer, Call, Event, Header, History, Invoke, Malformed, Outcome, Request, What,
};

/// Records events. Clones are one and the same.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    now_us: Box<dyn Fn() -> u64 + Send + Sync>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    events: Vec<Event>,
    ops: u64,
    faults: u64,
    /// Actions that were proposed, oldest first.
    actions: Vec<u64>,
    /// Operations that have not ended, with what they ask.
    open: BTreeMap<u64, Call>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({} events)", self.len())
    }
}

impl Log {
    fn push(&mut self, now_us: u64, what: What) {
        // Nodes go on for a moment after the recording is complete.
        if self.events.last().is_some_and(|event| event.what == What::End) {
            return;
        }
        // The clock is read outside of any order; the order is that of this list.
        let last_us = self.events.last().map_or(0, |event| event.at_us);
        self.events.push(Event { at_us: now_us.max(last_us), what });
    }
}

impl Recorder {
    /// A recorder with the observer's clock, microseconds since the run began.
    pub fn new(now_us: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { now_us: Box::new(now_us), log: Mutex::default() }))
    }

    /// The observer's time, microseconds since the run began.
    pub fn now_us(&self) -> u64 {
        (self.0.now_us)()
    }

    /// Number of events so far.
    pub fn len(&self) -> usize {
        self.0.log.lock().events.len()
    }

    /// Whether nothing was recorded yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records an event that is no operation of a client.
    pub fn record(&self, what: What) {
        let mut log = self.0.log.lock();
        let now_us = self.now_us();
        log.push(now_us, what);
    }

    /// Records that a client asks, and numbers the operation.
    pub fn invoke(&self, client: &str, node: &str, request: Option<Request>, call: Call) -> u64 {
        let mut log = self.0.log.lock();
        log.ops += 1;
        let op = log.ops;
        log.open.insert(op, call.clone());
        let (client, node) = (client.to_owned(), node.to_owned());
        let now_us = self.now_us();
        log.push(now_us, What::Invoke(Invoke { op, client, node, request, call }));
        op
    }

    /// Records how an operation ended. Completing it again changes nothing.
    pub fn complete(&self, op: u64, outcome: Outcome) {
        let mut log = self.0.log.lock();
        if log.open.remove(&op).is_none() {
            return;
        }
        if let Outcome::Done(done) = &outcome
            && let Answer::Proposed { action, .. } = done.answer
            && !log.actions.contains(&action)
        {
            log.actions.push(action);
        }
        let now_us = self.now_us();
        log.push(now_us, What::Complete { op, outcome });
    }

    /// Records that a fault begins, and numbers it.
    pub fn fault(&self, kind: &str, at: &[&str]) -> u64 {
        let mut log = self.0.log.lock();
        log.faults += 1;
        let fault = log.faults;
        let at = at.iter().map(|node| (*node).to_owned()).collect();
        let now_us = self.now_us();
        log.push(now_us, What::Fault { fault, kind: kind.to_owned(), at });
        fault
    }

    /// Records that a fault is over.
    pub fn fault_over(&self, fault: u64) {
        self.record(What::FaultOver { fault });
    }

    /// Records that a node starts or stops.
    pub fn node(&self, node: &str, up: bool) {
        self.record(What::Node { node: node.to_owned(), up });
    }

    /// Actions that were proposed so far, oldest first.
    pub fn actions(&self) -> Vec<u64> {
        self.0.log.lock().actions.clone()
    }

    /// Number of operations that have not ended.
    pub fn open(&self) -> usize {
        self.0.log.lock().open.len()
    }

    /// What a look at all events so far shows.
    pub fn look<T>(&self, look: impl FnOnce(&[Event]) -> T) -> T {
        look(&self.0.log.lock().events)
    }

    /// The history so far.
    ///
    /// # Errors
    /// [`Malformed`] when what was recorded by [`Recorder::record`] can be no part of one.
    pub fn history(&self, header: Header) -> Result<History, Malformed> {
        History::new(header, self.0.log.lock().events.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::judge::history::{Bounds, Done, Expiry, Order, VERSION};

    fn header() -> Header {
        Header {
            history_version: VERSION,
            run: "a test".to_owned(),
            order: Order::Recorded,
            expiry: Expiry::ByLease { drift_ppm: 1000 },
            bounds: Bounds::default(),
            clock_fast_ppm: None,
            voters: Vec::new(),
            federation: None,
        }
    }

    fn call() -> Call {
        Call::Propose { agent: "ann".to_owned(), action: "a".to_owned() }
    }

    #[test]
    fn what_is_recorded_is_a_history_even_if_the_clock_goes_back() {
        let now = Arc::new(AtomicU64::new(50));
        let recorder = Recorder::new({
            let now = now.clone();
            move || now.fetch_sub(1, Ordering::Relaxed)
        });
        let fault = recorder.fault("kill", &["n1"]);
        let op = recorder.invoke("c1", "n1", None, call());
        recorder.node("n1", false);
        recorder.fault_over(fault);
        let answer = Answer::Proposed { action: 7, needed: 1 };
        let done = Outcome::Done(Done { answer, index: Some(7), evidence: None });
        recorder.complete(op, done);
        recorder.complete(op, Outcome::Unknown { detail: "again".to_owned() });
        recorder.record(What::End);
        assert_eq!((recorder.open(), recorder.actions()), (0, vec![7]));
        let history = recorder.history(header()).expect("a history");
        assert_eq!(history.events().len(), 6);
        assert!(history.events().iter().all(|event| event.at_us == 50));
        let again = History::from_lines(&history.to_lines()).expect("it can be read");
        assert_eq!(again, history);
    }

    #[test]
    fn recorders_of_many_threads_make_one_order() {
        let recorder = Recorder::new(|| 1);
        std::thread::scope(|scope| {
            for client in 0..4 {
                let recorder = recorder.clone();
                scope.spawn(move || {
                    for _ in 0..100 {
                        let op = recorder.invoke(&format!("c{client}"), "n1", None, call());
                        recorder.complete(op, Outcome::Unknown { detail: String::new() });
                    }
                });
            }
        });
        recorder.record(What::End);
        assert_eq!(recorder.history(header()).expect("a history").events().len(), 801);
    }
}
