//! Two stores and what goes between them.

use ed25519_dalek::{Signer as _, SigningKey};
use runtime::disk::OsDisk;
use storage::{
    StoreConfig,
    port::{EmbeddingSpace, Signer},
    request::{OnConflict, Reader},
    sqlite::open_store,
};
use tempfile::TempDir;
use types::{Audience, MemoryId, Namespace, NewMemory, ids::IdRef};
use uuid::Uuid;

use storage::state::KeyRange;
use wire::v1::{SyncState, SyncStated};

use super::*;
use crate::{
    admit::{AgentPattern, Scope},
    compare::RangeSum,
    convert_state,
};

#[derive(Clone)]
struct Key(SigningKey);

impl Identity for Key {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl Signer for Key {
    fn sign(&self, digest: &[u8; 32]) -> [u8; 64] {
        self.0.sign(digest).to_bytes()
    }

    fn key_id(&self) -> [u8; 8] {
        [7; 8]
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
}

/// Refuses what one agent did.
struct NotOf(&'static str);

impl Gate for NotOf {
    fn rules(&self) -> Result<Arc<dyn Rules>, Reject> {
        Ok(Arc::new(Self(self.0)))
    }

    fn quota(&self) -> Option<QuotaLimits> {
        None
    }
}

impl Rules for NotOf {
    fn look_at_memories(&self) -> bool {
        false
    }

    fn lets_in(&self, op: &Op, _about: Option<&About>) -> Result<(), Reject> {
        match op.author.as_str() == self.0 {
            true => Err(Reject::new(Reason::QuotaExceeded, "no more of that")),
            false => Ok(()),
        }
    }

    fn lets_state_in(&self, record: &types::Record) -> Result<(), Reject> {
        match record.author.as_str() == self.0 {
            true => Err(Reject::new(Reason::QuotaExceeded, "no more of that")),
            false => Ok(()),
        }
    }
}

/// Lets no memory be promoted whose title says so.
struct Frozen;

impl Gate for Frozen {
    fn rules(&self) -> Result<Arc<dyn Rules>, Reject> {
        Ok(Arc::new(Self))
    }

    fn quota(&self) -> Option<QuotaLimits> {
        None
    }
}

impl Rules for Frozen {
    fn look_at_memories(&self) -> bool {
        true
    }

    fn lets_in(&self, op: &Op, about: Option<&About>) -> Result<(), Reject> {
        let frozen = about.is_some_and(|about| about.title == "frozen");
        match frozen && matches!(op.payload, types::Payload::Promote { .. }) {
            true => Err(Reject::new(Reason::Forbidden, "it is frozen")),
            false => Ok(()),
        }
    }

    fn lets_state_in(&self, _record: &types::Record) -> Result<(), Reject> {
        Ok(())
    }
}

struct Side {
    exchange: Exchange,
    member: Member,
    _folder: TempDir,
}

fn side(number: u8, gate: &'static str) -> Side {
    let folder = tempfile::tempdir().expect("a folder");
    let key = Key(SigningKey::from_bytes(&[number; 32]));
    let space = EmbeddingSpace {
        model: "none".to_owned(),
        version: "1".to_owned(),
        dimension: 4,
        vectorizer: None,
    };
    let config = StoreConfig::new(Arc::new(key.clone()), space);
    let store = open_store(OsDisk::shared(), folder.path(), config).expect("a store");
    let node = store.node_id();
    let member = Member {
        node,
        name: format!("n{number}"),
        endpoint: Some("somewhere:7747".to_owned()),
        keys: vec![key.0.verifying_key()],
        scope: Scope::everything(),
    };
    let exchange = Exchange {
        me: node,
        store: Arc::new(store),
        gate: Arc::new(NotOf(gate)),
        identity: Arc::new(key),
        checks: Checks::default(),
    };
    Side { exchange, member, _folder: folder }
}

fn members(sides: &[&Side]) -> Members {
    Members::new(sides.iter().map(|side| side.member.clone()))
}

fn id(number: u128) -> MemoryId {
    MemoryId(Uuid::from_u128(number))
}

impl Side {
    fn store_intent(&self, number: u128, namespace: &str) -> Intent {
        let audience = Audience::everyone();
        let title = format!("memory {number}").parse().expect("a title");
        let content = "about it".parse().expect("content");
        let namespace: Namespace = namespace.parse().expect("a namespace");
        let scope = types::Scope::Collective;
        let memory =
            NewMemory { namespace, scope, ..NewMemory::new(id(number), title, content, audience) };
        Intent::Store { memory: Box::new(memory), on_conflict: OnConflict::New }
    }

    async fn puts(&self, author: &str, number: u128, namespace: &str) {
        let agent: AgentId = author.parse().expect("an agent");
        let intent = self.store_intent(number, namespace);
        let mut request = self.exchange.request(vec![intent], true);
        request.viewer.agent = agent;
        self.exchange.store.write(request).await.expect("stored");
    }

    async fn has(&self, number: u128) -> bool {
        let found = self.exchange.store.get(Reader::Operator, IdRef::Full(id(number)), 0).await;
        found.is_ok()
    }

    /// Everything that `to` lacks.
    async fn told(&self, to: &Side) -> (Vec<SyncOperation>, Vec<SyncProof>) {
        let has = to.exchange.covers().await.expect("covered");
        let told = self
            .exchange
            .tell(&Members::default(), &to.member, has, OPERATIONS_MAX)
            .await
            .expect("told");
        (told.operations, told.proofs)
    }
}

fn fates(taken: &Taken) -> Vec<&Fate> {
    taken.fates.iter().map(|(_, fate)| fate).collect()
}

fn reason<T>(result: Result<T, Reject>) -> Option<Reason> {
    result.err().map(|reject| reject.reason)
}

#[tokio::test]
async fn a_batch_is_taken_once_and_its_nonce_with_it() {
    let (a, b) = (side(1, ""), side(2, ""));
    let members = members(&[&a, &b]);
    a.puts("ann", 1, "acme").await;
    a.puts("ann", 2, "acme").await;
    let (operations, proofs) = a.told(&b).await;
    let once = Once { peer: a.member.node, nonce: [5; 16], until_ms: u64::MAX >> 1 };
    let take = |operations: Vec<SyncOperation>| {
        b.exchange.take(&members, &a.member, operations, &proofs, Some(once))
    };
    let taken = take(operations.clone()).await.expect("taken");
    assert_eq!(fates(&taken), [&Fate::Applied, &Fate::Applied]);
    assert!(b.has(1).await && b.has(2).await && !taken.behind);
    assert_eq!(taken.covers.get(a.member.node), 2);
    assert_eq!(reason(take(operations.clone()).await), Some(Reason::NonceReplay), "EXC-1");
    let again = Once { nonce: [6; 16], ..once };
    let known = b.exchange.take(&members, &a.member, operations, &proofs, Some(again)).await;
    assert_eq!(fates(&known.expect("known")), [&Fate::Known, &Fate::Known]);
}

#[tokio::test]
async fn what_its_origin_did_not_sign_is_not_believed() {
    let (a, b, c) = (side(1, ""), side(2, ""), side(3, ""));
    let members = members(&[&a, &b, &c]);
    a.puts("ann", 1, "acme").await;
    a.puts("ann", 2, "acme").await;
    let (operations, proofs) = a.told(&b).await;
    let take = |operations: Vec<SyncOperation>, proofs: Vec<SyncProof>| {
        let (b, members, from) = (&b, &members, &c.member);
        async move { b.exchange.take(members, from, operations, &proofs, None).await }
    };
    // Another signature, another operation, one left out at the end.
    let mut forged = proofs.clone();
    forged[0].signature[5] ^= 1;
    assert_eq!(reason(take(operations.clone(), forged).await), Some(Reason::ChainBroken), "ADM-1");
    let mut changed = operations.clone();
    if let Some(Told::Whole(bytes)) = &mut changed[1].said {
        *bytes.last_mut().expect("bytes") ^= 1;
    }
    assert_eq!(reason(take(changed, proofs.clone()).await), Some(Reason::ChainBroken), "ADM-1");
    let cut = take(operations[..1].to_vec(), proofs.clone()).await;
    assert_eq!(reason(cut), Some(Reason::ChainBroken), "ADM-1");
    // A gap can be mended; without a proof nothing is taken up.
    let gap = take(operations[1..].to_vec(), proofs.clone()).await.expect("an answer");
    assert!(gap.behind && gap.fates.is_empty());
    let unproven = take(operations.clone(), Vec::new()).await.expect("an answer");
    assert!(unproven.behind && unproven.fates.is_empty());
    assert_eq!(b.exchange.covers().await.expect("covered").get(a.member.node), 0);
    let stranger = Members::new([b.member.clone(), c.member.clone()]);
    let unknown = b.exchange.take(&stranger, &c.member, operations.clone(), &proofs, None).await;
    assert_eq!(reason(unknown), Some(Reason::Forbidden), "MEM-1");
    // As it was said, it is taken, whoever brings it.
    let taken = take(operations, proofs).await.expect("taken");
    assert_eq!(fates(&taken), [&Fate::Applied, &Fate::Applied]);
}

#[tokio::test]
async fn one_that_is_not_let_in_keeps_no_other_out() {
    let (a, b) = (side(1, ""), side(2, "greedy"));
    let members = members(&[&a, &b]);
    a.puts("ann", 1, "acme").await;
    a.puts("greedy", 2, "acme").await;
    a.puts("bob", 3, "acme").await;
    a.puts("ann", 4, "acme").await;
    let narrow = Member {
        scope: Scope {
            agents: ["ann", "greedy"]
                .map(|name| AgentPattern::One(name.parse().expect("an agent")))
                .to_vec(),
            ..Scope::everything()
        },
        ..a.member.clone()
    };
    let (operations, proofs) = a.told(&b).await;
    let taken =
        b.exchange.take(&members, &narrow, operations.clone(), &proofs, None).await.expect("taken");
    let reasons: Vec<Option<Reason>> = taken
        .fates
        .iter()
        .map(|(_, fate)| match fate {
            Fate::Refused(reject) => Some(reject.reason),
            _ => None,
        })
        .collect();
    let expected = [None, Some(Reason::QuotaExceeded), Some(Reason::Forbidden), None];
    assert_eq!(reasons, expected, "EXC-2");
    assert_eq!((b.has(2).await, b.has(3).await, b.has(4).await), (false, false, true));
    assert_eq!(taken.covers.get(a.member.node), 4, "it does not hold up what follows");
    // Tried again with a wider scope, it is let in; what is here is known.
    let ids = [3, 4].map(|seq| OpId { origin: a.member.node, seq });
    let again = a.exchange.again(&b.member, &ids).await.expect("read");
    let taken = b.exchange.take(&members, &a.member, again, &[], None).await.expect("taken");
    assert_eq!(fates(&taken), [&Fate::Applied, &Fate::Known]);
    assert!(b.has(3).await);
}

#[tokio::test]
async fn what_is_here_is_known_whatever_is_let_in_by_now() {
    let (a, mut b) = (side(1, ""), side(2, ""));
    let members = members(&[&a, &b]);
    a.puts("greedy", 1, "acme").await;
    let (operations, proofs) = a.told(&b).await;
    b.exchange.take(&members, &a.member, operations.clone(), &proofs, None).await.expect("taken");
    b.exchange.gate = Arc::new(NotOf("greedy"));
    a.puts("greedy", 2, "acme").await;
    let (more, proofs) = a.told(&b).await;
    let all = [operations, more].concat();
    let taken = b.exchange.take(&members, &a.member, all.clone(), &proofs, None).await;
    let taken = taken.expect("taken");
    assert!(matches!(fates(&taken)[..], [Fate::Known, Fate::Refused(_)]), "{taken:?}");
    // What is refused stays so when it comes again.
    let again = b.exchange.take(&members, &a.member, all, &[], None).await.expect("taken");
    assert!(matches!(fates(&again)[..], [Fate::Known, Fate::Refused(_)]), "{again:?}");
}

#[tokio::test]
async fn an_operation_is_judged_by_its_memory_as_those_before_it_leave_it() {
    let (a, mut b) = (side(1, ""), side(2, ""));
    let members = members(&[&a, &b]);
    a.puts("ann", 1, "acme").await;
    let retitle = |number: u128, title: &str| {
        let title = Some(title.parse().expect("a title"));
        let patch = Box::new(types::Patch { title, ..types::Patch::default() });
        Intent::Update { id: IdRef::Full(id(number)), patch, expected_version: None }
    };
    let promote = |number| Intent::Promote {
        id: IdRef::Full(id(number)),
        tier: types::Tier::Long,
        expires_at_ms: None,
        automatic: false,
        expected_version: None,
    };
    let (operations, proofs) = a.told(&b).await;
    b.exchange.take(&members, &a.member, operations, &proofs, None).await.expect("taken");
    b.exchange.gate = Arc::new(Frozen);
    // One that is here, and one that comes with the same message.
    let intents = vec![
        promote(1),
        retitle(1, "frozen"),
        promote(1),
        a.store_intent(2, "acme"),
        retitle(2, "frozen"),
        promote(2),
    ];
    a.exchange.done(intents).await.expect("done");
    let (operations, proofs) = a.told(&b).await;
    let taken = b.exchange.take(&members, &a.member, operations, &proofs, None).await;
    let taken = taken.expect("taken");
    let refused: Vec<bool> =
        taken.fates.iter().map(|(_, fate)| matches!(fate, Fate::Refused(_))).collect();
    assert_eq!(refused, [false, false, true, false, false, true]);
}

#[tokio::test]
async fn what_a_peer_may_not_see_leaves_as_a_hash() {
    let (a, mut b, c) = (side(1, ""), side(2, ""), side(3, ""));
    b.member.scope.namespaces = vec!["acme/**".parse().expect("a glob")];
    let members = members(&[&a, &b, &c]);
    a.puts("ann", 1, "secret").await;
    a.puts("ann", 2, "acme/eng").await;
    let (operations, proofs) = a.told(&b).await;
    assert!(matches!(operations[0].said, Some(Told::Hash(_))), "EXC-3");
    let taken = b.exchange.take(&members, &a.member, operations, &proofs, None).await;
    assert_eq!(fates(&taken.expect("taken")), [&Fate::Hidden, &Fate::Applied]);
    assert!(!b.has(1).await && b.has(2).await);
    // Whoever asked it would pass over what is merely hidden from it: it tells nothing of that feed.
    let (operations, _) = b.told(&c).await;
    assert_eq!(operations, []);
    let (operations, proofs) = a.told(&c).await;
    c.exchange.take(&members, &a.member, operations, &proofs, None).await.expect("taken");
    assert!(c.has(1).await && c.has(2).await);
}

#[tokio::test]
async fn nothing_is_taken_up_before_what_its_author_had_seen() {
    let (a, b, c) = (side(1, ""), side(2, ""), side(3, ""));
    let members = members(&[&a, &b, &c]);
    a.puts("ann", 1, "acme").await;
    let (operations, proofs) = a.told(&b).await;
    b.exchange.take(&members, &a.member, operations, &proofs, None).await.expect("taken");
    b.puts("bob", 2, "acme").await;
    // Only its own: the first one's is missing.
    let mut has = b.exchange.covers().await.expect("covered");
    has = has.iter().filter(|(origin, _)| *origin != b.member.node).collect();
    let own =
        b.exchange.tell(&Members::default(), &c.member, has, OPERATIONS_MAX).await.expect("told");
    let Telling { operations: own, proofs, .. } = own;
    let early = c.exchange.take(&members, &b.member, own, &proofs, None).await.expect("an answer");
    assert!(early.behind && early.fates.is_empty(), "EXC-4");
    // With the other in front.
    let (operations, proofs) = b.told(&c).await;
    let taken = c.exchange.take(&members, &b.member, operations, &proofs, None).await;
    let taken = taken.expect("taken");
    assert_eq!((fates(&taken), taken.behind), (vec![&Fate::Applied, &Fate::Applied], false));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_name_and_passed() {
    let (a, b) = (side(1, ""), side(2, ""));
    let members = members(&[&a, &b]);
    a.puts("ann", 1, "acme").await;
    let (mut operations, proofs) = a.told(&b).await;
    operations[0].said = None;
    let empty = b.exchange.take(&members, &a.member, operations.clone(), &proofs, None).await;
    assert_eq!(reason(empty), Some(Reason::Malformed));
    operations[0].said = Some(Told::Hash(vec![1; 31]));
    let short = b.exchange.take(&members, &a.member, operations.clone(), &proofs, None).await;
    assert_eq!(reason(short), Some(Reason::Malformed));
    let many = vec![operations.remove(0); TAKEN_MAX + 1];
    let many = b.exchange.take(&members, &a.member, many, &proofs, None).await;
    assert_eq!(reason(many), Some(Reason::TooLarge));
    // An operation of a later version: signed by its origin, and not to be understood here.
    let bytes = vec![0xff; 40];
    let head = FeedHead::empty(a.member.node).with(&codec::op_hash(&bytes));
    let signature = a.exchange.identity.sign(&head.digest());
    let later = SyncOperation {
        origin: a.member.node.as_bytes().to_vec(),
        seq: 1,
        said: Some(Told::Whole(bytes)),
    };
    let proof = convert::told_proof(SignedHead { head, signature }, &[]);
    let taken = b.exchange.take(&members, &a.member, vec![later], &[proof], None).await;
    let taken = taken.expect("taken");
    let Fate::Refused(reject) = &taken.fates[0].1 else { panic!("{taken:?}") };
    assert_eq!((reject.reason, taken.covers.get(a.member.node)), (Reason::Malformed, 1));
}

#[tokio::test]
async fn a_long_feed_is_taken_batch_by_batch() {
    let (a, b) = (side(1, ""), side(2, ""));
    let members = members(&[&a, &b]);
    for first in [1, 401, 801] {
        let stores = (first..first + 400).map(|number| a.store_intent(number, "acme"));
        let request = a.exchange.request(stores.collect(), true);
        a.exchange.store.write(request).await.expect("stored");
    }
    let mut batches = 0;
    loop {
        let has = b.exchange.covers().await.expect("covered");
        let told = a
            .exchange
            .tell(&Members::default(), &b.member, has, OPERATIONS_MAX)
            .await
            .expect("told");
        let Telling { operations, proofs, more, .. } = told;
        let count = operations.len();
        let once = Once { peer: a.member.node, nonce: [batches; 16], until_ms: u64::MAX >> 1 };
        let taken = b.exchange.take(&members, &a.member, operations, &proofs, Some(once)).await;
        let taken = taken.expect("a full batch fits into one request to the store");
        assert_eq!(taken.fates.len(), count);
        batches += 1;
        if !more {
            break;
        }
    }
    assert_eq!(batches, 3);
    assert!(b.has(1).await && b.has(1200).await);
}

/// Takes all that `from` shows, as somebody who has nothing does.
async fn take_state(from: &Side, to: &Side, members: &Members, name: &str) -> SyncStated {
    let begins = SyncState { begins: true, all: true, ..SyncState::default() };
    let begun = from.exchange.stated(&to.member, begins).await.expect("begun");
    let all = RangeSum::of(KeyRange::ALL, &[]);
    let ranges = vec![convert_state::told_range(&all)];
    let asked = SyncState { ranges, all: true, ..SyncState::default() };
    let listed = from.exchange.stated(&to.member, asked).await.expect("listed");
    let wanted = listed.ranges[0].items.iter().map(|item| item.key.clone()).collect();
    let asked = SyncState { wanted, all: true, ..SyncState::default() };
    let given = from.exchange.stated(&to.member, asked).await.expect("given");
    let items = given.items.into_iter().map(|item| convert_state::item(item).expect("an item"));
    let taken = to.exchange.take_items(&from.member, items.collect(), name).await;
    let partly = begun.partial || taken.expect("taken").refused > 0;
    let heads = begun.heads.iter().map(|head| convert_state::head(head).expect("a head"));
    to.exchange.cover(members, heads.collect(), partly).await.expect("covered");
    begun
}

#[tokio::test]
async fn state_is_shown_as_far_as_it_may_be_seen_and_covers_feeds() {
    let (a, b, mut c) = (side(1, ""), side(2, ""), side(3, ""));
    c.member.scope.namespaces = vec!["acme".parse().expect("a pattern")];
    let members = members(&[&a, &b, &c]);
    a.puts("ann", 1, "acme").await;
    a.puts("ann", 2, "secret").await;
    let begun = take_state(&a, &b, &members, "1").await;
    assert!(!begun.partial && b.has(1).await && b.has(2).await);
    assert_eq!(b.exchange.covers().await, a.exchange.covers().await, "EXS-4");
    let begun = take_state(&a, &c, &members, "2").await;
    assert!(begun.partial && c.has(1).await && !c.has(2).await, "EXS-1");
    assert_eq!(c.exchange.covers().await, a.exchange.covers().await, "EXS-4");
    // What was hidden from one is no state to go by for another.
    let d = side(4, "");
    let all = self::members(&[&a, &b, &c, &d]);
    take_state(&c, &d, &all, "3").await;
    assert!(d.has(1).await, "what it has can be taken");
    assert_eq!(d.exchange.covers().await, Ok(VersionVector::default()), "EXS-5");
    // Who has left tells nobody the rest.
    let mut left = a.member.clone();
    left.endpoint = None;
    let rows = [&left, &b.member, &c.member, &d.member];
    let all = Members::new(rows.into_iter().cloned());
    take_state(&c, &d, &all, "4").await;
    assert_eq!(d.exchange.covers().await, a.exchange.covers().await, "EXS-5");
    let stands = d.exchange.store.covered_feeds().await.expect("feeds");
    assert_eq!(stands[0].unseen_seq, 2, "EXS-4");
}

#[tokio::test]
async fn state_of_whom_a_peer_may_not_send_for_stays_out() {
    let (mut a, b) = (side(1, ""), side(2, "eve"));
    a.member.scope.agents = vec![AgentPattern::One("ann".parse().expect("an agent"))];
    let members = members(&[&a, &b]);
    a.puts("ann", 1, "acme").await;
    a.puts("bob", 2, "acme").await;
    take_state(&a, &b, &members, "4").await;
    assert!(b.has(1).await && !b.has(2).await, "EXS-2");
    a.member.scope.agents = vec![AgentPattern::Any];
    a.puts("eve", 3, "acme").await;
    take_state(&a, &b, &members, "5").await;
    assert!(b.has(2).await && !b.has(3).await, "EXS-2: nor what this node's own rules refuse");
    // A head that its origin has not signed covers nothing.
    let mut heads = a.exchange.store.covered_feeds().await.expect("heads");
    heads[0].word.signature = [9; 64];
    let forged = b.exchange.cover(&members, heads, false).await;
    assert_eq!(reason(forged), Some(Reason::ChainBroken), "EXS-4");
    let many = SyncState { wanted: vec![Vec::new(); KEYS_MAX + 1], ..SyncState::default() };
    assert_eq!(reason(a.exchange.stated(&b.member, many).await), Some(Reason::TooLarge));
    let odd = SyncState { wanted: vec![vec![9; 17]], ..SyncState::default() };
    assert_eq!(reason(a.exchange.stated(&b.member, odd).await), Some(Reason::Malformed));
}
