//! The rule set: whoever looks at it sees every change that was answered before, and nothing older than
//! what was seen before.
//!
//! Invariant: only the versions of looks and of changes that are Done are compared, so a change whose
//! end is unknown proves nothing.
//!
//! Not here: single rules and policies, which are registers (`linearizable`).

use super::{
    Case, Findings, Rule, Violation,
    history::{Answer, Call, Operation, Span, greatest_before},
};

/// The version of the rules never goes back.
pub const VERSION_GROWS: Rule = Rule {
    judge: "rules",
    name: "version-grows",
    source: "requirement D1; design §6: the version of the rules is the log index of their last change",
};

/// Rules of this judge.
pub const RULES: &[&Rule] = &[&VERSION_GROWS];

/// Judges every look at the rules, and every change.
pub fn judge(case: &Case<'_>, findings: &mut Findings) {
    let seen = case.requests.iter().filter_map(|operation| {
        let asks = matches!(operation.call, Call::SetRules { .. } | Call::GetRules);
        let Some(Answer::Rules { version }) = operation.answer().filter(|_| asks) else {
            return None;
        };
        let (from, until) = (operation.invoked, operation.effective());
        Some((operation, Span { from, until, value: *version }))
    });
    let seen: Vec<(&Operation<'_>, Span)> = seen.collect();
    let spans: Vec<Span> = seen.iter().map(|(_, span)| *span).collect();
    for (later, before) in greatest_before(&spans) {
        if spans[later].value >= spans[before].value {
            continue;
        }
        let (later, before) = (seen[later].0, seen[before].0);
        let detail = format!("{}, after {}", later.describe(), before.describe());
        let violation = Violation::of(&VERSION_GROWS, detail).by([before.id, later.id]);
        findings.violated(violation.at(later.ended_us.unwrap_or(0)));
    }
}
