//! What a peer does, without doing it: things that happened go in, things to do come out.
//!
//! The engine keeps no memory and sends no byte. It knows, in numbers, what every peer has of this
//! node's feed, who waits for which write, what was refused, and when to ask whom. The driver carries out
//! what it says and tells what became of it. Design: `docs/adr/0007-replication.md`.
//!
//! | part | what |
//! |---|---|
//! | `sender` | this node's feed on its way to one peer |
//! | `write` | clients that wait for a quorum |
//! | `letters` | what a peer has refused |
//! | `pull` | asking what this node lacks |
//! | `health` | peers that do not answer |
//! | `stable` | what every member has |
//! | `comparing` | with whom to compare what is held |
//!
//! Invariants: `FED-1` to `FED-15`, each stated where it is kept. The same inputs give the same outputs.
//!
//! Not here: operations, clocks, sockets (the driver), what a receiver admits (`crate::admit`).

mod comparing;
mod health;
mod letters;
mod pull;
mod sender;
mod stable;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use types::{DeadLetter, NodeId, OpId, Reason, VersionVector};

pub use self::write::Short;
use self::{
    comparing::Comparing,
    health::Health,
    letters::Letters,
    pull::Round,
    sender::{Batch, Sender},
    stable::Stable,
    write::{End, Write, Writes},
};

/// Operations behind which it is forgotten what a peer went past. Who waits for a write mostly comes sooner; for one who
/// comes later the peer is asked again.
const UNTAKEN_KEPT: u64 = 10_000;

/// Names one attempt to send something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PushId(pub u64);

/// Names one client's wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteId(pub u64);

/// What a peer did with one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is applied and durable there.
    Applied,
    /// It was already.
    Known,
    /// It went past it, because it may not see it: no refusal, and no acknowledgement.
    Hidden,
    /// It is not, and this is why.
    Refused {
        /// Why.
        reason: Reason,
        /// One sentence for a person.
        detail: String,
    },
}

