//! What contradicts, what is covered, what a request is told.

use proptest::prelude::*;

use super::*;
use crate::{Namespace, Reason, Scope, lock::Fence};

fn pattern(text: &str) -> Pattern {
    text.parse().expect("a pattern")
}

fn ns(text: &str) -> Namespace {
    text.parse().expect("a namespace")
}

fn policy(namespace: &str, version: u64, settings: Settings) -> NamespacePolicy {
    NamespacePolicy { namespace: ns(namespace), version, settings }
}

fn access(who: &str, approver: &str) -> Access {
    Access { who: who.parse().expect("who"), approver: approver.parse().expect("an approver") }
}

fn writers(who: &str) -> Settings {
    Settings { access: [(Operation::Write, access(who, "none"))].into(), ..Settings::default() }
}

fn write(agent: &str, namespace: &str) -> RuleRequest {
    RuleRequest {
        agent: agent.parse().expect("an agent"),
        operation: Operation::Write,
        namespace: ns(namespace),
        kind: None,
        tier: None,
        scope: None,
        reflection_depth: None,
        title: None,
        fence: Fence(0),
        has_pii: false,
    }
}

fn rule(id: &str, effect: &str, matching: RuleMatch) -> OperatorRule {
    OperatorRule {
        id: id.parse().expect("an id"),
        version: 1,
        matching,
        effect: effect.parse().expect("an effect"),
        note: String::new(),
    }
}

fn refused_field(rules: &RuleSet, request: &RuleRequest) -> Option<&'static str> {
    match rules.evaluate(request).decision {
        Decision::Refuse(Cause::Policy { field, .. }) => Some(field),
        Decision::Refuse(Cause::Rule { .. }) => Some("rule"),
        _ => None,
    }
}

#[test]
fn a_star_stands_for_any_text() {
    for (text, fits) in
        [("", true), ("a", true), ("a*c", true), ("anything at all", true), ("ünïcode", true)]
    {
        assert_eq!(pattern("*").matches(text), fits, "{text}");
    }
    assert!(pattern("a*c").matches("abbc") && pattern("a*c").matches("ac"));
    assert!(!pattern("a*c").matches("abcd") && !pattern("a*c").matches("bac"));
    assert!(pattern("*ab*ab").matches("xabyabab") && !pattern("*ab*ab").matches("xab"));
    assert!("".parse::<Pattern>().is_err() && "a\nb".parse::<Pattern>().is_err());
}

#[test]
fn covering_is_about_all_that_fits() {
    for (wide, narrow) in [("*", "a*"), ("a*", "ab*"), ("a*c", "ab*bc"), ("eu-*", "eu-west-1")] {
        assert!(pattern(wide).covers(&pattern(narrow)), "{wide} {narrow}");
        assert!(!pattern(narrow).covers(&pattern(wide)), "{narrow} {wide}");
    }
    assert!(pattern("**").covers(&pattern("*")), "GOV-4 both ways");
}

proptest! {
    #![proptest_config(crate::arbitrary::config())]

    #[test]
    fn covered_patterns_match_no_more(
        wide in "[ab*]{1,4}", narrow in "[ab*]{1,4}", text in "[ab]{0,6}",
    ) {
        let (wide, narrow) = (pattern(&wide), pattern(&narrow));
        if wide.covers(&narrow) && narrow.matches(&text) {
            prop_assert!(wide.matches(&text), "GOV-4");
        }
    }

    #[test]
    fn tightening_is_transitive(a in approver(), b in approver(), c in approver()) {
        if a.tightens(&b) && b.tightens(&c) {
            prop_assert!(a.tightens(&c), "GOV-2 {a} {b} {c}");
        }
        prop_assert!(a.tightens(&a));
    }

    /// Whatever is put and removed in whatever order, nothing in the set contradicts, and what was
    /// refused changed nothing.
    #[test]
    fn a_set_never_contradicts_itself(
        steps in proptest::collection::vec((0usize..5, proptest::option::of(settings())), 1..20),
    ) {
        let names = ["a", "a/b", "a/b/c", "a/d", "e"];
        let mut set = RuleSet::default();
        for (version, (name, settings)) in (1..).zip(steps) {
            let before = set.clone();
            let done = match settings {
                Some(settings) => set.put_policy(policy(names[name], version, settings)),
                None => set.remove_policy(&ns(names[name]), version),
            };
            match done {
                Ok(()) => prop_assert_eq!(set.version(), version, "GOV-6"),
                Err(_) => prop_assert_eq!(&set, &before),
            }
            prop_assert_eq!(set.check(), Ok(()), "GOV-2");
            prop_assert_eq!(RuleSet::decode(&set.encode()), Ok(set.clone()), "COD-1");
        }
    }
}

