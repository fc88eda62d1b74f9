//! The worker that owns the writing connection.
//!
//! A group is everything that was queued while the last one was committed: one transaction, one
//! fsync, then the index, then the answers.
//!
//! Invariants: `STO-1`, `STO-4`, `STO-5`; `SQL-2` an I/O error stops the node and leaves the connection
//! open; `WRT-2` on a full disk nothing of the group is kept, every connection is replaced, and the node
//! goes on.
//!
//! Not here: what requests mean (`group`).

use std::sync::Arc;

use runtime::{clock::Instant, span::Traced, worker::Replies};
use tokio::sync::oneshot;
use types::{Reason, Reject};

use super::{
    group::Group, head::Head, overlay::Entry, prepare::Ready, traces::Traces,
    vocabulary::Vocabulary,
};
use crate::{
    answer::WriteReceipt,
    error::StoreError,
    request::Intent,
    rows::{
        config::StoreConfig,
        counters::Counters,
        engine::{Engine, Role, Survival},
        fault::{SqlFault, unavailable},
        indexes::Task,
        moves::Moves,
        pool::ReadPool,
        recall::Recall,
        vectors,
        work::{self, TextJob, TextsDone},
    },
    sql::Connection,
};

/// Operations after which upkeep of the indexes is asked for.
const TICK_EVERY: u64 = 500;

/// What those are told who came when there was no connection.
const UNREACHED: &str = "cannot be reached";

/// What the worker is asked.
pub(crate) enum Job {
    /// Commit a request.
    Write(Box<Ready>, Caller),
    /// See to texts that wait for vectors.
    Texts(TextJob, oneshot::Sender<Result<TextsDone, StoreError>>),
    /// Checkpoint the log and release the connection: the last job.
    Close(oneshot::Sender<()>),
}

/// Where the answer to a write goes.
pub(super) type Caller = oneshot::Sender<Result<WriteReceipt, StoreError>>;
/// A waiting caller and what it will be told.
pub(super) type Answered = (Caller, Result<WriteReceipt, StoreError>);

/// Why a group was not kept.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) fault: SqlFault,
    /// Whether it may have been kept after all, because it failed while it was committed.
    pub(crate) in_commit: bool,
}

impl<E: Into<SqlFault>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { fault: error.into(), in_commit: false }
    }
}

/// What those are told whose group was not kept.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// There is no room.
    NoRoom,
    /// The database did not do it, for this reason; nothing was kept.
    Away(&'static str),
    /// The database was lost while it committed.
    Unknown,
}

impl Told {
    fn error(self) -> StoreError {
        match self {
            Told::NoRoom => storage_full().into(),
            Told::Away(trouble) => unavailable(trouble).into(),
            Told::Unknown => {
                let cause = "the database was lost before it answered".to_owned();
                StoreError::Unknown { doing: "committing", cause }
            }
        }
    }
}

/// Does requests in one transaction of the group's connection. What is answered holds once this is Ok.
fn within(
    group: &mut Group<'_>,
    (engine, recall): (&dyn Engine, &Recall),
    admitted: &mut impl Iterator<Item = (Box<Ready>, Caller)>,
    answered: &mut Vec<Answered>,
) -> Result<Vec<Entry>, Failed> {
    let transaction = group.connection.begin()?;
    let filled = engine
        .catch_up(group.connection, group.words, group.head)
        .and_then(|()| fill(group, recall, admitted, answered));
    match filled {
        Ok(entries) => match transaction.commit() {
            Ok(()) => Ok(entries),
            Err(error) => Err(Failed { fault: error.into(), in_commit: true }),
        },
        Err(fault) => {
            transaction.abandon();
            Err(fault.into())
        }
    }
}

