//! Random sequences of requests: what several agents do with a few memories.
//!
//! Invariant: what a step stands for depends on the steps before it alone, so two stores are asked the same.
//!
//! Not here: what the stores are compared by (`alike`).

use proptest::prelude::*;
use types::{
    Affiliation, Kind, LinkId, MemoryId, NewMemory, Patch, Relation, Scope, Tag, Tier,
    audit::AttestLevel, ids::IdRef, link::NewLink, memory::Validity, op::Accessed,
};

use crate::{
    request::{Intent, OnConflict, Viewer, WriteRequest},
    sqlite::tests::NOW_MS,
};

/// Words that texts are made of; some are of one stem.
const WORDS: [&str; 14] = [
    "harbour",
    "harbours",
    "light",
    "lights",
    "night",
    "train",
    "platform",
    "red",
    "queen",
    "running",
    "runs",
    "salt",
    "Überfahrt",
    "42",
];
/// Agents and where they belong.
const AGENTS: [(&str, &str); 3] = [("ann", "acme/dev/core"), ("bob", "acme/dev/core"), ("eve", "")];
const NAMESPACES: [&str; 4] = ["global", "work", "work/plans", "work/plans/q3"];
const SCOPES: [Scope; 3] = [Scope::Private, Scope::Team, Scope::Collective];
const RELATIONS: [Relation; 3] = [Relation::RelatedTo, Relation::Supersedes, Relation::DependsOn];
const TIERS: [Tier; 3] = [Tier::Short, Tier::Mid, Tier::Long];
const KINDS: [Kind; 3] = [Kind::Observation, Kind::Claim, Kind::Entity];
const TAGS: [&str; 3] = ["blue", "green", "blue-green"];

/// What one intent does; numbers stand for what is there, and wrap round.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Store { place: u8, title: u8, words: Vec<u8>, scope: u8, kind: u8, tags: u8, conflict: u8 },
    Update { at: u8, words: Option<Vec<u8>>, tags: u8, priority: u8, expects: bool },
    Promote { at: u8, tier: u8 },
    Delete { at: u8 },
    Archive { at: u8 },
    Restore { at: u8 },
    Link { from: u8, to: u8, relation: u8 },
    Unlink { at: u8 },
    Alias { at: u8, word: u8, remove: bool },
    Access { at: u8 },
}

/// A request: by whom, how long after the last one, and what.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) who: u8,
    pub(super) pause_ms: u16,
    pub(super) atomic: bool,
    pub(super) acts: Vec<Act>,
}

fn words() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..8)
}

fn act() -> impl Strategy<Value = Act> {
    let of = any::<u8>;
    let store = (of(), of(), words(), of(), of(), of(), of()).prop_map(
        |(place, title, words, scope, kind, tags, conflict)| Act::Store {
            place,
            title,
            words,
            scope,
            kind,
            tags,
            conflict,
        },
    );
    let update = (of(), prop::option::of(words()), of(), of(), any::<bool>()).prop_map(
        |(at, words, tags, priority, expects)| Act::Update { at, words, tags, priority, expects },
    );
    prop_oneof![
        6 => store,
        3 => update,
        1 => (of(), of()).prop_map(|(at, tier)| Act::Promote { at, tier }),
        1 => of().prop_map(|at| Act::Delete { at }),
        1 => of().prop_map(|at| Act::Archive { at }),
        1 => of().prop_map(|at| Act::Restore { at }),
        3 => (of(), of(), of()).prop_map(|(from, to, relation)| Act::Link { from, to, relation }),
        1 => of().prop_map(|at| Act::Unlink { at }),
        1 => (of(), of(), any::<bool>())
            .prop_map(|(at, word, remove)| Act::Alias { at, word, remove }),
        1 => of().prop_map(|at| Act::Access { at }),
    ]
}

/// Sequences of requests.
pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (any::<u8>(), any::<u16>(), any::<bool>(), prop::collection::vec(act(), 1..5))
        .prop_map(|(who, pause_ms, atomic, acts)| Step { who, pause_ms, atomic, acts });
    prop::collection::vec(step, 1..16)
}

fn pick<T: Copy>(all: &[T], number: u8) -> T {
    all[usize::from(number) % all.len()]
}

/// A text of these words.
pub(super) fn text(words: &[u8]) -> String {
    words.iter().map(|word| pick(&WORDS, *word)).collect::<Vec<_>>().join(" ")
}

/// Everybody who asks.
pub(super) fn viewers() -> Vec<Viewer> {
    (0..AGENTS.len() as u8).map(|who| viewer(who).0).collect()
}

fn viewer(who: u8) -> (Viewer, Affiliation) {
    let (name, path) = pick(&AGENTS, who);
    let (agent, affiliation) = (name.parse().unwrap(), path.parse::<Affiliation>().unwrap());
    let audiences = affiliation.audiences(&agent);
    (Viewer { agent, audiences, attest: AttestLevel::Asserted, operator: false }, affiliation)
}

