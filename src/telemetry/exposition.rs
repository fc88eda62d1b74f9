//! From OpenMetrics to the older text format that every scraper and `promtool` reads.
//!
//! The two differ in what this program writes only here: in OpenMetrics a counter is described under
//! its name without `_total`, help ends with a full stop, and the text ends with `# EOF`.
//!
//! Invariant: samples pass through untouched.
//!
//! Not here: exemplars and timestamps, which this program does not write.

use std::collections::BTreeSet;

/// Rewrites the descriptions.
pub(super) fn from_open_metrics(text: &str) -> String {
    let counters: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        let (Some(kind @ ("HELP" | "TYPE")), Some(name), Some(rest)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let total = if counters.contains(name) { "_total" } else { "" };
        let rest = if kind == "HELP" { rest.trim_end_matches('.') } else { rest };
        out.push_str(&format!("# {kind} {name}{total} {rest}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::from_open_metrics;

    #[test]
    fn only_descriptions_change() {
        let open = "# HELP a Requests.\n# TYPE a counter\na_total{x=\"# y\"} 1\n# UNIT b bytes\n# TYPE b gauge\nb 2\n# EOF\n";
        let classic = "# HELP a_total Requests\n# TYPE a_total counter\na_total{x=\"# y\"} 1\n# TYPE b gauge\nb 2\n";
        assert_eq!(from_open_metrics(open), classic);
    }
}