/// Does requests within a transaction that is open.
fn fill(
    group: &mut Group<'_>,
    recall: &Recall,
    admitted: &mut impl Iterator<Item = (Box<Ready>, Caller)>,
    answered: &mut Vec<Answered>,
) -> Result<Vec<Entry>, SqlFault> {
    let mut now_ms = 0;
    for (ready, to) in admitted {
        now_ms = now_ms.max(ready.request.now_ms);
        let answer = match group.request(*ready) {
            Ok(receipt) => Ok(receipt),
            Err(SqlFault::Sql(error)) => {
                answered.push((to, Err(Told::Away(UNREACHED).error())));
                return Err(error.into());
            }
            // A damaged row concerns who asked for it; the others go on.
            Err(fault) => Err(fault.into_store_error("reading for a write")),
        };
        answered.push((to, answer));
    }
    if group.has_rows() {
        group.flush(now_ms)?;
    } else {
        // Names that only refused requests used were not written, so they are not known.
        group.words.forget();
    }
    let entries = group.overlay.take_dirty();
    if let Recall::Database(database) = recall {
        database.keep(group.connection, &entries, &group.config.space)?;
    }
    Ok(entries)
}

/// The owner of the writing connection.
pub(crate) struct Writer {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) config: Arc<StoreConfig>,
    /// `None` after `Close`, and while the database cannot be reached.
    pub(crate) connection: Option<Connection>,
    /// After `Close`.
    pub(crate) is_closed: bool,
    pub(crate) words: Vocabulary,
    pub(crate) head: Head,
    /// Why the audit chain must not be continued, if so.
    pub(crate) broken: Option<String>,
    pub(crate) recall: Recall,
    pub(crate) pool: ReadPool,
    pub(crate) moves: Moves,
    pub(crate) counters: Arc<Counters>,
    pub(crate) traces: Arc<Traces>,
    /// Position at which upkeep was last asked for.
    pub(crate) ticked: u64,
}

impl Writer {
    /// Handles what was queued.
    pub(crate) fn handle(&mut self, jobs: &mut Vec<Job>, replies: &mut Replies) {
        let mut group: Vec<(Box<Ready>, Caller)> = Vec::new();
        let mut intents = 0;
        for job in jobs.drain(..) {
            match job {
                Job::Write(ready, to) => {
                    let more = ready.request.intents.len();
                    if intents > 0 && intents + more > self.config.group_intents_max {
                        self.commit(std::mem::take(&mut group), replies);
                        intents = 0;
                    }
                    intents += more;
                    group.push((ready, to));
                }
                Job::Texts(job, to) => {
                    self.commit(std::mem::take(&mut group), replies);
                    intents = 0;
                    let done = self.see_to(&job);
                    replies.send(to, done);
                }
                Job::Close(to) => {
                    self.commit(std::mem::take(&mut group), replies);
                    intents = 0;
                    self.close();
                    replies.send(to, ());
                }
            }
        }
        self.commit(group, replies);
        self.tend(false);
    }

    fn commit(&mut self, group: Vec<(Box<Ready>, Caller)>, replies: &mut Replies) {
        if group.is_empty() {
            return;
        }
        let started = Instant::now();
        let (refused, admitted): (Vec<_>, Vec<_>) = {
            let away = !self.is_connected();
            let full = self.engine.is_short_of_space(self.config.reserve_bytes);
            group.into_iter().partition(|(ready, _)| {
                self.broken.is_some() || (full && !frees_space(ready)) || away
            })
        };
        for (_, to) in refused {
            replies.send(to, Err(self.refusal().into()));
        }
        if admitted.is_empty() {
            return;
        }
        let old = self.head.clone();
        // As most groups have none, this allocates nothing (`SPN-1`).
        let traced: Vec<(usize, Traced, Instant)> = admitted
            .iter()
            .enumerate()
            .filter_map(|(at, (ready, _))| {
                ready.traced.clone().map(|(traced, came)| (at, traced, came))
            })
            .collect();
        let mut answered: Vec<Answered> = Vec::with_capacity(admitted.len());
        match self.transact(admitted, &mut answered) {
            Ok(entries) => {
                self.words.keep();
                self.trace(started, traced, &answered);
                self.publish(&old, entries);
                for (to, answer) in answered {
                    replies.send(to, answer);
                }
            }
            Err(failed) => {
                let told = self.recover(failed, old.clone());
                if told.is_none() {
                    self.words.keep();
                    self.publish(&old, Vec::new());
                }
                for (to, answer) in answered {
                    replies.send(to, told.map_or(answer, |told| Err(told.error())));
                }
            }
        }
        self.counters.committed(started.elapsed());
    }