/// Something happened. Times are Unix milliseconds of the node's clock, which never runs backwards here.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A peer joined, or is known from before.
    Joined {
        /// Who.
        peer: NodeId,
    },
    /// A peer is no member any more.
    Left {
        /// Who.
        peer: NodeId,
    },
    /// This node's feed is durable up to here.
    Appended {
        /// Sequence of its last operation.
        last: u64,
    },
    /// This node covers this much of all feeds.
    Covered(VersionVector),
    /// A client waits until enough nodes have these operations of this node.
    Write {
        /// Its name.
        write: WriteId,
        /// First operation.
        first: u64,
        /// Last operation.
        last: u64,
        /// Nodes that must have them, this one among them.
        needed: usize,
        /// How long it waits, in milliseconds.
        within_ms: u64,
    },
    /// The client waits no more.
    Gone {
        /// Whose wait.
        write: WriteId,
    },
    /// The driver has put the operations up to `last` into a batch.
    Sized {
        /// To whom.
        peer: NodeId,
        /// Which batch.
        push: PushId,
        /// Last operation in it.
        last: u64,
    },
    /// A peer has judged what it was sent.
    Judged {
        /// Who.
        peer: NodeId,
        /// Which batch.
        push: PushId,
        /// What it did with each operation.
        verdicts: Vec<(OpId, Verdict)>,
        /// What it covers now.
        vector: VersionVector,
    },
    /// A peer cannot take a batch, because it lacks what is before it.
    Behind {
        /// Who.
        peer: NodeId,
        /// Which batch.
        push: PushId,
        /// What it covers.
        vector: VersionVector,
    },
    /// A batch cannot be made: the log does not reach back to where it begins.
    Cut {
        /// To whom.
        peer: NodeId,
        /// Which batch.
        push: PushId,
        /// What the peer covers.
        vector: VersionVector,
    },
    /// A batch was not answered.
    Failed {
        /// By whom.
        peer: NodeId,
        /// Which batch.
        push: PushId,
    },
    /// A peer said of its own accord what it covers.
    Heard {
        /// Who.
        peer: NodeId,
        /// What it covers.
        vector: VersionVector,
    },
    /// A peer has told what this node lacked.
    Pulled {
        /// Who.
        peer: NodeId,
        /// What it covers.
        vector: VersionVector,
        /// Whether there is more.
        more: bool,
        /// Whether its log does not reach back to where this node is.
        is_cut: bool,
    },
    /// What is held was compared with a peer.
    Compared {
        /// Who.
        peer: NodeId,
        /// Whether to the end.
        whole: bool,
    },
    /// A peer was asked and did not answer, or what it told could not be taken.
    PullFailed {
        /// Who.
        peer: NodeId,
    },
    /// An operator wants refused operations tried again: one, or all of a peer's.
    Retry {
        /// Whose.
        peer: NodeId,
        /// Which.
        seq: Option<u64>,
    },
    /// An operator gives refused operations up: one, or all of a peer's.
    Purge {
        /// Whose.
        peer: NodeId,
        /// Which.
        seq: Option<u64>,
    },
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send operations of this node, from `first` on, as many as fit and at most up to `last`; say how many
    /// with [`Input::Sized`].
    Push {
        /// To whom.
        peer: NodeId,
        /// Under which name.
        push: PushId,
        /// First operation.
        first: u64,
        /// Last operation.
        last: u64,
        /// What the peer has of other feeds: what it lacks of those must be in front.
        lacks: Option<VersionVector>,
    },
    /// Send these operations again, which are of this node, under its present name or an earlier one.
    Retry {
        /// To whom.
        peer: NodeId,
        /// Under which name.
        push: PushId,
        /// Which.
        ids: Vec<OpId>,
    },
    /// Ask a peer what this node lacks.
    Pull {
        /// Whom.
        peer: NodeId,
    },
    /// Compare what is held with a peer; say with [`Input::Compared`] how it ended.
    Compare {
        /// Whom.
        peer: NodeId,
        /// Whether to take everything that it shows, and to cover what it covers.
        all: bool,
    },
    /// A write has its quorum.
    Met {
        /// Which.
        write: WriteId,
        /// Nodes that have it.
        got: usize,
        /// Nodes that must.
        needed: usize,
    },
    /// A write has it not.
    NotMet {
        /// Which.
        write: WriteId,
        /// Nodes that have it.
        got: usize,
        /// Nodes that must.
        needed: usize,
        /// Why.
        short: Short,
    },
    /// Keep a dead letter, in place of an older one for the same operation.
    KeepLetter {
        /// To whom it was.
        peer: NodeId,
        /// The letter.
        letter: DeadLetter,
    },
    /// Keep it no longer.
    DropLetter {
        /// To whom it was.
        peer: NodeId,
        /// Which operation.
        id: OpId,
    },
    /// Every member covers this much, and nothing can come whose author did not know it.
    Stable(VersionVector),
}

/// What may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Pause between two rounds of catching up, in milliseconds.
    pub catch_up_ms: u64,
    /// Pause between two comparisons with one peer, in milliseconds.
    pub compare_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { catch_up_ms: 15_000, compare_ms: 600_000 }
    }
}

/// What is known of a peer.
#[derive(Clone, Debug, Default)]
struct Peer {
    sender: Sender,
    letters: Letters,
    health: Health,
    /// The try of letters under way.
    retrying: Option<PushId>,
    /// What it went past without taking it, and nobody sends it any more, lately or of writes that are waited for:
    /// what it may not see, and what an operator has given up.
    untaken: BTreeMap<u64, Reason>,
}

impl Peer {
    /// When something can be sent to it again, if nothing is heard of it.
    fn next_ms(&self, last: u64) -> Option<u64> {
        if self.retrying.is_some() || self.sender.in_flight() > 0 {
            // Its answer, or the lack of one, comes first.
            return None;
        }
        let lags = self.sender.settled() < last && self.health.failures() > 0;
        let due_ms = if lags { Some(0) } else { self.letters.next_ms() };
        due_ms.map(|due_ms| due_ms.max(self.health.quiet_until_ms()))
    }
}

/// A peer, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Who.
    pub peer: NodeId,
    /// How much of this node's feed it has settled.
    pub settled: u64,
    /// Operations of this node that it has not settled.
    pub lag: u64,
    /// Batches under way.
    pub in_flight: usize,
    /// Failures since it last answered.
    pub failures: u32,
    /// When it is asked again, Unix milliseconds; 0 when it answers.
    pub quiet_until_ms: u64,
    /// What it has refused.
    pub letters: Vec<DeadLetter>,
}

