//! From what came of a line to text.
//!
//! Invariant: everything in an answer and an effect is shown, so that nothing changes unseen.

use std::fmt::Write;

use types::{NodeId, Reject, lock::LockKey};
use uuid::Uuid;

use super::{
    super::super::{
        ActionAnswer, Applied, Decided, Effect, Grant, Granted, Machine, Response, WaitEnded,
        action::Action,
    },
    Names,
};

fn join<T: ToString>(parts: impl IntoIterator<Item = T>, between: &str) -> String {
    parts.into_iter().map(|part| part.to_string()).collect::<Vec<_>>().join(between)
}

/// What there is, on one line.
fn list<T: ToString>(parts: impl IntoIterator<Item = T>) -> String {
    let line = join(parts, " ");
    if line.is_empty() { "none".to_owned() } else { line }
}

/// An answer and its effects, on lines of their own.
pub(in super::super) fn applied(index: u64, applied: &Applied) -> String {
    let mut out = format!("  {index}: {}\n", response(&applied.response));
    for effect in &applied.effects {
        let _ = writeln!(out, "  ! {}", self::effect(effect));
    }
    out
}

fn reject(reject: &Reject) -> String {
    let facts = reject.facts.iter().map(|(name, value)| format!(" {name}={value}"));
    format!("refused {}{}: {}", reject.reason, join(facts, ""), reject.detail)
}

fn decided(decided: &Option<Decided>) -> String {
    match decided {
        Some(Decided { outcome, index, by }) => {
            format!("{} at {index} by {by}", outcome.as_str())
        }
        None => "undecided".to_owned(),
    }
}

fn response(response: &Response) -> String {
    match response {
        Response::Done(_) => "done".to_owned(),
        Response::Session(s) => {
            format!("session {} ttl {} until {}", s.session, s.ttl_ms, s.expires_ms)
        }
        Response::Granted(Granted { grants, lease_ms }) => {
            let grant = |Grant { key, fence, count }: &Grant| format!("{key}@{fence} x{count}");
            format!("granted {}, lease {lease_ms}", join(grants.iter().map(grant), " "))
        }
        Response::Waiting(w) => format!("waiting {} until {}", w.wait, w.deadline_ms),
        Response::WaitEnded(WaitEnded { cause }) => format!("not granted: {}", cause.as_str()),
        Response::Version(version) => format!("version {version}"),
        Response::Action(ActionAnswer { action, approvals, decided }) => {
            let approvals = join(approvals, ",");
            format!("action {action} approved by [{approvals}], {}", self::decided(decided))
        }
        Response::Boot(b) => format!("boot {} in epoch {}", b.boot_epoch, b.cluster_epoch),
        Response::Refused(reject) => self::reject(reject),
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::LockChanged { key, holders, .. } if holders.is_empty() => {
            format!("{key} has no holder")
        }
        Effect::LockChanged { key, fence, holders } => {
            format!("{key} fence {fence} held by {}", join(holders, ","))
        }
        Effect::WaitOver { session, seq, response } => {
            format!("session {session} #{seq}: {}", self::response(response))
        }
        Effect::SessionEnded { session, cause } => format!("session {session} {}", cause.as_str()),
        Effect::RulesChanged { version } => format!("rules {version}"),
        Effect::AgentsChanged { version } => format!("agents {version}"),
        Effect::ActionChanged { action, decided } => {
            format!("action {action} {}", if *decided { "decided" } else { "changed" })
        }
        Effect::MembersChanged { version } => format!("members {version}"),
        Effect::EpochChanged { cluster_epoch } => format!("epoch {cluster_epoch}"),
        Effect::Audit(e) => {
            let facts = e.facts.iter().map(|(name, value)| format!(" {name}={value:?}"));
            let (by, kind, subject) = (&e.by, e.event_type, &e.subject);
            format!(
                "audit {}.{} {} {by} {kind} {subject}{}",
                e.index,
                e.ordinal,
                e.at_ms,
                join(facts, "")
            )
        }
    }
}

/// What a `?` line reads.
pub(in super::super) fn read(machine: &Machine, words: &[String], names: &Names) -> String {
    let mut out = String::new();
    let mut say = |line: String| {
        let _ = writeln!(out, "  {line}");
    };
    let word = |at: usize| words.get(at).map(String::as_str).unwrap_or_default();
    let session = |name: &str| names.get(name).expect("a session's name").0;
    match word(0) {
        "lock" => explain(machine, &word(1).parse().expect("a key"), &mut say),
        "keys" => say(list(machine.lock_keys())),
        "session" => match machine.session(session(word(1))) {
            Some(s) => say(format!(
                "session {} of {} age {} left {} holds {} waits {}",
                s.session, s.agent, s.age_ms, s.left_ms, s.held, s.waiting
            )),
            None => say("no such session".to_owned()),
        },
        "sessions" => say(list(machine.sessions().map(|s| s.session))),
        "answer" => match machine.answer(session(word(1)), word(2).parse().expect("a number")) {
            Some(answer) => say(response(answer)),
            None => say("nothing is known".to_owned()),
        },
        "next" => say(format!("{:?} at {}", machine.next_deadline_ms(), machine.time_ms())),
        "rules" => rules(machine, &mut say),
        "agent" => agent(machine, word(1), &mut say),
        "agents" => say(list(machine.agents().map(|a| &a.agent))),
        "action" => {
            let id = word(1).parse().expect("a number");
            match machine.action(id) {
                Some(known) => action(known, &mut say),
                None => say(format!("gone: {}", decided(&machine.decision(id).cloned()))),
            }
        }
        "pending" => say(list(machine.pending_actions().map(|(id, _)| id))),
        "members" => members(machine, &mut say),
        "boot" => {
            let node = NodeId(Uuid::from_u128(word(1).parse().expect("a number")));
            say(format!("{:?} in epoch {}", machine.boot_epoch(node), machine.cluster_epoch()));
        }
        other => panic!("nothing reads {other}"),
    }
    out
}