/// Turns steps into requests, and remembers what they were about.
#[derive(Default)]
pub(super) struct Plan {
    drawn: u128,
    passed_ms: u64,
    pub(super) memories: Vec<MemoryId>,
    links: Vec<LinkId>,
}

impl Plan {
    /// The time of the last request, Unix milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        NOW_MS + self.passed_ms
    }

    fn draw(&mut self) -> uuid::Uuid {
        self.drawn += 1;
        uuid::Uuid::from_u128(
            (u128::from(self.now_ms()) << 80) | (7 << 76) | (0b10 << 62) | self.drawn,
        )
    }

    fn known(&mut self, at: u8) -> MemoryId {
        if self.memories.is_empty() { MemoryId(self.draw()) } else { pick(&self.memories, at) }
    }

    /// The next request.
    pub(super) fn request(&mut self, step: &Step) -> WriteRequest {
        self.passed_ms += u64::from(step.pause_ms);
        let (viewer, affiliation) = viewer(step.who);
        let intents =
            step.acts.iter().filter_map(|act| self.intent(act, &viewer, &affiliation)).collect();
        WriteRequest {
            viewer,
            now_ms: self.now_ms(),
            fence: 0,
            idempotency: None,
            intents,
            atomic: step.atomic,
            quota: None,
            reflection_depth_max: 3,
        }
    }

    fn intent(&mut self, act: &Act, viewer: &Viewer, affiliation: &Affiliation) -> Option<Intent> {
        let expected_version = None;
        Some(match act {
            Act::Store { .. } => self.store(act, viewer, affiliation)?,
            Act::Update { at, words, tags, priority, expects } => Intent::Update {
                id: IdRef::Full(self.known(*at)),
                patch: Box::new(Patch {
                    content: words.as_ref().map(|words| text(words).parse().unwrap()),
                    add_tags: [tag(*tags)].into(),
                    priority: Some(priority % 10 + 1),
                    ..Patch::default()
                }),
                expected_version: expects.then_some(1),
            },
            Act::Promote { at, tier } => Intent::Promote {
                id: IdRef::Full(self.known(*at)),
                tier: pick(&TIERS, *tier),
                expires_at_ms: None,
                automatic: false,
                expected_version,
            },
            Act::Delete { at } => Intent::Delete {
                id: IdRef::Full(self.known(*at)),
                reason: "enough".into(),
                expected_version,
            },
            Act::Archive { at } => {
                Intent::Archive { id: IdRef::Full(self.known(*at)), reason: "later".into() }
            }
            Act::Restore { at } => Intent::Restore { id: IdRef::Full(self.known(*at)) },
            Act::Link { from, to, relation } => {
                let id = LinkId(self.draw());
                self.links.push(id);
                let (source, target) = (self.known(*from), self.known(*to));
                let relation = pick(&RELATIONS, *relation);
                Intent::Link(NewLink {
                    id,
                    source,
                    target,
                    relation,
                    validity: Validity::default(),
                })
            }
            Act::Unlink { at } => {
                Intent::Unlink { id: *self.links.get(usize::from(*at) % self.links.len().max(1))? }
            }
            Act::Alias { at, word, remove } => Intent::Alias {
                id: IdRef::Full(self.known(*at)),
                alias: text(&[*word]),
                remove: *remove,
            },
            Act::Access { at } => {
                let (id, at_ms) = (self.known(*at), self.now_ms());
                Intent::Access(vec![Accessed { id, count: 1, at_ms }])
            }
        })
    }

    fn store(&mut self, act: &Act, viewer: &Viewer, affiliation: &Affiliation) -> Option<Intent> {
        let Act::Store { place, title, words, scope, kind, tags, conflict } = act else {
            return None;
        };
        // Not everybody belongs to a team.
        let scope = pick(&SCOPES, *scope);
        let audience = affiliation.audience(&viewer.agent, scope).ok()?;
        let id = MemoryId(self.draw());
        self.memories.push(id);
        let (title, content) = (text(&[*title]), text(words));
        let (title, content) = (title.parse().unwrap(), content.parse().unwrap());
        let mut memory = NewMemory::new(id, title, content, audience);
        memory.scope = scope;
        memory.namespace = pick(&NAMESPACES, *place).parse().unwrap();
        memory.kind = pick(&KINDS, *kind);
        memory.tags = [tag(*tags)].into();
        let rules = [OnConflict::Merge, OnConflict::New, OnConflict::Error];
        Some(Intent::Store { memory: Box::new(memory), on_conflict: pick(&rules, *conflict) })
    }
}

/// A tag.
pub(super) fn tag(number: u8) -> Tag {
    pick(&TAGS, number).parse().unwrap()
}
