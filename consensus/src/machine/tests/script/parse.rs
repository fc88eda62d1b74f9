//! From a line of a script to a command.
//!
//! Not here: what a command does, and how that is shown.

use std::{collections::BTreeMap, str::FromStr};

use types::{
    NodeId,
    codec::fields::Opaque,
    lock::{ActionId, Fence, SessionId, Want},
    rule::{Access, Approver, Operation, RuleMatch, RuleRequest, Settings},
};
use uuid::Uuid;

use super::{
    super::super::{
        Acquire, AdvanceEpoch, Body, CancelWait, CloseSession, ClusterId, Command, Decide, Empty,
        ForceRelease, Held, Identity, Init, KeepAlive, Member, OpenSession, Propose, PutMember,
        PutPolicy, PutRule, Readmit, RegisterAgent, RegisterBoot, Release, RemoveMember,
        RemovePolicy, RemoveRule, RevokeAgent, Role, RotateKey, SessionSeq,
        command::RequestIdentity,
    },
    Names,
};

/// What a line says.
pub(in super::super) enum Step {
    Apply { at_ms: u64, command: Box<Command>, opens: Option<String> },
    Leader { at_ms: u64 },
    Raw { at_ms: u64, bytes: Vec<u8> },
    Read(Vec<String>),
}

/// Words of a line: those with `=` by name, the others in order.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn new(words: impl Iterator<Item = &'a str>) -> Self {
        let (named, plain): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
        Self { plain, named: named.into_iter().filter_map(|word| word.split_once('=')).collect() }
    }

    fn at(&self, place: usize) -> &'a str {
        self.plain.get(place).unwrap_or_else(|| panic!("word {place} is missing"))
    }

    fn get<T: FromStr>(&self, place: usize) -> T {
        value(self.at(place))
    }

    fn option<T: FromStr>(&self, name: &str) -> Option<T> {
        self.named.get(name).map(|text| value(text))
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        self.option(name).unwrap_or(default)
    }

    fn list<T: FromStr + Ord>(&self, name: &str) -> std::collections::BTreeSet<T> {
        let text = self.named.get(name).copied().unwrap_or_default();
        text.split(',').filter(|part| !part.is_empty()).map(value).collect()
    }

    /// The plain words from a place on, as a sentence.
    fn rest(&self, place: usize) -> String {
        self.plain.get(place..).unwrap_or_default().join(" ")
    }

    fn key(&self, name: &str) -> Option<[u8; 32]> {
        self.option::<u8>(name).map(|byte| [byte; 32])
    }
}

fn value<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a value"))
}

fn node(text: &str) -> NodeId {
    NodeId(Uuid::from_u128(value(text)))
}

/// Reads a line.
pub(in super::super) fn step(line: &str, names: &Names) -> Step {
    if let Some(read) = line.strip_prefix('?') {
        return Step::Read(read.split_whitespace().map(str::to_owned).collect());
    }
    let mut words = line.split_whitespace().peekable();
    let at_ms = value(words.next().and_then(|at| at.strip_prefix('@')).expect("a time"));
    let mut identity = None;
    let mut by = None;
    if let Some((name, seq)) = words.peek().and_then(|word| word.split_once('#')) {
        let (session, agent) = session(name, names);
        by = Some(agent);
        identity = Some(Identity::Session(SessionSeq { session, seq: value(seq) }));
        words.next();
    }
    let verb = words.next().expect("a verb");
    let words = Words::new(words);
    if let Some(id) = words.option("req") {
        let valid_until_ms = words.number("valid", 0);
        identity = Some(Identity::Request(RequestIdentity { id, valid_until_ms }));
    }
    let opens = (verb == "open").then(|| words.at(0).to_owned());
    match verb {
        "leader" => return Step::Leader { at_ms },
        "raw" => {
            let digits = words.plain.concat();
            let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
            return Step::Raw { at_ms, bytes: (0..digits.len()).step_by(2).map(byte).collect() };
        }
        "open" => by = Some(words.at(1).to_owned()),
        "keepalive" | "close" => by = Some(session(words.at(0), names).1),
        _ => {}
    }
    let by = words.option("by").or(by).unwrap_or_else(|| "ops".to_owned());
    let body = body(verb, &words, &by, names);
    Step::Apply { at_ms, command: Box::new(Command { by: value(&by), identity, body }), opens }
}

/// A session by its name, or by its number, as of agent `ann`.
fn session(name: &str, names: &Names) -> (SessionId, String) {
    names.get(name).cloned().unwrap_or_else(|| (value(name), "ann".to_owned()))
}

fn body(verb: &str, words: &Words<'_>, by: &str, names: &Names) -> Body {
    match verb {
        "tick" => Body::Tick(Empty {}),
        "open" => Body::OpenSession(OpenSession {
            ttl_ms: words.number("ttl", 5000),
            lock_delay_ms: words.number("delay", 0),
        }),
        "keepalive" => Body::KeepAlive(KeepAlive { session: session(words.at(0), names).0 }),
        "close" => Body::CloseSession(CloseSession { session: session(words.at(0), names).0 }),
        "acquire" => Body::Acquire(Acquire {
            wants: words.plain.iter().map(|word| want(word)).collect(),
            wait_until_ms: words.option("until"),
        }),
        "release" => {
            Body::Release(Release { locks: words.plain.iter().map(|word| held(word)).collect() })
        }
        "cancel" => Body::CancelWait(CancelWait { seq: words.get(0) }),
        "force" => {
            let Held { key, fence } = held(words.at(0));
            Body::ForceRelease(ForceRelease { key, fence, reason: words.rest(1) })
        }
        "register" | "rotate" | "revoke" => agent(verb, words),
        "propose" | "approve" | "reject" => action(verb, words, by),
        "policy" | "unpolicy" | "rule" | "unrule" => rules(verb, words),
        _ => cluster(verb, words),
    }
}