fn explain(machine: &Machine, key: &LockKey, say: &mut impl FnMut(String)) {
    let found = machine.explain(key);
    if found.holders.is_empty() && found.queue.is_empty() && found.rests_ms == 0 {
        return say(format!("{key} is free"));
    }
    for h in &found.holders {
        say(format!(
            "{key}@{} x{} {} by session {} of {} for {}, session lives {}",
            h.fence, h.count, h.mode, h.session, h.agent, h.age_ms, h.session_left_ms
        ));
    }
    if found.rests_ms > 0 {
        say(format!("{key} rests {}", found.rests_ms));
    }
    for w in &found.queue {
        let with =
            if w.with.is_empty() { String::new() } else { format!(" with {}", join(&w.with, " ")) };
        say(format!(
            "waiting {} {} by session {} of {} for {}, left {}{with}",
            w.wait, w.mode, w.session, w.agent, w.age_ms, w.left_ms
        ));
    }
}

fn rules(machine: &Machine, say: &mut impl FnMut(String)) {
    let rules = machine.rules();
    say(format!("version {}", rules.version()));
    for policy in rules.policies() {
        let s = &policy.settings;
        let mut line = format!("policy {} v{}", policy.namespace, policy.version);
        for (operation, access) in &s.access {
            let _ = write!(line, " {operation}={}/{}", access.who, access.approver);
        }
        let mut put = |name: &str, value: Option<String>| {
            let _ = value.map(|value| write!(line, " {name}={value}"));
        };
        put("depth", s.reflection_depth_max.map(|v| v.to_string()));
        put("scope", s.required_scope.map(|v| v.to_string()));
        put("hot", (!s.hot_keys.is_empty()).then(|| join(&s.hot_keys, ",")));
        put("residency", (!s.residency.is_empty()).then(|| join(&s.residency, ",")));
        put("days", s.retention_days.map(|v| v.to_string()));
        put("pii", s.pii.map(|v| v.to_string()));
        say(line);
    }
    for rule in rules.rules() {
        say(format!("rule {} v{} {} {:?}", rule.id, rule.version, rule.effect, rule.note));
    }
}

fn agent(machine: &Machine, name: &str, say: &mut impl FnMut(String)) {
    let Some(agent) = machine.agent(&name.parse().expect("an agent")) else {
        return say("not registered".to_owned());
    };
    let first = |key: &[u8; 32]| key[0];
    let past =
        agent.past_keys.iter().map(|past| format!("{}<{}", first(&past.public_key), past.until));
    let state = match &agent.revoked {
        Some(r) => format!("revoked at {} by {} for {:?}", r.index, r.by, r.reason),
        None => "active".to_owned(),
    };
    say(format!(
        "{} v{} of {:?} key {:?} token {:?} past [{}]{} {state}",
        agent.agent,
        agent.version,
        agent.affiliation.as_str(),
        agent.public_key.as_ref().map(first),
        agent.token_sha256.as_ref().map(first),
        join(past, ","),
        if agent.human { " human" } else { "" },
    ));
}

fn action(action: &Action, say: &mut impl FnMut(String)) {
    say(format!(
        "{} by {} payload {:?} rules {} until {}",
        action.kind, action.proposer, action.payload, action.rules_version, action.expires_ms
    ));
    let approvals = action.approvals.iter().map(|(agent, index)| format!("{agent}@{index}"));
    say(format!(
        "needs [{}] has [{}] {} {:?}",
        join(&action.approvers, ","),
        join(approvals, ","),
        decided(&action.decided),
        action.note
    ));
}

fn members(machine: &Machine, say: &mut impl FnMut(String)) {
    say(format!(
        "{:?} version {}",
        machine.cluster().map(|c| c.to_string()),
        machine.members_version()
    ));
    for m in machine.members() {
        let labels = m.labels.iter().map(|(name, value)| format!("{name}={value}"));
        let (node, role) = (m.node.0.as_u128(), m.role.as_str());
        say(format!("{node} v{} {} {role} {}", m.version, m.endpoint, join(labels, " ")));
    }
}
