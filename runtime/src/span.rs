//! Spans: which stages a request went through, on which nodes, and how long each of them took.
//!
//! A trace is named as W3C Trace Context does (Recommendation of November 2021, section 3.2): a number of 16 bytes that
//! goes from client to node and from node to node in the header `traceparent`, with the number of the span that asked.
//!
//! Invariants: `SPN-1` what belongs to no trace pays nothing for traces: no draw of chance, no look at the clock, no
//! memory; `SPN-2` a span is collected once, when it is over, also when its future was dropped; `SPN-3` what a span says
//! comes from the program: nothing of a memory, no credential.
//!
//! Not here: which requests are traced, and what becomes of spans ([`Collector`]).

use std::{cell::Cell, fmt, future::Future, str::FromStr, sync::Arc, time::Duration};

use crate::{
    clock::{self, Instant},
    random,
};

/// The header that carries a trace from one process to the next.
pub const TRACEPARENT: &str = "traceparent";

/// Lengths of the fields of the header, in characters: version, trace, span, flags.
const FIELDS: [usize; 4] = [2, 32, 16, 2];
/// The version that is written. Later ones are read as this one, which the specification asks for.
const VERSION: u8 = 0;
/// A version that there will never be.
const NO_VERSION: u8 = 0xff;
/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// A place in a trace: what the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not 0.
    pub trace: u128,
    /// The span that asks; not 0.
    pub span: u64,
    /// Whether whoever began the trace records it.
    pub sampled: bool,
}

/// What is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no traceparent of W3C Trace Context")]
pub struct NoContext;

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, sampled } = self;
        write!(f, "{VERSION:02x}-{trace:032x}-{span:016x}-{:02x}", u8::from(*sampled) * SAMPLED)
    }
}

impl FromStr for TraceContext {
    type Err = NoContext;

    fn from_str(text: &str) -> Result<Self, NoContext> {
        let lower = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        let mut fields = text.split('-');
        let mut field = |at: usize| {
            let field = fields.next().filter(|field| field.len() == FIELDS[at]);
            field.filter(|field| field.bytes().all(lower)).ok_or(NoContext)
        };
        let [version, trace, span, flags] = [field(0)?, field(1)?, field(2)?, field(3)?];
        let number = |hex: &str| u128::from_str_radix(hex, 16).map_err(|_| NoContext);
        let version = number(version)?;
        let ends = fields.next().is_none();
        if version == u128::from(NO_VERSION) || (version == u128::from(VERSION) && !ends) {
            return Err(NoContext);
        }
        let (trace, sampled) = (number(trace)?, number(flags)? & u128::from(SAMPLED) != 0);
        let span = u64::try_from(number(span)?).map_err(|_| NoContext)?;
        match trace == 0 || span == 0 {
            true => Err(NoContext),
            false => Ok(Self { trace, span, sampled }),
        }
    }
}

/// What a span is to the process that has it, in the words of OpenTelemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request that came from outside.
    Server,
    /// A request to another process.
    Client,
    /// Work of its own.
    Internal,
}

/// What an attribute of a span says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A span that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Of which trace.
    pub trace: u128,
    /// Its number.
    pub span: u64,
    /// The span that it is part of; `None` for the first of a trace.
    pub parent: Option<u64>,
    /// What was done.
    pub name: String,
    /// What it is to this process.
    pub kind: Kind,
    /// When it began, Unix nanoseconds.
    pub began_unix_ns: u64,
    /// How long it took.
    pub lasted: Duration,
    /// What there is to say about it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it failed.
    pub failed: bool,
}

/// Takes spans that are over. It is called wherever they end, so it must not wait.
pub trait Collector: Send + Sync {
    /// Takes one.
    fn collect(&self, span: Finished);
}

/// Work that belongs to a trace: what begins here is part of its span.
#[derive(Clone)]
pub struct Traced {
    trace: u128,
    span: Option<u64>,
    collector: Arc<dyn Collector>,
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}/{:016x}", self.trace, self.span.unwrap_or(0))
    }
}

/// A number that is not 0.
fn number() -> u64 {
    random::below(u64::MAX) + 1
}

impl Traced {
    /// Goes on with the trace of whoever asks, or begins one.
    pub fn new(asking: Option<TraceContext>, collector: Arc<dyn Collector>) -> Self {
        match asking {
            Some(asking) => Self { trace: asking.trace, span: Some(asking.span), collector },
            None => {
                let trace = u128::from(number()) << 64 | u128::from(number());
                Self { trace, span: None, collector }
            }
        }
    }

    /// The trace.
    pub fn trace(&self) -> u128 {
        self.trace
    }

    /// What another process is told, if there is a span that asks it.
    pub fn context(&self) -> Option<TraceContext> {
        let trace = self.trace;
        self.span.map(|span| TraceContext { trace, span, sampled: true })
    }

    /// Begins a span.
    pub fn span(&self, name: impl Into<String>, kind: Kind) -> Span {
        let began = Instant::now();
        let finished = Finished {
            trace: self.trace,
            span: number(),
            parent: self.span,
            name: name.into(),
            kind,
            began_unix_ns: clock::now_unix_ns(),
            lasted: Duration::ZERO,
            attributes: Vec::new(),
            failed: false,
        };
        Span { finished: Some(finished), began, collector: self.collector.clone() }
    }

