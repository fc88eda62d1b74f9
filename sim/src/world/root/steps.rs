//! The members' steps, as the history has them.
//!
//! The nodes tell their steps as trace events (`consensus::steps`); here they are heard, named after the
//! machine that they happen on, and recorded.
//!
//! Invariant: an event is recorded at the moment it happens, by the one thread of the world.
//!
//! Not here: what the steps mean (the judge of the protocol).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use consensus::steps::TARGET;
use madsim::task::NodeId;
use parking_lot::Mutex;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{
    judge::history::{RaftStep, Request, What},
    workload::root::Recorder,
};

/// Where steps are recorded, and the names of the machines.
#[derive(Default)]
struct Ear {
    recorder: OnceLock<Recorder>,
    names: Mutex<BTreeMap<NodeId, String>>,
    /// What was recorded already, when another member shows it again: sessions that expired, indexes
    /// of requests that were queued.
    shown: Mutex<(BTreeSet<u64>, BTreeSet<u64>)>,
    traps: Mutex<BTreeMap<NodeId, Trap>>,
    recovering: Mutex<Option<String>>,
}

/// Waits for a step of a machine.
struct Trap {
    step: &'static str,
    /// Steps of that kind until it springs.
    left: u64,
    then: Box<dyn FnOnce() + Send>,
    sprung: Arc<AtomicBool>,
}

/// Hears steps. Clones are one and the same.
#[derive(Clone, Default)]
pub struct Steps(Arc<Ear>);

/// End of the name of a member that was put back to an older time.
pub const COPY: &str = "-copy";

/// The name of a member in histories.
pub fn name_of(member: u64) -> String {
    format!("n{member}")
}

#[derive(Default)]
struct Fields {
    step: String,
    numbers: BTreeMap<&'static str, u64>,
    texts: BTreeMap<&'static str, String>,
    executed: bool,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.numbers.insert(field.name(), value);
    }

    fn record_bool(&mut self, _: &Field, value: bool) {
        self.executed = value;
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "step" => self.step = value.to_owned(),
            name => {
                self.texts.insert(name, value.to_owned());
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.texts.insert(field.name(), format!("{value:?}"));
    }
}

impl Fields {
    fn number(&self, name: &str) -> u64 {
        self.numbers.get(name).copied().unwrap_or(0)
    }

    fn text(&self, name: &str) -> String {
        self.texts.get(name).cloned().unwrap_or_default()
    }

    fn voters(&self) -> Vec<Vec<String>> {
        let set = |set: &str| set.split(',').map(|member| format!("n{member}")).collect();
        self.text("voters").split(';').map(set).collect()
    }

    fn raft(&self) -> Option<RaftStep> {
        let (index, term) = (self.number("index"), self.number("term"));
        Some(match self.step.as_str() {
            "leader" => RaftStep::Leader { term },
            "voted" => RaftStep::Voted { term, candidate: name_of(self.number("member")) },
            "appended" => RaftStep::Appended { index, term, hash: self.text("hash") },
            "membership" => RaftStep::Membership { index, voters: self.voters() },
            "truncated" => RaftStep::Truncated { from: index },
            "purged" => RaftStep::Purged { upto: index },
            "durable" => RaftStep::Durable { index },
            "committed" => RaftStep::Committed { index, by_term: term },
            "applied" => RaftStep::Applied {
                index,
                term,
                state: self.text("hash"),
                request: self.request(),
                executed: self.executed,
            },
            "snapshot" => RaftStep::Snapshot { index, term, state: self.text("hash") },
            "recovered" => RaftStep::Recovered {
                last: index,
                last_term: term,
                vote_term: self.number("vote_term"),
            },
            _ => return None,
        })
    }

    fn request(&self) -> Option<Request> {
        let request = Request { session: self.number("session"), seq: self.number("seq") };
        (request.session > 0).then_some(request)
    }
}

impl Steps {
    /// Installs the ear for the whole process; with `trace`, everything else goes to standard error.
    pub fn install(trace: bool) -> Self {
        let steps = Self::default();
        // One filter for all layers: with a filter for each, a question of one crate whether something
        // is enabled makes another layer miss the next event.
        let all = std::env::var("HIVEMEM_SIM_LOG").unwrap_or_else(|_| {
            "info,hivemem=debug,consensus=debug,federation=debug,storage=info".to_owned()
        });
        let wanted =
            if trace { format!("{all},{TARGET}=trace") } else { format!("off,{TARGET}=trace") };
        let log = trace.then(|| {
            tracing_subscriber::fmt::layer()
                .without_time()
                .with_ansi(false)
                .with_writer(std::io::stderr)
        });
        let filter = tracing_subscriber::EnvFilter::new(wanted);
        let layers = tracing_subscriber::registry().with(filter).with(steps.clone()).with(log);
        layers.init();
        consensus::steps::watch();
        steps
    }

