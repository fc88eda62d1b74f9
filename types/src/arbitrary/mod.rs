//! Generators of valid values for property tests, here and in other crates (feature `arbitrary`).
//!
//! Invariant: everything generated passes the checks that a request passes, so a test that feeds it
//! in and sees a refusal has found a bug.
//!
//! Not here: invalid values; tests make those by hand, one rule at a time.

use std::collections::BTreeSet;

use proptest::{collection, option, prelude::*, sample};
use uuid::Uuid;

use crate::{
    AgentId, AgentRecord, Audience, Content, Hlc, Kind, Link, LinkId, MemoryId, Metadata,
    Namespace, NewMemory, NodeId, Op, OpId, Patch, Payload, Register, Relation, Scope, Stamp, Tag,
    Tier, Title, VersionVector,
    link::NewLink,
    memory::{Embedding, Validity},
    op::{Accessed, UpdateBody},
    tags::Dot,
};

mod history;

pub use history::{History, history, record};

/// How often a property is tried: 256 times, or as `PROPTEST_CASES` says. Without failure files:
/// what was found becomes a test of its own.
pub fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// How often a law of merging is tried at least: replicas that break one differ for ever.
const LAW_CASES: u32 = 10_000;

/// As [`config`], for the laws of merging: 10,000 times, or more if `PROPTEST_CASES` says so. With
/// `PROPTEST_RNG_SEED` a run can be repeated.
pub fn laws() -> ProptestConfig {
    let config = config();
    let cases = config.cases.max(LAW_CASES);
    // What a law says nothing of may come up once for each case that it does.
    ProptestConfig { cases, max_global_rejects: cases, ..config }
}

/// Text that `T` accepts, made from a regular expression of proptest's.
fn parsed<T: std::str::FromStr + std::fmt::Debug>(regex: &'static str) -> impl Strategy<Value = T> {
    regex.prop_filter_map("text that the type refuses", |text: String| text.parse().ok())
}

/// One of a few nodes, so that they meet again.
pub fn node_id() -> impl Strategy<Value = NodeId> {
    (1u128..=4).prop_map(|n| NodeId(Uuid::from_u128(n << 64)))
}

/// Any memory id.
pub fn memory_id() -> impl Strategy<Value = MemoryId> {
    any::<u128>().prop_map(|n| MemoryId(Uuid::from_u128(n)))
}

/// Any link id.
pub fn link_id() -> impl Strategy<Value = LinkId> {
    any::<u128>().prop_map(|n| LinkId(Uuid::from_u128(n)))
}

/// An operation of one of a few nodes.
pub fn op_id() -> impl Strategy<Value = OpId> {
    (node_id(), 1u64..1 << 40).prop_map(|(origin, seq)| OpId { origin, seq })
}

/// A clock reading, mostly near others.
pub fn hlc() -> impl Strategy<Value = Hlc> {
    prop_oneof![
        3 => (1_700_000_000_000u64..1_700_000_000_100, 0u16..3),
        1 => (0..=Hlc::WALL_MS_MAX, any::<u16>()),
    ]
    .prop_map(|(wall_ms, counter)| Hlc::new(wall_ms, counter))
}

/// A place in the order of writes.
pub fn stamp() -> impl Strategy<Value = Stamp> {
    (prop_oneof![4 => Just(0u64), 1 => any::<u64>()], hlc(), node_id())
        .prop_map(|(fence, hlc, origin)| Stamp { fence, hlc, origin })
}

/// An agent's name.
pub fn agent_id() -> impl Strategy<Value = AgentId> {
    parsed("[a-z][a-zA-Z0-9_.:@/-]{0,20}")
}

/// A namespace of up to three segments.
pub fn namespace() -> impl Strategy<Value = Namespace> {
    parsed("[a-z0-9_-][a-z0-9._-]{0,8}(/[a-z0-9][a-z0-9._-]{0,8}){0,2}")
}

/// A title.
pub fn title() -> impl Strategy<Value = Title> {
    parsed("[!-~äß漢][ -~äß漢]{0,40}")
}

/// A content, possibly empty, possibly of several lines.
pub fn content() -> impl Strategy<Value = Content> {
    parsed("[ -~\n\täß漢]{0,120}")
}

/// One of a few tags, so that additions and removals meet.
pub fn tag() -> impl Strategy<Value = Tag> {
    parsed("[a-d]|[a-z0-9:ä-]{1,8}")
}

/// Up to four tags.
pub fn tag_set() -> impl Strategy<Value = BTreeSet<Tag>> {
    collection::btree_set(tag(), 0..4)
}

/// An addition of a tag.
pub fn dot() -> impl Strategy<Value = Dot> {
    (tag(), op_id())
}