fn approver() -> impl Strategy<Value = Approver> {
    proptest::sample::select(vec![
        "none",
        "human",
        "agent:ann",
        "agent:bob",
        "group:acme",
        "group:acme/eng",
        "group:acm",
        "consensus:1",
        "consensus:3",
    ])
    .prop_map(|text| text.parse().expect("an approver"))
}

fn settings() -> impl Strategy<Value = Settings> {
    let who = proptest::sample::select(vec!["*", "a*", "ann", "b*"]);
    let places = proptest::sample::subsequence(vec!["eu-*", "eu-west", "us-*"], 0..=2);
    (
        proptest::option::of((who, approver())),
        proptest::option::of(0u8..4),
        proptest::option::of(proptest::sample::select(Scope::ALL)),
        places,
        proptest::option::of(1u32..4),
        proptest::option::of(proptest::sample::select(Pii::ALL)),
    )
        .prop_map(|(write, depth, scope, places, days, pii)| Settings {
            access: write
                .map(|(who, approver)| {
                    (Operation::Write, Access { who: who.parse().expect("who"), approver })
                })
                .into_iter()
                .collect(),
            reflection_depth_max: depth,
            required_scope: scope,
            hot_keys: Default::default(),
            residency: places.into_iter().map(pattern).collect(),
            retention_days: days,
            pii,
        })
}

#[test]
fn each_setting_contradicts_in_its_own_way() {
    let base = Settings {
        access: [(Operation::Write, access("ops-*", "consensus:2"))].into(),
        reflection_depth_max: Some(2),
        required_scope: Some(Scope::Team),
        hot_keys: [pattern("deploy*")].into(),
        residency: [pattern("eu-*")].into(),
        retention_days: Some(30),
        pii: Some(Pii::Flag),
    };
    type Change = fn(&mut Settings);
    let cases: [(&str, Change, Change); 6] = [
        (
            "access.write.who",
            |s| s.access = [(Operation::Write, access("*", "consensus:2"))].into(),
            |s| s.access = [(Operation::Write, access("ops-1", "consensus:2"))].into(),
        ),
        (
            "access.write.approver",
            |s| s.access = [(Operation::Write, access("ops-*", "consensus:1"))].into(),
            |s| s.access = [(Operation::Write, access("ops-*", "consensus:3"))].into(),
        ),
        (
            "reflection_depth_max",
            |s| s.reflection_depth_max = Some(3),
            |s| {
                s.reflection_depth_max = Some(1);
            },
        ),
        (
            "required_scope",
            |s| s.required_scope = Some(Scope::Org),
            |s| {
                s.required_scope = Some(Scope::Private);
            },
        ),
        ("retention_days", |s| s.retention_days = Some(31), |s| s.retention_days = Some(7)),
        ("pii", |s| s.pii = Some(Pii::Allow), |s| s.pii = Some(Pii::Refuse)),
    ];
    for (field, looser, tighter) in cases {
        let (mut loose, mut tight) = (base.clone(), base.clone());
        looser(&mut loose);
        tighter(&mut tight);
        assert_eq!(loose.contradicts(&base).expect(field).field, field, "GOV-2");
        assert_eq!(tight.contradicts(&base), None, "{field}");
        assert_eq!(base.contradicts(&tight).expect(field).field, field);
    }
    let abroad = Settings { residency: [pattern("us-1")].into(), ..Settings::default() };
    assert_eq!(abroad.contradicts(&base).expect("abroad").field, "residency");
    assert_eq!(Settings::default().contradicts(&base), None, "it inherits");
    assert_eq!(base.contradicts(&Settings::default()), None);
}