    /// Tells how long requests that are traced waited and were committed for, before anybody sees them (`WTR-1`).
    fn trace(
        &self,
        started: Instant,
        traced: Vec<(usize, Traced, Instant)>,
        answered: &[Answered],
    ) {
        for (at, traced, came) in traced {
            let Some((_, answer)) = answered.get(at) else { continue };
            traced.record("store.queue", came, started);
            traced.record("store.commit", started, Instant::now());
            if let Some(made) = answer.as_ref().ok().and_then(|receipt| receipt.operations) {
                self.traces.note(made.last, traced);
            }
        }
    }

    /// Does the requests in one transaction. Every sender is in `answered` afterwards, whatever happened.
    pub(super) fn transact(
        &mut self,
        admitted: Vec<(Box<Ready>, Caller)>,
        answered: &mut Vec<Answered>,
    ) -> Result<Vec<Entry>, Failed> {
        let Some(connection) = &self.connection else { return Ok(Vec::new()) };
        let mut admitted = admitted.into_iter();
        let mut group = Group::new(connection, &self.config, &mut self.words, &mut self.head);
        group.may_forget = self.recall.indexes().is_none_or(|indexes| !indexes.is_filling());
        let below = (self.engine.as_ref(), &self.recall);
        let done = within(&mut group, below, &mut admitted, answered);
        let changes_agents = !group.overlay.agents.is_empty();
        if done.is_ok() && changes_agents {
            self.moves.agents_changed();
        }
        // Only after a failure, which decides what they are told.
        answered.extend(admitted.map(|(_, to)| (to, Err(Told::Away(UNREACHED).error()))));
        done
    }

    /// Shows a committed group to readers.
    pub(super) fn publish(&mut self, old: &Head, entries: Vec<Entry>) {
        let position = self.head.position;
        if position == old.position {
            return;
        }
        if let Recall::Memory(indexes, _) = &self.recall {
            let applied = indexes.apply(position, entries, &mut self.words, &self.config.space);
            if let Err(fault) = applied {
                // Recall would answer without acknowledged memories; the next start builds the index anew.
                runtime::fatal::stop_node(&format!("cannot index what was committed: {fault}"));
            }
        }
        self.moves.to(position);
        if position >= self.ticked.saturating_add(TICK_EVERY) {
            self.ticked = position;
            // A full queue means that upkeep is under way already.
            if let Recall::Memory(_, upkeep) = &self.recall {
                let _ = upkeep.try_send(Task::Tick);
            }
        }
    }

    /// After a failed transaction: stops the node where nothing can be trusted, and says what to tell where it goes on;
    /// `None` when the group was kept after all.
    fn recover(&mut self, failed: Failed, old: Head) -> Option<Told> {
        let Failed { fault, in_commit } = failed;
        let survival = self.engine.survival(&fault);
        if survival == Survival::Nothing {
            runtime::fatal::stop_node(&format!("a commit failed: {fault}"));
        }
        let trouble = match &fault {
            SqlFault::Sql(error) => error.trouble(),
            _ => UNREACHED,
        };
        tracing::warn!(%fault, "a group failed; replacing every connection");
        self.replace_connections();
        let told = match survival {
            Survival::NoRoom => Told::NoRoom,
            _ if in_commit => match self.was_kept(&old) {
                Some(true) => return None,
                Some(false) => Told::Away(trouble),
                // The next group begins where the chain ends, wherever that is.
                None => Told::Unknown,
            },
            _ => Told::Away(trouble),
        };
        self.give_back(old);
        Some(told)
    }

    /// Whether the group was kept that was lost while it was committed; `None` when that cannot be known.
    fn was_kept(&self, old: &Head) -> Option<bool> {
        if self.head.chain == old.chain {
            return None;
        }
        let connection = self.connection.as_ref()?;
        // Its server may still be at it: until then the lock that a transaction begins with is not to be had.
        let transaction = connection.begin().ok()?;
        let kept = self.head.was_kept(connection).ok();
        drop(transaction);
        kept
    }