/// One node's part in a federation.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The name under which it speaks.
    me: NodeId,
    options: Options,
    /// Last durable operation of this node.
    last: u64,
    peers: BTreeMap<NodeId, Peer>,
    /// What those have refused who are no members now.
    away: BTreeMap<NodeId, Letters>,
    writes: Writes,
    round: Round,
    stable: Stable,
    comparing: Comparing,
    pushes: u64,
}

impl Engine {
    /// A node whose feed of that name is durable up to `last` and that covers this much; `letters` is what others have
    /// refused so far.
    pub fn new(
        me: NodeId,
        last: u64,
        covered: VersionVector,
        letters: BTreeMap<NodeId, Vec<DeadLetter>>,
        options: Options,
    ) -> Self {
        let away = letters.into_iter().map(|(peer, kept)| (peer, Letters::resume(kept)));
        Self {
            away: away.collect(),
            me,
            options,
            last,
            peers: BTreeMap::new(),
            writes: Writes::default(),
            round: Round::default(),
            stable: Stable::new(covered),
            comparing: Comparing::default(),
            pushes: 0,
        }
    }

    /// Takes what happened at `now_ms`, and says what is to be done.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Tick => {}
            Input::Joined { peer } => self.joined(peer),
            Input::Left { peer } => self.left(peer),
            Input::Appended { last } => self.last = self.last.max(last),
            Input::Covered(vector) => self.stable.mine(vector),
            Input::Write { write, first, last, needed, within_ms } => {
                let deadline_ms = now_ms.saturating_add(within_ms);
                self.writes.begin(write, Write::new(first, last, needed, deadline_ms));
                // It may have travelled before anybody came to wait for it.
                for peer in self.peers.keys().copied().collect::<Vec<_>>() {
                    if let Some(known) = self.peers.get_mut(&peer) {
                        known.sender.ask_from(first);
                    }
                    self.count(peer);
                }
            }
            Input::Gone { write } => self.writes.forget(write),
            Input::Sized { peer, push, last } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.sender.sized(push, last);
                }
            }
            Input::Judged { peer, push, verdicts, vector } => {
                self.judged(peer, push, verdicts, now_ms, &mut out);
                self.heard(peer, vector);
            }
            Input::Behind { peer, push, vector } => self.behind(peer, push, vector),
            Input::Cut { peer, push, vector } => self.cut(peer, push, vector, now_ms),
            Input::Failed { peer, push } => self.failed(peer, push, now_ms),
            Input::Heard { peer, vector } => self.heard(peer, vector),
            Input::Pulled { peer, vector, more, is_cut } => {
                self.heard(peer, vector);
                if is_cut {
                    self.comparing.is_cut(peer);
                }
                self.pulled(peer, more, now_ms, &mut out);
            }
            Input::PullFailed { peer } => {
                self.pulled(peer, false, now_ms, &mut out);
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.health.failed(peer, now_ms);
                }
                // Another one may have it.
                self.round.hurry(now_ms);
            }
            Input::Compared { peer, whole } => {
                self.comparing.ended(peer, whole, self.options.compare_ms, now_ms);
                if whole {
                    // What the log has beyond it can be had now.
                    self.round.hurry(now_ms);
                }
            }
            Input::Retry { peer, seq } => self.retry(peer, seq, now_ms, &mut out),
            Input::Purge { peer, seq } => self.purge(peer, seq, &mut out),
        }
        self.proceed(now_ms, &mut out);
        out
    }

    /// When something is to be done next if nothing happens, Unix milliseconds.
    pub fn next_ms(&self) -> Option<u64> {
        let peers = self.peers.values().filter_map(|peer| peer.next_ms(self.last));
        let awake_ms = self.peers.values().map(|peer| peer.health.quiet_until_ms()).min();
        let round =
            self.round.next_ms().zip(awake_ms).map(|(due_ms, awake_ms)| due_ms.max(awake_ms));
        let compare =
            self.comparing.next_ms().zip(awake_ms).map(|(due_ms, awake_ms)| due_ms.max(awake_ms));
        peers.chain(round).chain(compare).chain(self.writes.next_ms()).min()
    }

    /// The peers, in order.
    pub fn peers(&self) -> Vec<PeerView> {
        let view = |(peer, known): (&NodeId, &Peer)| PeerView {
            peer: *peer,
            settled: known.sender.settled(),
            lag: self.last.saturating_sub(known.sender.settled()),
            in_flight: known.sender.in_flight(),
            failures: known.health.failures(),
            quiet_until_ms: known.health.quiet_until_ms(),
            letters: known.letters.iter().cloned().collect(),
        };
        self.peers.iter().map(view).collect()
    }

    /// What others have refused and nobody has given up, those among them who are no members now.
    pub fn letters(&self) -> Vec<(NodeId, DeadLetter)> {
        let members = self.peers.iter().map(|(peer, known)| (peer, &known.letters));
        let all: BTreeMap<&NodeId, &Letters> = members.chain(&self.away).collect();
        let one = |(peer, kept): (&NodeId, &Letters)| -> Vec<(NodeId, DeadLetter)> {
            kept.iter().map(|letter| (*peer, letter.clone())).collect()
        };
        all.into_iter().flat_map(one).collect()
    }

    /// Writes that clients wait for.
    pub fn waiting(&self) -> usize {
        self.writes.len()
    }

    fn joined(&mut self, peer: NodeId) {
        if !peer.speaks_as(self.me) && !self.peers.contains_key(&peer) {
            let letters = self.away.remove(&peer).unwrap_or_default();
            self.peers.insert(peer, Peer { letters, ..Peer::default() });
            self.stable.joined(peer);
            self.comparing.joined(peer);
        }
    }

    fn left(&mut self, peer: NodeId) {
        if let Some(mut known) = self.peers.remove(&peer) {
            known.letters.tried();
            // It may come back (`FED-4`).
            if known.letters.iter().next().is_some() {
                self.away.insert(peer, known.letters);
            }
        }
        self.round.left(peer);
        self.stable.left(peer);
        self.comparing.left(peer);
        self.writes.left(peer);
    }

    /// A sign of life that says what the peer covers.
    fn heard(&mut self, peer: NodeId, vector: VersionVector) {
        let has = vector.get(self.me);
        let waited = self.writes.first().unwrap_or(u64::MAX);
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.health.heard();
        if known.sender.settled() == 0 && known.sender.in_flight() == 0 {
            // After a start nothing is known of what it has.
            known.sender = Sender::resume(has.min(waited.saturating_sub(1)));
        }
        self.stable.heard(peer, vector);
        self.count(peer);
    }

    /// Lets the writes know what a peer has settled.
    fn count(&mut self, peer: NodeId) {
        let waited = self.writes.first().unwrap_or(u64::MAX);
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let kept = waited.min(known.sender.settled().saturating_sub(UNTAKEN_KEPT));
        let rest = known.untaken.split_off(&kept);
        if !std::mem::replace(&mut known.untaken, rest).is_empty() {
            known.sender.forget(kept - 1);
        }
        let refused = |first, last| {
            let [from, to] = [first, last].map(|seq| OpId { origin: self.me, seq });
            let refused = known.letters.reason_among(from, to).map(|letter| letter.reason);
            let untaken = known.untaken.range(first..=last).next().map(|(_, reason)| *reason);
            refused.or(untaken)
        };
        self.writes.settled(peer, known.sender.settled(), refused);
    }

    fn judged(
        &mut self,
        peer: NodeId,
        push: PushId,
        verdicts: Vec<(OpId, Verdict)>,
        now_ms: u64,
        out: &mut Vec<Output>,
    ) {
        let me = self.me;
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let settled = if known.retrying == Some(push) {
            known.retrying = None;
            known.letters.tried();
            verdicts
        } else {
            let mine = verdicts.into_iter().filter(|(id, _)| id.origin == me);
            let mine = mine.map(|(id, verdict)| (id.seq, verdict)).collect();
            let settled = known.sender.judged(push, mine).unwrap_or_default().into_iter();
            settled.map(|(seq, verdict)| (OpId { origin: me, seq }, verdict)).collect()
        };
        for (id, verdict) in settled {
            match verdict {
                Verdict::Applied | Verdict::Known | Verdict::Hidden => {
                    match verdict {
                        _ if id.origin != me => {}
                        Verdict::Hidden => drop(known.untaken.insert(id.seq, Reason::Forbidden)),
                        // It takes now what it went past before.
                        _ => drop(known.untaken.remove(&id.seq)),
                    }
                    // Of what is hidden there is nothing left to take: its memory is gone, or the peer may not see it any more.
                    if known.letters.taken(id) {
                        out.push(Output::DropLetter { peer, id });
                    }
                }
                Verdict::Refused { reason, detail } => {
                    let letter = known.letters.refused(id, reason, detail, now_ms).clone();
                    out.push(Output::KeepLetter { peer, letter });
                }
            }
        }
    }

    fn behind(&mut self, peer: NodeId, push: PushId, vector: VersionVector) {
        let has = vector.get(self.me);
        let waited = self.writes.first().unwrap_or(u64::MAX);
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.health.heard();
        if known.retrying == Some(push) {
            known.retrying = None;
            known.letters.tried();
        }
        known.sender.behind(push, has, waited, vector);
    }

    /// What the log does not have any more, members have as state, or take it: the batch goes on from what the
    /// peer covers, which acknowledges nothing that somebody waits for.
    fn cut(&mut self, peer: NodeId, push: PushId, vector: VersionVector, now_ms: u64) {
        let waited = self.writes.first().unwrap_or(u64::MAX);
        let has = vector.get(self.me).min(waited.saturating_sub(1));
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if has > known.sender.settled() {
            known.sender = Sender::resume(has);
            self.heard(peer, vector);
        } else {
            self.stable.heard(peer, vector);
            self.failed(peer, push, now_ms);
        }
    }

    fn failed(&mut self, peer: NodeId, push: PushId, now_ms: u64) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let was_retry = known.retrying == Some(push);
        if was_retry {
            known.retrying = None;
            known.letters.tried();
        }
        // Batches behind a failed one fail with it, once.
        if known.sender.failed(push) || was_retry {
            known.health.failed(peer, now_ms);
        }
    }

    fn pulled(&mut self, peer: NodeId, more: bool, now_ms: u64, out: &mut Vec<Output>) {
        if self.round.ended(peer, more, self.options.catch_up_ms, now_ms) {
            out.push(Output::Pull { peer });
        }
    }

    fn retry(&mut self, peer: NodeId, seq: Option<u64>, now_ms: u64, out: &mut Vec<Output>) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let kept = known.letters.retry(seq, now_ms).into_iter();
        out.extend(kept.map(|letter| Output::KeepLetter { peer, letter: letter.clone() }));
    }

    fn purge(&mut self, peer: NodeId, seq: Option<u64>, out: &mut Vec<Output>) {
        let kept = match self.peers.get_mut(&peer) {
            Some(known) => known.letters.purge(seq),
            None => self.away.get_mut(&peer).map(|kept| kept.purge(seq)).unwrap_or_default(),
        };
        for letter in kept {
            if letter.id.origin == self.me
                && let Some(known) = self.peers.get_mut(&peer)
            {
                known.untaken.insert(letter.id.seq, letter.reason);
            }
            out.push(Output::DropLetter { peer, id: letter.id });
        }
    }

    /// Does whatever can be done now.
    fn proceed(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        let awake: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, known)| known.health.may_ask(now_ms))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in &awake {
            self.send(*peer, now_ms, out);
        }
        if let Some(peer) = self.round.next(&awake, now_ms) {
            out.push(Output::Pull { peer });
        }
        let compare_ms = self.options.compare_ms;
        if let Some((peer, all)) = self.comparing.next(&awake, compare_ms, now_ms) {
            out.push(Output::Compare { peer, all });
        }
        for (write, needed, end) in self.writes.ended(self.peers.len(), now_ms) {
            out.push(match end {
                End::Met(got) => Output::Met { write, got, needed },
                End::NotMet(got, short) => Output::NotMet { write, got, needed, short },
            });
        }
        out.extend(self.stable.advanced().map(Output::Stable));
    }

    fn send(&mut self, peer: NodeId, now_ms: u64, out: &mut Vec<Output>) {
        let (last, pushes) = (self.last, &mut self.pushes);
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let mut name = || {
            *pushes += 1;
            PushId(*pushes)
        };
        // One try after a silence tells whether it is over.
        let tries_one = known.health.failures() > 0;
        if tries_one && (known.sender.in_flight() > 0 || known.retrying.is_some()) {
            return;
        }
        let ids = known.letters.due(now_ms);
        if !ids.is_empty() {
            let push = name();
            known.retrying = Some(push);
            out.push(Output::Retry { peer, push, ids });
        }
        if let Some(Batch { push, first, lacks }) = known.sender.next(name, last) {
            out.push(Output::Push { peer, push, first, last, lacks });
        }
    }
}