#[test]
fn a_policy_may_not_undercut_what_is_below_it_either() {
    let mut set = RuleSet::default();
    set.put_policy(policy("a/b", 1, writers("*"))).expect("nothing above");
    let refused = set.put_policy(policy("a", 2, writers("ann"))).expect_err("a/b is looser");
    assert_eq!(refused.reason, Reason::PolicyConflict);
    assert_eq!((refused.fact("child"), refused.fact("parent")), (Some("a/b"), Some("a")));
    assert_eq!(set.version(), 1);
    set.put_policy(policy("a/bc", 3, writers("ann"))).expect("a neighbour, not a child");
}

#[test]
fn values_out_of_range_are_refused() {
    let mut set = RuleSet::default();
    let mut refused =
        |settings| set.put_policy(policy("a", 1, settings)).expect_err("out of range").reason;
    let none = Settings { retention_days: Some(0), ..Settings::default() };
    assert_eq!(refused(none), Reason::InvalidArgument);
    let reading = Settings {
        access: [(Operation::Read, access("*", "human"))].into(),
        ..Settings::default()
    };
    assert_eq!(refused(reading), Reason::InvalidArgument);
    assert!("consensus:0".parse::<Approver>().is_err() && "group:".parse::<Approver>().is_err());
    assert!("escalate:none".parse::<RuleEffect>().is_err() && "x y".parse::<RuleId>().is_err());
}

#[test]
fn the_nearest_policy_that_says_something_holds() {
    let mut set = RuleSet::default();
    set.put_policy(policy("a", 1, writers("team-*"))).expect("top");
    let depth = Settings { reflection_depth_max: Some(1), ..Settings::default() };
    set.put_policy(policy("a/b", 2, depth)).expect("below");
    assert_eq!(refused_field(&set, &write("team-1", "a/b")), None, "inherited");
    assert_eq!(refused_field(&set, &write("ann", "a/b/c")), Some("access"));
    assert_eq!(refused_field(&set, &write("ann", "elsewhere")), None);
    let deep = RuleRequest { reflection_depth: Some(2), ..write("team-1", "a/b/c") };
    assert_eq!(refused_field(&set, &deep), Some("reflection_depth_max"));
    let above = RuleRequest { reflection_depth: Some(2), ..write("team-1", "a") };
    assert_eq!(refused_field(&set, &above), None, "the cap is below");
    let verdict = set.evaluate(&deep);
    assert_eq!((verdict.rules_version, verdict.policy_version), (2, 2), "GOV-1");
}

#[test]
fn writes_are_held_against_scope_personal_data_and_hot_keys() {
    let mut set = RuleSet::default();
    let strict = Settings {
        required_scope: Some(Scope::Team),
        pii: Some(Pii::Refuse),
        hot_keys: [pattern("deploy*")].into(),
        ..Settings::default()
    };
    set.put_policy(policy("a", 1, strict)).expect("top");
    let wide = RuleRequest { scope: Some(Scope::Org), ..write("ann", "a") };
    assert_eq!(refused_field(&set, &wide), Some("required_scope"));
    let personal = RuleRequest { has_pii: true, ..write("ann", "a") };
    assert_eq!(refused_field(&set, &personal), Some("pii"));
    let hot = RuleRequest { title: Some("deploy plan".to_owned()), ..write("ann", "a/b") };
    assert_eq!(refused_field(&set, &hot), Some("hot_keys"));
    assert_eq!(refused_field(&set, &RuleRequest { fence: Fence(7), ..hot.clone() }), None);
    let cold = RuleRequest { title: Some("a deploy".to_owned()), ..hot.clone() };
    assert_eq!(refused_field(&set, &cold), None);
    let read = RuleRequest { operation: Operation::Read, scope: Some(Scope::Org), ..hot };
    assert_eq!(refused_field(&set, &read), None, "only writes");
    assert_eq!(set.evaluate(&read).pii, Pii::Refuse);
}