    /// From now on, steps are recorded there.
    pub fn tell(&self, recorder: Recorder) {
        // A process makes one run, so there is one recorder.
        let _ = self.0.recorder.set(recorder);
    }

    /// From now on, what happens on this machine is told under this name.
    pub fn call(&self, machine: NodeId, name: &str) {
        self.0.names.lock().insert(machine, name.to_owned());
    }

    /// Somebody recovers the folder of the member of this name, on no machine of its own: what its last
    /// entries cause then may never be shown by a member. `None`: that is over.
    pub fn recovering(&self, name: Option<&str>) {
        *self.0.recovering.lock() = name.map(str::to_owned);
    }

    /// Who takes a step that is shown now.
    fn who(&self, step: &str) -> Option<String> {
        let known = self.0.names.lock().get(&madsim::plugin::node()).cloned();
        let causes = ["expired", "queued"].contains(&step);
        known.or_else(|| self.0.recovering.lock().clone().filter(|_| causes))
    }

    /// Does something in the very moment in which the machine takes the `nth` step of a kind from now on,
    /// counted from 1, before the machine goes on. The flag tells whether it was done. A machine has one
    /// trap; a new one replaces it.
    pub fn trap(
        &self,
        machine: NodeId,
        step: &'static str,
        nth: u64,
        then: impl FnOnce() + Send + 'static,
    ) -> Arc<AtomicBool> {
        let sprung = Arc::new(AtomicBool::new(false));
        let trap = Trap { step, left: nth, then: Box::new(then), sprung: sprung.clone() };
        self.0.traps.lock().insert(machine, trap);
        sprung
    }

    /// Takes the machine's trap away.
    pub fn disarm(&self, machine: NodeId) {
        self.0.traps.lock().remove(&machine);
    }

    fn spring(&self, step: &str) {
        let machine = madsim::plugin::node();
        let mut traps = self.0.traps.lock();
        let Some(trap) = traps.get_mut(&machine).filter(|trap| trap.step == step) else { return };
        trap.left = trap.left.saturating_sub(1);
        if trap.left == 0
            && let Some(trap) = traps.remove(&machine)
        {
            drop(traps);
            (trap.then)();
            trap.sprung.store(true, Ordering::Relaxed);
        }
    }

    fn hear(&self, fields: &Fields) {
        let Some(recorder) = self.0.recorder.get() else { return };
        let Some(node) = self.who(&fields.step) else { return };
        match fields.step.as_str() {
            "expired" => self.expired(recorder, node, fields),
            "queued" if self.0.shown.lock().1.insert(fields.number("index")) => {
                queued(recorder, fields)
            }
            "queued" => {}
            // What a copy from an older time logs is nobody's business, and where its log begins is not
            // known: it must not lead, and what it applies must be what the others applied.
            step if node.ends_with(COPY) && !["leader", "voted", "applied"].contains(&step) => {}
            _ => {
                if let Some(step) = fields.raft() {
                    recorder.record(What::Raft { node, step });
                }
            }
        }
    }

    /// Every member shows every expiry; the first to do so is recorded.
    fn expired(&self, recorder: &Recorder, node: String, fields: &Fields) {
        let (session, index) = (fields.number("session"), fields.number("index"));
        if self.0.shown.lock().0.insert(session) {
            recorder.record(What::Expired { session, index, node });
        }
    }
}

/// The acquire that a member put into the queues, if it is one of a client.
fn queued(recorder: &Recorder, fields: &Fields) {
    let (request, index) = (fields.request(), fields.number("index"));
    let op = recorder.look(|events| {
        events.iter().rev().find_map(|event| match &event.what {
            What::Invoke(invoke) if invoke.request == request => Some(invoke.op),
            _ => None,
        })
    });
    if let Some(op) = op {
        recorder.record(What::Queued { op, index });
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Steps {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.hear(&fields);
        self.spring(&fields.step);
    }
}