    /// Tells of a span of this process that is over.
    pub fn record(&self, name: &str, began: Instant, ended: Instant) {
        let since_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.collector.collect(Finished {
            trace: self.trace,
            span: number(),
            parent: self.span,
            name: name.to_owned(),
            kind: Kind::Internal,
            began_unix_ns: clock::now_unix_ns().saturating_sub(since_ns),
            lasted: ended.saturating_duration_since(began),
            attributes: Vec::new(),
            failed: false,
        });
    }
}

/// A span that is not over; it is when the value is dropped (`SPN-2`).
pub struct Span {
    /// `None` once it is collected.
    finished: Option<Finished>,
    began: Instant,
    collector: Arc<dyn Collector>,
}

impl Span {
    /// Work that is part of it.
    pub fn traced(&self) -> Traced {
        let (trace, span) = self.finished.as_ref().map_or((0, 0), |f| (f.trace, f.span));
        Traced { trace, span: Some(span), collector: self.collector.clone() }
    }

    /// Gives it a better name.
    pub fn rename(&mut self, name: impl Into<String>) {
        if let Some(finished) = &mut self.finished {
            finished.name = name.into();
        }
    }

    /// Says something about it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(finished) = &mut self.finished {
            finished.attributes.push((key, value.into()));
        }
    }

    /// It failed.
    pub fn fail(&mut self) {
        if let Some(finished) = &mut self.finished {
            finished.failed = true;
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut finished) = self.finished.take() {
            finished.lasted = self.began.elapsed();
            self.collector.collect(finished);
        }
    }
}

tokio::task_local! {
    static TRACED: Cell<Option<Traced>>;
}

/// The trace that this task works for, if there is one.
pub fn current() -> Option<Traced> {
    let look = |cell: &Cell<Option<Traced>>| {
        let traced = cell.take();
        cell.set(traced.clone());
        traced
    };
    TRACED.try_with(look).ok().flatten()
}

/// Runs a future for a trace. Tasks that it starts do not belong to it by themselves.
pub async fn within<F: Future>(traced: Traced, future: F) -> F::Output {
    TRACED.scope(Cell::new(Some(traced)), future).await
}

/// Runs a future as a stage of the trace that this task works for, if there is one.
pub async fn stage<F: Future>(name: &'static str, kind: Kind, future: F) -> F::Output {
    match current() {
        None => future.await,
        Some(traced) => {
            let span = traced.span(name, kind);
            within(span.traced(), future).await
        }
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    /// Keeps what it is given.
    #[derive(Default)]
    struct Kept(Mutex<Vec<Finished>>);

    impl Collector for Kept {
        fn collect(&self, span: Finished) {
            self.0.lock().push(span);
        }
    }

    const WORDS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_header_is_read_as_the_specification_says() {
        let context: TraceContext = WORDS.parse().unwrap();
        assert_eq!(context.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((context.span, context.sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(context.to_string(), WORDS);
        assert!(!WORDS.replace("-01", "-00").parse::<TraceContext>().unwrap().sampled);
        assert!(WORDS.replace("-01", "-03").parse::<TraceContext>().unwrap().sampled);
        let later = WORDS.replacen("00-", "01-", 1) + "-more";
        assert_eq!(later.parse(), Ok(context), "a later version may say more");
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(wrong.parse::<TraceContext>(), Err(NoContext), "{wrong}");
        }
    }

    #[tokio::test]
    async fn stages_are_parts_of_what_they_run_in() {
        let kept = Arc::new(Kept::default());
        assert!(stage("nobody asked", Kind::Internal, async { current().is_none() }).await);
        let asking: TraceContext = WORDS.parse().unwrap();
        let mut request = Traced::new(Some(asking), kept.clone()).span("request", Kind::Server);
        request.set("status", 200_u64);
        let began = Instant::now();
        within(request.traced(), async {
            stage("outer", Kind::Internal, async {
                let traced = current().unwrap();
                stage("inner", Kind::Client, std::future::ready(())).await;
                traced.record("queue", began, began);
            })
            .await;
        })
        .await;
        assert!(current().is_none());
        drop(request);
        let spans = kept.0.lock();
        let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
        let (outer, request) = (named("outer"), named("request"));
        assert_eq!(request.parent, Some(asking.span));
        assert_eq!(request.attributes, [("status", Value::Number(200))]);
        assert_eq!(outer.parent, Some(request.span));
        for part in ["inner", "queue"] {
            assert_eq!(named(part).parent, Some(outer.span), "{part}");
        }
        assert!(spans.iter().all(|span| span.trace == asking.trace));
        assert_eq!(spans.len(), 4, "SPN-2");
        assert!(request.lasted >= outer.lasted);
    }

    #[tokio::test]
    async fn what_is_given_up_is_collected_too() {
        let kept = Arc::new(Kept::default());
        let traced = Traced::new(None, kept.clone());
        assert_eq!(traced.context(), None, "nobody has asked yet");
        let stuck = within(traced, stage("stuck", Kind::Internal, std::future::pending::<()>()));
        assert!(clock::timeout(Duration::from_millis(1), stuck).await.is_err());
        let spans = kept.0.lock();
        assert_eq!(spans.len(), 1, "SPN-2");
        assert_eq!(spans[0].parent, None);
    }
}
