//! What the nodes say of themselves in their metrics, and the system of their processes.
//!
//! Not here: what follows from it (`signatures`, `report`).

use std::{collections::BTreeMap, time::Duration};

/// One node's metrics, by name and labels as they are written.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.strip_prefix("hivemem_")?.to_owned(), value.parse().ok()?))
        });
        Self(series.collect())
    }

    /// A figure; 0 where the node has none.
    pub(super) fn get(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |value| *value as u64)
    }

    /// Messages of a purpose in a direction.
    pub(super) fn flow(&self, purpose: &str, direction: &str) -> Flow {
        let labels = format!("{{purpose=\"{purpose}\",direction=\"{direction}\"}}");
        Flow {
            messages: self.get(&format!("federation_messages_total{labels}")),
            bytes: self.get(&format!("federation_message_bytes_total{labels}")),
        }
    }

    fn all(&self, direction: &str) -> Flow {
        let mut all = Flow::default();
        for purpose in ["push", "since", "state"] {
            all.add(self.flow(purpose, direction));
        }
        all
    }
}

/// Messages and the bytes of their bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Flow {
    pub(super) fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }

    /// What came since then. A node that was started again meanwhile counts from nothing.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(before.messages),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }

    /// Bytes of a message, on average.
    pub(super) fn mean_bytes(self) -> usize {
        usize::try_from(self.bytes / self.messages.max(1)).unwrap_or(usize::MAX)
    }
}

/// What a process has used, as far as the system says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    private_bytes: u64,
}

/// Processor time and private memory of a process.
pub(super) fn usage(pid: u32) -> Usage {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    let stat = read("stat").unwrap_or_default();
    // Fields 14 and 15, user and system; the second field ends with the last bracket.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    // SAFETY: asks the system for a constant.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let per_second = u64::try_from(per_second).unwrap_or(100).max(1);
    let status = read("status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Usage {
        cpu: Duration::from_millis(ticks * 1000 / per_second),
        private_bytes: kib.unwrap_or(0) * 1024,
    }
}

/// What several nodes have done together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// Messages that they sent to each other.
    pub(super) sent: Flow,
    /// Messages that they received from each other.
    pub(super) received: Flow,
    /// Signatures that they made for each other.
    pub(super) signed: u64,
    /// Signatures of each other that they checked.
    pub(super) checked: u64,
    /// Rows of their audit chains, each of which is signed.
    pub(super) rows: u64,
    /// Processor time.
    pub(super) cpu: Duration,
    /// Private memory, now.
    pub(super) private_bytes: u64,
}

impl Sums {
    pub(super) fn add(&mut self, figures: &Figures, usage: Usage) {
        self.sent.add(figures.all("sent"));
        self.received.add(figures.all("received"));
        self.signed += figures.get("federation_signatures_total{act=\"made\"}");
        self.checked += figures.get("federation_signatures_total{act=\"checked\"}");
        self.rows += figures.get("chain_length");
        self.cpu += usage.cpu;
        self.private_bytes += usage.private_bytes;
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            sent: self.sent.since(before.sent),
            received: self.received.since(before.received),
            signed: self.signed.saturating_sub(before.signed),
            checked: self.checked.saturating_sub(before.checked),
            rows: self.rows.saturating_sub(before.rows),
            cpu: self.cpu.saturating_sub(before.cpu),
            private_bytes: self.private_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_they_are_shown() {
        let text = "# HELP hivemem_memories x\nhivemem_memories 7\n\
            hivemem_federation_messages_total{purpose=\"push\",direction=\"sent\"} 4\n\
            hivemem_federation_message_bytes_total{purpose=\"push\",direction=\"sent\"} 400\n\
            hivemem_federation_message_bytes_total{purpose=\"state\",direction=\"sent\"} 11\n";
        let figures = Figures::parse(text);
        assert_eq!((figures.get("memories"), figures.get("nothing")), (7, 0));
        assert_eq!(figures.flow("push", "sent"), Flow { messages: 4, bytes: 400 });
        assert_eq!(figures.all("sent"), Flow { messages: 4, bytes: 411 });
        assert_eq!(figures.flow("push", "sent").mean_bytes(), 100);
    }

    #[test]
    fn a_process_uses_something() {
        let used = usage(std::process::id());
        assert!(used.private_bytes > 0);
        assert!(used.cpu < Duration::from_secs(100_000));
    }
}