/// One of the tiers.
pub fn tier() -> impl Strategy<Value = Tier> {
    sample::select(Tier::ALL)
}

/// A scope with an audience it could stand for.
pub fn scope() -> impl Strategy<Value = (Scope, Audience)> {
    let path = "[a-z]{1,5}/[a-z]{1,5}/[a-z0-9_-]{1,5}";
    (sample::select(Scope::ALL), agent_id(), parsed::<crate::Affiliation>(path))
        .prop_filter_map("a scope the path is too short for", |(scope, author, home)| {
            Some((scope, home.audience(&author, scope).ok()?))
        })
}

/// A JSON object with a little nesting, often empty.
pub fn metadata() -> impl Strategy<Value = Metadata> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        (-1_000_000i64..1_000_000).prop_map(Into::into),
        (-1000i32..1000).prop_map(|n| (f64::from(n) / 8.0).into()),
        "[ -~é\n]{0,12}".prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            collection::btree_map("[a-z]{1,4}", inner, 0..3).prop_map(object),
        ]
    });
    prop_oneof![
        Just(Metadata::empty()),
        collection::btree_map("[a-zA-Z_]{1,8}", value, 0..4).prop_filter_map(
            "an object over its limits",
            |fields| Metadata::try_from(&object(fields)).ok()
        ),
    ]
}

fn object(fields: std::collections::BTreeMap<String, serde_json::Value>) -> serde_json::Value {
    serde_json::Value::Object(fields.into_iter().collect())
}

/// A time, Unix milliseconds.
pub fn time_ms() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 1_700_000_000_000u64..1_700_000_100_000, 1 => 0u64..1 << 48]
}

/// A span that is not empty.
pub fn validity() -> impl Strategy<Value = Validity> {
    (option::of(time_ms()), option::of(1u64..1_000_000)).prop_map(|(from_ms, length_ms)| Validity {
        from_ms,
        until_ms: length_ms.map(|length| from_ms.unwrap_or(0) + length),
    })
}

/// A supplied vector of few components.
pub fn embedding() -> impl Strategy<Value = Embedding> {
    ("[a-zA-Z0-9-]{1,12}", "[0-9.]{0,5}", collection::vec(-1.0f32..1.0, 0..6)).prop_map(
        |(model, version, mut values)| {
            values.push(0.5);
            Embedding { model, version, values }
        },
    )
}

fn source() -> impl Strategy<Value = String> {
    "[ -~ä]{0,20}"
}

prop_compose! {
    fn described(id: MemoryId)(
        namespace in namespace(),
        title in title(),
        content in content(),
        tier in tier(),
        tags in tag_set(),
        priority in 1u8..=10,
        confidence_permille in 0u16..=1000,
        source in source(),
        scope in scope(),
        metadata in metadata(),
        expires_at_ms in option::of(time_ms()),
    ) -> NewMemory {
        NewMemory {
            namespace,
            tier,
            tags,
            priority,
            confidence_permille,
            source,
            scope: scope.0,
            metadata,
            expires_at_ms,
            ..NewMemory::new(id, title, content, scope.1)
        }
    }
}

/// A new memory with this id.
pub fn new_memory_with(id: MemoryId) -> impl Strategy<Value = NewMemory> {
    (
        described(id),
        sample::select(Kind::ALL),
        validity(),
        any::<bool>(),
        tag_set(),
        collection::btree_set(memory_id(), 0..3),
        0u8..4,
        0u32..9,
        (option::of(embedding()), any::<bool>()),
    )
        .prop_map(
            |(new, kind, validity, legal_hold, pii_flags, sources, depth, version, last)| {
                let reflection = kind == Kind::Reflection;
                NewMemory {
                    kind,
                    validity,
                    legal_hold,
                    pii_flags,
                    sources: if reflection { sources } else { BTreeSet::new() },
                    reflection_depth: if reflection { depth } else { 0 },
                    persona_version: if kind == Kind::Persona { version } else { 0 },
                    embedding: last.0,
                    apart: last.1,
                    ..new
                }
            },
        )
}

/// A new memory.
pub fn new_memory() -> impl Strategy<Value = NewMemory> {
    memory_id().prop_flat_map(new_memory_with)
}