fn want(word: &str) -> Want {
    let (key, mode) = word.split_once(':').unwrap_or((word, "exclusive"));
    Want { key: value(key), mode: value(mode) }
}

fn held(word: &str) -> Held {
    let (key, fence) = word.split_once('@').expect("KEY@FENCE");
    Held { key: value(key), fence: Fence(value(fence)) }
}

fn agent(verb: &str, words: &Words<'_>) -> Body {
    let (agent, public_key, token_sha256) = (words.get(0), words.key("key"), words.key("token"));
    match verb {
        "register" => Body::RegisterAgent(RegisterAgent {
            agent,
            affiliation: words.option("aff").unwrap_or_default(),
            public_key,
            token_sha256,
            human: words.plain.contains(&"human"),
        }),
        "rotate" => Body::RotateKey(RotateKey { agent, public_key, token_sha256 }),
        _ => Body::RevokeAgent(RevokeAgent { agent, reason: words.rest(1) }),
    }
}

fn action(verb: &str, words: &Words<'_>, by: &str) -> Body {
    if verb != "propose" {
        let (approve, note) = (verb == "approve", words.rest(1));
        return Body::Decide(Decide { action: ActionId(words.get(0)), approve, note });
    }
    Body::Propose(Propose {
        kind: words.at(0).to_owned(),
        request: RuleRequest {
            agent: words.option("for").unwrap_or_else(|| value(by)),
            operation: words.option("op").unwrap_or(Operation::Promote),
            namespace: words.option("ns").unwrap_or_else(|| value("global")),
            kind: words.option("kind"),
            tier: words.option("tier"),
            scope: None,
            reflection_depth: None,
            title: None,
            fence: Fence(0),
            has_pii: false,
        },
        payload: Opaque(words.option::<String>("payload").unwrap_or_default().into_bytes()),
        asked: words.option("ask").unwrap_or(Approver::None),
        ttl_ms: words.number("ttl", 10_000),
    })
}

fn rules(verb: &str, words: &Words<'_>) -> Body {
    let expected_version = words.option("expect");
    match verb {
        "policy" => Body::PutPolicy(PutPolicy {
            namespace: words.get(0),
            settings: settings(words),
            expected_version,
        }),
        "unpolicy" => {
            Body::RemovePolicy(RemovePolicy { namespace: words.get(0), expected_version })
        }
        "unrule" => Body::RemoveRule(RemoveRule { id: words.get(0), expected_version }),
        _ => Body::PutRule(PutRule {
            id: words.get(0),
            matching: RuleMatch {
                operations: words.list("op"),
                namespace: words.option("ns"),
                agent: words.option("agent"),
                kinds: words.list("kind"),
                tiers: words.list("tier"),
            },
            effect: words.get(1),
            note: words.rest(2),
            expected_version,
        }),
    }
}

/// `write=ops-*/human` is who and approver.
fn settings(words: &Words<'_>) -> Settings {
    let access = |operation: &Operation| {
        let text = words.named.get(operation.as_str())?;
        let (who, approver) = text.split_once('/').unwrap_or((text, "none"));
        Some((*operation, Access { who: value(who), approver: value(approver) }))
    };
    Settings {
        access: Operation::ALL.iter().filter_map(access).collect(),
        reflection_depth_max: words.option("depth"),
        required_scope: words.option("scope"),
        hot_keys: words.list("hot"),
        residency: words.list("residency"),
        retention_days: words.option("days"),
        pii: words.option("pii"),
    }
}

fn cluster(verb: &str, words: &Words<'_>) -> Body {
    match verb {
        "init" => Body::Init(Init { cluster: ClusterId(Uuid::from_u128(words.get(0))) }),
        "member" => {
            let place = ["rack", "dc", "region"];
            let label = |name: &str| Some((name.to_owned(), words.option::<String>(name)?));
            Body::PutMember(PutMember {
                member: Member {
                    node: node(words.at(0)),
                    endpoint: words.plain.get(1).copied().unwrap_or_default().to_owned(),
                    labels: place.into_iter().filter_map(label).collect(),
                    public_key: words.key("key").unwrap_or([1; 32]),
                    role: words.option("role").unwrap_or(Role::Voter),
                    version: 0,
                },
                expected_version: words.option("expect"),
            })
        }
        "unmember" => Body::RemoveMember(RemoveMember { node: node(words.at(0)) }),
        "boot" => Body::RegisterBoot(RegisterBoot {
            node: node(words.at(0)),
            boot_epoch: words.get(1),
            nonce: words.number("nonce", 0),
            cluster_epoch: words.number("cluster", 0),
        }),
        "readmit" => Body::Readmit(Readmit { node: node(words.at(0)), reason: words.rest(1) }),
        "epoch" => {
            Body::AdvanceEpoch(AdvanceEpoch { current: words.get(0), reason: words.rest(1) })
        }
        other => panic!("no verb {other}"),
    }
}