    fn give_back(&mut self, old: Head) {
        self.head.take_back(old);
        self.words.forget();
    }

    /// Whatever state a failed transaction left in the connection goes with it. Afterwards there may be none.
    fn replace_connections(&mut self) {
        self.pool.reset();
        self.connection = None;
        match self.engine.open(Role::Writer) {
            Ok(connection) => self.connection = Some(connection),
            Err(error) => {
                let fault = SqlFault::from(error);
                if self.engine.survival(&fault) == Survival::Nothing {
                    runtime::fatal::stop_node(&format!("cannot reopen the store: {fault}"));
                }
                tracing::warn!(%fault, "the database cannot be reached");
            }
        }
    }

    /// Whether there is a connection, after trying to have one.
    fn is_connected(&mut self) -> bool {
        if self.connection.is_none() && !self.is_closed {
            self.replace_connections();
        }
        self.connection.is_some()
    }

    fn refusal(&self) -> Reject {
        if let Some(problem) = &self.broken {
            let detail = format!(
                "the audit chain is broken ({problem}); writes are refused until it is repaired: run `hivemem doctor`"
            );
            return Reject::new(Reason::ChainBroken, detail);
        }
        if self.is_closed {
            return Reject::new(Reason::Stopping, "the store is closed");
        }
        if self.connection.is_none() {
            return unavailable(UNREACHED);
        }
        storage_full()
    }

    /// Does what is to be done about texts; vectors are found from then on.
    fn see_to(&mut self, job: &TextJob) -> Result<TextsDone, StoreError> {
        self.is_connected();
        let Some(connection) = &self.connection else { return Err(self.refusal().into()) };
        self.do_with(connection, job).map_err(|fault| {
            match self.engine.survival(&fault) {
                Survival::Nothing => {}
                Survival::NoRoom => {
                    self.replace_connections();
                    return storage_full().into();
                }
                Survival::Away => self.replace_connections(),
            }
            fault.into_store_error("seeing to texts that wait for vectors")
        })
    }

    fn do_with(&self, connection: &Connection, job: &TextJob) -> Result<TextsDone, SqlFault> {
        let space = &self.config.space;
        let count = match job {
            TextJob::Keep(computed) => {
                let kept = vectors::keep(connection, &self.recall, space, computed)?;
                for (row, vector) in &kept {
                    if let Recall::Memory(indexes, _) = &self.recall {
                        indexes.add_vector(*row, &vector.values);
                    }
                }
                kept.len() as u64
            }
            TextJob::Take(limit, now_ms, lease_ms) => {
                let transaction = connection.begin()?;
                let taken = work::take(connection, space, *limit, (*now_ms, *lease_ms))?;
                transaction.commit()?;
                return Ok(TextsDone::Taken(taken));
            }
            TextJob::Return(texts) => work::give_back(connection, texts)?,
            TextJob::Revive => work::revive(connection)?,
            TextJob::Review => work::review(connection, space)?,
        };
        Ok(TextsDone::Count(count))
    }

    /// Lets the database do what it wants done, when it is due or when this is the end.
    fn tend(&mut self, is_end: bool) {
        let Some(connection) = &self.connection else { return };
        let done = match is_end {
            true => self.engine.settle(connection, &self.counters),
            false => self.engine.tend(connection, &self.counters),
        };
        if let Err(fault) = done {
            // What a full disk has stopped is tried again later.
            tracing::warn!(%fault, "the upkeep of the database had to stop");
            self.replace_connections();
        }
    }

    fn close(&mut self) {
        self.pool.close();
        self.tend(true);
        self.is_closed = true;
        self.connection = None;
    }
}

/// Whether a request only makes room or tidies up, so that it is let in when space is short.
fn frees_space(ready: &Ready) -> bool {
    let frees = |intent: &Intent| matches!(intent, Intent::Delete { .. } | Intent::Archive { .. });
    ready.request.intents.iter().all(frees)
}

fn storage_full() -> Reject {
    Reject::new(
        Reason::StorageFull,
        "the disk is full; nothing was kept: free some space and retry",
    )
}
