//! Telling another node what is held here, and taking what it holds.
//!
//! Invariants: `EXS-1` what a member may not see is neither counted nor listed nor given; `EXS-2` state is taken from
//! a member that may send for whoever wrote it, and the audit row says from whom it came; `EXS-3` nothing of
//! the future comes in; `EXS-4` a feed is covered because of state only up to a head that its origin has signed,
//! and only when everything that the teller shows was taken; `EXS-5` no feed is covered by the word of a node from
//! which something of it is hidden, unless its node has left: nobody else can tell the rest either, and what is taken of other feeds
//! stands on what was said there.
//!
//! Not here: the conversation (`driver::compare`).

use std::collections::BTreeMap;

use runtime::clock;
use storage::{
    answer::Applied,
    request::{Event, Intent},
    state::{CoveredFeed, Holding, Item, ItemKey, Table},
};
use types::{
    AgentId, NodeId, Reason, Reject, SignedHead,
    audit::EventDetails,
    limits::{BULK_MAX, CLOCK_SKEW_MAX_MS},
};
use wire::v1::{SyncState, SyncStated};

use super::{Exchange, Rules, refused};
use crate::{
    admit::AgentPattern,
    compare, convert, convert_state as told,
    members::{Member, Members},
};

/// Most ranges in a question.
pub const RANGES_MAX: usize = 256;
/// Most keys in a question: what comes of it is one request to the store, with an event.
pub const KEYS_MAX: usize = BULK_MAX - 1;
/// Bytes of items behind which no more is put into an answer.
const BYTES_MAX: u64 = 1 << 20;
/// What stands for the signature of this node's own head until it is signed.
const UNSIGNED: [u8; 64] = [0; 64];

/// What became of items that were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenItems {
    /// Items that changed something here.
    pub joined: u64,
    /// Items that were not let in.
    pub refused: u64,
}

impl Exchange {
    /// Answers a question about what is held here.
    ///
    /// # Errors
    /// [`Reason::Malformed`], [`Reason::TooLarge`], and what the store refuses.
    pub async fn stated(&self, to: &Member, asked: SyncState) -> Result<SyncStated, Reject> {
        check_size("ranges", asked.ranges.len(), RANGES_MAX)?;
        check_size("wanted", asked.wanted.len(), KEYS_MAX)?;
        check_size("held", asked.held.len(), KEYS_MAX)?;
        // Before anything is read: what is read later has all of it in it.
        let covers = self.covers().await?;
        let seen = told::patterns(&asked.namespaces)?;
        let shown = &to.scope.namespaces;
        let visible = told::visible(shown, (!asked.all).then_some(&*seen));
        let mut stated = SyncStated { covers: convert::covered(&covers), ..SyncStated::default() };
        if asked.begins {
            stated.namespaces = told::told_patterns(shown);
            stated.heads = self.heads().await?.into_iter().map(told::told_head).collect();
            stated.partial = !visible.is_everything();
        }
        for range in &asked.ranges {
            let range = told::range(range)?;
            let items = self.store.items(range.range, visible.clone()).await.map_err(refused)?;
            stated.ranges.push(told::told_of_range(compare::tell(&items, &range)));
        }
        if !asked.wanted.is_empty() {
            let keys = asked.wanted.iter().map(|key| told::key(key, "wanted"));
            let keys: Vec<ItemKey> = keys.collect::<Result<_, _>>()?;
            let (items, looked_at) =
                self.store.states(keys, visible, BYTES_MAX).await.map_err(refused)?;
            stated.items = items.into_iter().map(told::told_item).collect();
            stated.looked_at = u32::try_from(looked_at).unwrap_or(u32::MAX);
        }
        if !asked.held.is_empty() {
            let held = asked.held.iter().map(told::holding).collect::<Result<Vec<Holding>, _>>()?;
            let gone = self.store.gone(held).await.map_err(refused)?;
            stated.gone = gone.iter().map(told::told_key).collect();
        }
        Ok(stated)
    }

    /// The heads up to which this node's state stands for the feeds.
    async fn heads(&self) -> Result<Vec<CoveredFeed>, Reject> {
        let mut feeds = self.store.covered_feeds().await.map_err(refused)?;
        for feed in &mut feeds {
            if feed.word.signature == UNSIGNED {
                feed.word.signature = self.identity.sign(&feed.word.head.digest());
            }
        }
        Ok(feeds)
    }

    /// Takes items that a member holds, in one transaction.
    ///
    /// # Errors
    /// What the store refuses; nothing was taken.
    pub async fn take_items(
        &self,
        from: &Member,
        items: Vec<Item>,
        nonce: &str,
    ) -> Result<TakenItems, Reject> {
        let now_ms = clock::now_unix_ms();
        let (count, rules) = (items.len(), self.gate.rules()?);
        let admitted: Vec<Item> =
            items.into_iter().filter(|item| lets_state_in(&*rules, from, item, now_ms)).collect();
        let mut taken = TakenItems { joined: 0, refused: (count - admitted.len()) as u64 };
        if admitted.is_empty() {
            return Ok(taken);
        }
        let keys: Vec<ItemKey> = admitted.iter().map(key_of).collect();
        let mut intents = vec![self.event(from, "state.taken", nonce, &keys, now_ms)];
        intents.extend(admitted.into_iter().map(|item| Intent::Join(Box::new(item))));
        let receipt = self.store.write(self.request(intents, true)).await.map_err(refused)?;
        for result in receipt.results.iter().skip(1) {
            match result {
                Ok(Applied::Known) => {}
                Ok(Applied::Refused(_)) | Err(_) => taken.refused += 1,
                Ok(_) => taken.joined += 1,
            }
        }
        Ok(taken)
    }

