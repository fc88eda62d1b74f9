//! Comparing what is held with a peer, and taking what differs.
//!
//! Invariants: `DRV-10` for every comparison the engine is told exactly one end; `DRV-11` nothing is covered because
//! of state before all of it was taken; `DRV-12` a peer that goes on differing for ever is left alone after
//! [`ROUNDS_MAX`] questions.
//!
//! Not here: which ranges differ (`crate::compare`), what is believed (`exchange`).

use std::collections::VecDeque;

use prost::Message;
use storage::state::{CoveredFeed, Holding, ItemKey, KeyRange, Visible};
use types::{NamespaceGlob, NodeId, Reject};
use wire::v1::{SyncPurpose, SyncState, SyncStated};

use super::{Federation, ask};
use crate::{
    compare::{self, RangeSum, Told},
    convert_state as told,
    engine::Input,
    exchange::{KEYS_MAX, RANGES_MAX, refused},
    members::Member,
};

/// Questions of one comparison.
const ROUNDS_MAX: u32 = 100_000;

/// A comparison under way.
struct Comparison<'f> {
    federation: &'f Federation,
    peer: &'f Member,
    /// Whether to take everything that the peer shows, instead of what both may see.
    all: bool,
    visible: Visible,
    rounds: u32,
    joined: u64,
    refused: u64,
    dropped: u64,
}

/// Compares, and tells the engine how it ended.
pub(super) async fn run(federation: Federation, peer: NodeId, all: bool) {
    let whole = match compare(&federation, peer, all).await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%peer, %error, "a comparison failed");
            false
        }
    };
    federation.happened(Input::Compared { peer, whole }).await;
}

/// Takes what a peer shows and differs: all of it, or what both may see.
///
/// # Errors
/// The peer did not answer, or not to the end; what was taken stays.
pub(super) async fn compare(
    federation: &Federation,
    peer: NodeId,
    all: bool,
) -> Result<(), Reject> {
    let members = federation.members();
    let member = members.get(peer)?;
    let mut comparison = Comparison {
        federation,
        peer: member,
        all,
        visible: Visible::default(),
        rounds: 0,
        joined: 0,
        refused: 0,
        dropped: 0,
    };
    let (heads, partial) = comparison.begin().await?;
    if comparison.visible.is_nothing() {
        return Ok(());
    }
    comparison.reconcile().await?;
    let Comparison { joined, refused, dropped, rounds, .. } = comparison;
    if joined + refused + dropped > 0 {
        tracing::info!(peer = member.name, joined, refused, dropped, rounds, all, "compared");
    }
    if !all {
        return Ok(());
    }
    let exchange = &federation.0.exchange;
    exchange.cover(&members, heads, partial || refused > 0).await?;
    federation.happened(Input::Covered(exchange.covers().await?)).await;
    Ok(())
}