#[test]
fn the_strictest_rule_holds_and_all_are_heard() {
    let mut set = RuleSet::default();
    let all = RuleMatch::default;
    let approved = Settings {
        access: [(Operation::Write, access("*", "human"))].into(),
        ..Settings::default()
    };
    set.put_policy(policy("a", 1, approved)).expect("top");
    set.put_rule(rule("20-warn", "warn", all())).expect("room");
    set.put_rule(rule("10-log", "log", all())).expect("room");
    set.put_rule(rule("30-ask", "escalate:consensus:2", all())).expect("room");
    let verdict = set.evaluate(&write("ann", "a"));
    let both = [Approver::Human, Approver::Consensus { needed: 2 }].into();
    assert_eq!(verdict.decision, Decision::Escalate(both), "GOV-3");
    assert_eq!((verdict.warnings.len(), verdict.logged.len()), (1, 1));
    let bob = RuleMatch { agent: Some(pattern("bob")), ..all() };
    set.put_rule(rule("99-never", "refuse", bob)).expect("room");
    assert_eq!(refused_field(&set, &write("bob", "a")), Some("rule"), "GOV-3");
    assert_eq!(refused_field(&set, &write("ann", "a")), None);
    set.remove_rule(&"99-never".parse().expect("an id"), 9).expect("there is one");
    assert_eq!(refused_field(&set, &write("bob", "a")), None);
    assert_eq!(set.version(), 9, "GOV-6");
}

#[test]
fn a_rule_matches_on_everything_it_names() {
    let request = RuleRequest {
        kind: Some(crate::Kind::Persona),
        tier: Some(crate::Tier::Long),
        ..write("ann", "acme/eng")
    };
    let fitting = RuleMatch {
        operations: [Operation::Write].into(),
        namespace: Some("acme/*".parse().expect("a glob")),
        agent: Some(pattern("a*")),
        kinds: [crate::Kind::Persona].into(),
        tiers: [crate::Tier::Long].into(),
    };
    assert!(fitting.fits(&request));
    let others = [
        RuleMatch { operations: [Operation::Read].into(), ..fitting.clone() },
        RuleMatch { namespace: Some("beta/*".parse().expect("a glob")), ..fitting.clone() },
        RuleMatch { agent: Some(pattern("b*")), ..fitting.clone() },
        RuleMatch { kinds: [crate::Kind::Claim].into(), ..fitting.clone() },
        RuleMatch { tiers: [crate::Tier::Short].into(), ..fitting.clone() },
    ];
    for other in others {
        assert!(!other.fits(&request), "{other:?}");
    }
    assert!(!fitting.fits(&RuleRequest { kind: None, ..request.clone() }), "it has no kind");
}

#[test]
fn approvals_count_where_the_requirement_admits_them() {
    let agent = |name: &str| name.parse().expect("an agent");
    let of = |path: &str| path.parse().expect("an affiliation");
    let admits = |approver: &str, name: &str, path: &str, human| {
        let approver: Approver = approver.parse().expect("an approver");
        approver.admits(&agent(name), &of(path), human)
    };
    assert!(admits("human", "ann", "", true) && !admits("human", "ann", "", false));
    assert!(admits("agent:ann", "ann", "", false) && !admits("agent:ann", "bob", "", true));
    assert!(admits("group:acme/eng", "ann", "acme/eng/core", false));
    assert!(!admits("group:acme/eng", "ann", "acme/engine", false), "no prefix of a name");
    assert!(admits("consensus:2", "ann", "", false) && !admits("none", "ann", "", true));
}