    /// Drops items of which a member has seen everything, and does not hold them.
    ///
    /// # Errors
    /// What the store refuses; nothing was dropped.
    pub async fn drop_items(
        &self,
        from: &Member,
        keys: &[ItemKey],
        nonce: &str,
    ) -> Result<(), Reject> {
        if keys.is_empty() {
            return Ok(());
        }
        let now_ms = clock::now_unix_ms();
        let mut intents = vec![self.event(from, "state.dropped", nonce, keys, now_ms)];
        intents.extend(keys.iter().copied().map(Intent::Drop));
        self.store.write(self.request(intents, true)).await.map(drop).map_err(refused)
    }

    fn event(
        &self,
        from: &Member,
        event_type: &str,
        nonce: &str,
        keys: &[ItemKey],
        at_ms: u64,
    ) -> Intent {
        let payload = EventDetails { subject: from.node.to_string(), facts: facts(keys) }.encode();
        Intent::Event(Box::new(Event {
            name: format!("{event_type}:{}:{nonce}", from.node),
            agent: AgentId::node(),
            event_type: event_type.to_owned(),
            at_ms,
            payload,
        }))
    }

    /// Whether something is covered here that only came as a hash: whoever may see it may have it.
    ///
    /// # Errors
    /// The store's.
    pub async fn has_passed(&self) -> Result<bool, Reject> {
        let feeds = self.store.covered_feeds().await.map_err(refused)?;
        Ok(feeds.iter().any(|feed| feed.unseen_seq > 0))
    }

    /// Covers what a member covered when its state began to be taken (`EXS-4`, `EXS-5`). Where only a part of that
    /// could be taken, that is noted.
    ///
    /// # Errors
    /// [`Reason::ChainBroken`] for a head that its origin has not signed.
    pub async fn cover(
        &self,
        members: &Members,
        heads: Vec<CoveredFeed>,
        partly: bool,
    ) -> Result<(), Reject> {
        let covers = self.covers().await?;
        let own = self.store.own_feed().await.map_err(refused)?.origin;
        let mut intents = Vec::new();
        for feed in heads {
            let SignedHead { head, .. } = feed.word;
            let is_hidden = feed.unseen_seq > covers.get(head.origin);
            let is_lost = |node: NodeId| node.speaks_as(head.origin);
            if is_hidden && !members.left().chain([self.me]).any(is_lost) {
                continue;
            }
            let unseen_seq = match (partly, is_hidden) {
                (true, _) => head.seq,
                (false, true) => feed.unseen_seq,
                (false, false) => 0,
            };
            let feed = CoveredFeed { unseen_seq, ..feed };
            // What a former member has said is taken on the teller's word no less than the rest; but its
            // feed cannot be gone on with.
            self.checks.add(1);
            match members.believe(&feed.word) {
                Ok(()) if head.origin != own => intents.push(Intent::CoverFeed(feed)),
                Ok(()) => {}
                Err(reject) if reject.reason == Reason::Forbidden => {}
                Err(reject) => return Err(reject),
            }
        }
        for intents in intents.chunks(KEYS_MAX) {
            self.keep(intents.to_vec()).await?;
        }
        Ok(())
    }
}

/// Whether an item is let in from this member.
fn lets_state_in(rules: &dyn Rules, from: &Member, item: &Item, now_ms: u64) -> bool {
    let is_of_the_future = told::newest(item).wall_ms().saturating_sub(now_ms) > CLOCK_SKEW_MAX_MS;
    let sends_all = from.scope.agents.contains(&AgentPattern::Any);
    let may_send = match item {
        Item::Memory(record) => sends_all || from.scope.sends(&record.author),
        Item::Link(link) => sends_all || from.scope.sends(&link.author),
        Item::Alias(_) | Item::Agent(_) => sends_all,
    };
    let fits = match item {
        Item::Memory(record) => rules.lets_state_in(record).is_ok(),
        _ => true,
    };
    !is_of_the_future && may_send && fits
}

/// The ids of items, by what they are.
fn facts(keys: &[ItemKey]) -> BTreeMap<String, String> {
    let mut facts: BTreeMap<String, String> = BTreeMap::new();
    for key in keys {
        let name = match key.table {
            Table::Memory => "memories",
            Table::Link => "links",
            Table::Alias => "aliases",
            Table::Agent => "agents",
        };
        let ids = facts.entry(name.to_owned()).or_default();
        if !ids.is_empty() {
            ids.push(' ');
        }
        ids.push_str(&hex::encode(key.id));
    }
    facts
}

fn key_of(item: &Item) -> ItemKey {
    match item {
        Item::Memory(record) => ItemKey::memory(record.id),
        Item::Link(link) => ItemKey { table: Table::Link, id: *link.id.0.as_bytes() },
        Item::Alias(alias) => {
            ItemKey::named(Table::Alias, &[alias.alias.as_bytes(), alias.memory.as_bytes()])
        }
        Item::Agent(agent) => ItemKey::named(Table::Agent, &[agent.agent_id.as_str().as_bytes()]),
    }
}

fn check_size(field: &'static str, len: usize, max: usize) -> Result<(), Reject> {
    if len <= max {
        return Ok(());
    }
    let detail = format!("{field}: {len} of them, at most {max}");
    Err(Reject::new(Reason::TooLarge, detail).with("field", field))
}