impl Comparison<'_> {
    /// Learns what the peer shows, up to where its state stands for the feeds, and whether it shows only a part.
    async fn begin(&mut self) -> Result<(Vec<CoveredFeed>, bool), Reject> {
        let stated = self.ask(SyncState { begins: true, ..SyncState::default() }).await?;
        let shown = told::patterns(&stated.namespaces)?;
        let seen: &[NamespaceGlob] = &self.peer.scope.namespaces;
        self.visible = told::visible(&shown, (!self.all).then_some(seen));
        let heads = stated.heads.iter().map(told::head).collect::<Result<_, _>>()?;
        Ok((heads, stated.partial))
    }

    async fn sum(&self, range: KeyRange) -> Result<RangeSum, Reject> {
        let store = &self.federation.0.exchange.store;
        let items = store.items(range, self.visible.clone()).await.map_err(refused)?;
        Ok(RangeSum::of(range, &items))
    }

    async fn reconcile(&mut self) -> Result<(), Reject> {
        let mut open = VecDeque::from([self.sum(KeyRange::ALL).await?]);
        while !open.is_empty() {
            let asked: Vec<RangeSum> = open.drain(..open.len().min(RANGES_MAX)).collect();
            let ranges = asked.iter().map(told::told_range).collect();
            let stated = self.ask(SyncState { ranges, ..SyncState::default() }).await?;
            for (asked, answer) in asked.iter().zip(&stated.ranges) {
                match told::of_range(answer)? {
                    Told::Same => {}
                    Told::Parts(parts) => {
                        for part in parts {
                            let mine = self.sum(part.range).await?;
                            if mine != part {
                                open.push_back(mine);
                            }
                        }
                    }
                    Told::List(theirs) => self.settle(asked.range, &theirs).await?,
                }
            }
        }
        Ok(())
    }

    /// Takes and drops what differs in a range of which the peer has listed all.
    async fn settle(
        &mut self,
        range: KeyRange,
        theirs: &[storage::state::ItemDigest],
    ) -> Result<(), Reject> {
        let store = &self.federation.0.exchange.store;
        let mine = store.items(range, self.visible.clone()).await.map_err(refused)?;
        let found = compare::differences(&mine, theirs);
        for wanted in found.wanted.chunks(KEYS_MAX) {
            self.take(wanted).await?;
        }
        for only_here in found.only_here.chunks(KEYS_MAX) {
            self.drop_gone(only_here).await?;
        }
        Ok(())
    }

    async fn take(&mut self, wanted: &[ItemKey]) -> Result<(), Reject> {
        let mut left = wanted;
        while !left.is_empty() {
            let keys = left.iter().map(told::told_key).collect();
            let (stated, nonce) =
                self.ask_once(SyncState { wanted: keys, ..SyncState::default() }).await?;
            let items = stated.items.into_iter().map(told::item);
            let items = items.collect::<Result<Vec<_>, _>>()?;
            let exchange = &self.federation.0.exchange;
            let taken = exchange.take_items(self.peer, items, &nonce).await?;
            self.joined += taken.joined;
            self.refused += taken.refused;
            let looked_at = (stated.looked_at as usize).clamp(1, left.len());
            left = left.get(looked_at..).unwrap_or(&[]);
        }
        Ok(())
    }

    async fn drop_gone(&mut self, only_here: &[ItemKey]) -> Result<(), Reject> {
        let exchange = &self.federation.0.exchange;
        let held: Vec<Holding> =
            exchange.store.holdings(only_here.to_vec()).await.map_err(refused)?;
        if held.is_empty() {
            return Ok(());
        }
        let held = held.iter().map(told::told_holding).collect();
        let (stated, nonce) = self.ask_once(SyncState { held, ..SyncState::default() }).await?;
        let gone = stated.gone.iter().map(|key| told::key(key, "gone"));
        let mut gone: Vec<ItemKey> = gone.collect::<Result<_, _>>()?;
        // Only what was asked about.
        gone.retain(|key| only_here.contains(key));
        self.dropped += gone.len() as u64;
        exchange.drop_items(self.peer, &gone, &nonce).await
    }

    async fn ask(&mut self, state: SyncState) -> Result<SyncStated, Reject> {
        Ok(self.ask_once(state).await?.0)
    }

    /// One question; what it was signed over names what comes of it in the audit chain.
    async fn ask_once(&mut self, state: SyncState) -> Result<(SyncStated, String), Reject> {
        self.rounds += 1;
        if self.rounds > ROUNDS_MAX {
            let detail = format!("{} questions, and there is more that differs", self.rounds);
            return Err(Reject::new(types::Reason::Overloaded, detail));
        }
        let exchange = &self.federation.0.exchange;
        let (purpose, covers) = (SyncPurpose::State, exchange.covers().await?);
        let header = self.federation.header(purpose, self.peer.node, &covers);
        let sent_ms = header.sent_ms;
        let state = SyncState {
            header: Some(header),
            namespaces: told::told_patterns(&self.peer.scope.namespaces),
            all: self.all,
            ..state
        };
        let put = ask::Put { purpose, sent_ms, body: state.encode_to_vec() };
        let (answer, nonce) = ask::ask_named(self.federation, self.peer, put).await?;
        let stated = SyncStated::decode(&*answer).map_err(ask::unreadable)?;
        Ok((stated, nonce))
    }
}