/// A change of at least one field.
pub fn patch() -> impl Strategy<Value = Patch> {
    let texts = (
        option::of(title()),
        option::of(content()),
        option::of(source()),
        option::of(metadata()),
        option::of(tag_set()),
        option::of(embedding()),
    );
    let numbers = (
        option::of(tier()),
        option::of(1u8..=10),
        option::of(0u16..=1000),
        option::of(sample::select(Kind::ALL)),
        option::of(scope()),
        option::of(option::of(time_ms())),
        option::of(validity()),
        option::of(any::<bool>()),
    );
    (texts, numbers, tag_set(), tag_set()).prop_filter_map(
        "a patch that changes nothing",
        |(texts, numbers, mut add_tags, remove_tags)| {
            add_tags.retain(|tag| !remove_tags.contains(tag));
            let patch = Patch {
                title: texts.0,
                content: texts.1,
                source: texts.2,
                metadata: texts.3,
                pii_flags: texts.4,
                embedding: texts.5,
                tier: numbers.0,
                priority: numbers.1,
                confidence_permille: numbers.2,
                kind: numbers.3,
                scope: numbers.4,
                expires_at_ms: numbers.5,
                validity: numbers.6,
                legal_hold: numbers.7,
                add_tags,
                remove_tags,
            };
            (!patch.is_empty()).then_some(patch)
        },
    )
}

/// A link in its stored direction.
pub fn new_link() -> impl Strategy<Value = NewLink> {
    (link_id(), memory_id(), memory_id(), sample::select(Relation::ALL), validity())
        .prop_map(|(id, source, target, relation, validity)| NewLink {
            id,
            source,
            target,
            relation,
            validity,
        })
        .prop_filter_map("a link to itself", |link| link.normalise().ok())
}

/// A link as it is kept.
pub fn link() -> impl Strategy<Value = Link> {
    (new_link(), agent_id(), stamp(), option::of(stamp()), any::<bool>()).prop_map(
        |(new, author, created, changed, removed)| Link {
            id: new.id,
            source: new.source,
            target: new.target,
            relation: new.relation,
            author,
            created,
            validity: Register::new(new.validity, changed.unwrap_or(created)),
            removed,
        },
    )
}

/// A registered agent.
pub fn agent_record() -> impl Strategy<Value = AgentRecord> {
    let affiliation = parsed("([a-z]{1,5}(/[a-z0-9_-]{1,5}){0,2})?");
    let key = || option::of(any::<[u8; 32]>());
    (agent_id(), affiliation, key(), key(), any::<bool>(), hlc()).prop_map(
        |(agent_id, affiliation, token_sha256, public_key, revoked, changed)| AgentRecord {
            agent_id,
            affiliation,
            token_sha256,
            public_key,
            revoked,
            changed,
        },
    )
}

/// Any kind of change to any memory, link or agent.
pub fn payload() -> impl Strategy<Value = Payload> {
    let accessed = (memory_id(), any::<u32>(), time_ms()).prop_map(|(id, count, at_ms)| Accessed {
        id,
        count,
        at_ms,
    });
    let update = (memory_id(), patch(), collection::vec(dot(), 0..3))
        .prop_map(|(id, patch, removed_dots)| UpdateBody { id, patch, removed_dots });
    prop_oneof![
        new_memory().prop_map(|new| Payload::Store(Box::new(new))),
        update.prop_map(|body| Payload::Update(Box::new(body))),
        (memory_id(), tier(), any::<bool>(), option::of(time_ms())).prop_map(
            |(id, tier, automatic, expires_at_ms)| Payload::Promote {
                id,
                tier,
                automatic,
                expires_at_ms
            }
        ),
        (memory_id(), source()).prop_map(|(id, reason)| Payload::Delete { id, reason }),
        (memory_id(), source()).prop_map(|(id, reason)| Payload::Archive { id, reason }),
        memory_id().prop_map(|id| Payload::Restore { id }),
        collection::vec(accessed, 0..4).prop_map(Payload::Access),
        new_link().prop_map(Payload::Link),
        link_id().prop_map(|id| Payload::Unlink { id }),
        (link_id(), validity()).prop_map(|(id, validity)| Payload::LinkValidity { id, validity }),
        (memory_id(), "[ -~]{1,20}", any::<bool>())
            .prop_map(|(id, alias, remove)| Payload::Alias { id, alias, remove }),
        agent_record().prop_map(|agent| Payload::Agent(Box::new(agent))),
    ]
}

/// A version vector over a few nodes.
pub fn version_vector() -> impl Strategy<Value = VersionVector> {
    collection::btree_map(node_id(), 1u64..1 << 40, 0..4)
        .prop_map(|entries| entries.into_iter().collect())
}

/// Any operation. For operations that belong together see [`history`].
pub fn op() -> impl Strategy<Value = Op> {
    let fence = prop_oneof![4 => Just(0u64), 1 => any::<u64>()];
    (op_id(), hlc(), agent_id(), fence, version_vector(), payload()).prop_map(
        |(id, hlc, author, fence, context, payload)| Op {
            id,
            hlc,
            author,
            fence,
            context,
            payload,
        },
    )
}
