//! Bounds of one request, for every door: its deadline, its place in a bounded queue, its body.
//!
//! Invariants: `ADM-1` at most so many requests run and so many wait; one more is refused at once,
//! with the time after which to come back; `ADM-2` a request that never started is refused, one that
//! ran out of time while running is unknown.
//!
//! Not here: quotas per agent (the node's service), limits per connection (`serve`).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use runtime::clock::{self, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use types::{Invalid, Reason, Reject};

use crate::serve::BoxError;

/// Header in which gRPC clients say how long they wait.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";

/// When a caller stops waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    /// `after` from now.
    pub fn after(after: Duration) -> Self {
        Self { at: Instant::now() + after, after }
    }

    /// The moment.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// How long it was when it was set.
    pub fn duration(&self) -> Duration {
        self.after
    }

    /// What is left of it; zero once it has passed.
    pub fn remaining(&self) -> Duration {
        self.at - Instant::now()
    }

    /// Runs `work` until the deadline.
    ///
    /// # Errors
    /// `deadline_exceeded`, whose outcome is unknown (`ADM-2`).
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, Reject> {
        clock::timeout_at(self.at, work).await.map_err(|_| {
            Reject::new(
                Reason::DeadlineExceeded,
                format!(
                    "not finished within {} ms; the outcome is unknown, retry with the same idempotency key",
                    self.after.as_millis()
                ),
            )
        })
    }
}

/// What the caller asked for in `grpc-timeout`, if anything.
///
/// # Errors
/// [`Invalid`] naming the header.
pub fn requested_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Invalid> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else {
        return Ok(None);
    };
    value.to_str().ok().and_then(parse_timeout).map(Some).ok_or_else(|| {
        Invalid::new(
            "grpc-timeout",
            "needs 1 to 8 digits and one of H, M, S, m, u, n, for example 500m",
        )
    })
}

/// Reads the format of gRPC's protocol over HTTP/2: at most 8 digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let unit_at = text.len().checked_sub(1)?;
    let (digits, unit) = text.split_at_checked(unit_at)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// A bounded number of running and waiting requests. Clones share the bounds.
#[derive(Clone, Debug)]
pub struct Admission {
    /// One permit for everybody inside, running or waiting.
    inside: Arc<Semaphore>,
    running: Arc<Semaphore>,
    retry_after: Duration,
}

/// A place among the running requests; given back when dropped.
#[derive(Debug)]
pub struct Admitted {
    _inside: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
}

impl Admission {
    /// At most `running_max` requests run and `waiting_max` more wait; who is refused is told to come
    /// back after `retry_after`.
    pub fn new(running_max: u32, waiting_max: u32, retry_after: Duration) -> Self {
        let inside = running_max as usize + waiting_max as usize;
        Self {
            inside: Arc::new(Semaphore::new(inside)),
            running: Arc::new(Semaphore::new(running_max as usize)),
            retry_after,
        }
    }

    /// Waits for a place, at most until `deadline`.
    ///
    /// # Errors
    /// `overloaded` when the queue is full or the deadline passes first; nothing was done.
    pub async fn enter(&self, deadline: &Deadline) -> Result<Admitted, Reject> {
        let inside = Arc::clone(&self.inside)
            .try_acquire_owned()
            .map_err(|_| self.overloaded("the queue is full"))?;
        let place = Arc::clone(&self.running).acquire_owned();
        match clock::timeout_at(deadline.at, place).await {
            Ok(Ok(running)) => Ok(Admitted { _inside: inside, _running: running }),
            Ok(Err(_)) | Err(_) => Err(self.overloaded("no place became free in time")),
        }
    }

    /// Requests that are inside now, running or waiting, out of `inside_max`.
    pub fn free_places(&self) -> usize {
        self.inside.available_permits()
    }

    fn overloaded(&self, why: &str) -> Reject {
        let ms = self.retry_after.as_millis();
        Reject::new(
            Reason::Overloaded,
            format!("too many requests: {why}; nothing was done, retry in {ms} ms"),
        )
        .with("retry_after_ms", ms)
    }
}

/// Reads a whole body of at most `bytes_max` bytes.
///
/// # Errors
/// `too_large` as soon as it is known to be longer; `malformed` when it ends early.
pub async fn read_body<B>(body: B, bytes_max: usize) -> Result<Bytes, Reject>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(bytes_max)),
        Err(error) => {
            Err(Reject::new(Reason::Malformed, format!("the body did not arrive whole: {error}")))
        }
    }
}

fn too_large(bytes_max: usize) -> Reject {
    Reject::new(
        Reason::TooLarge,
        format!("the body is larger than {bytes_max} bytes; send it in parts"),
    )
    .with("limit_bytes", bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_TIMEOUT, value.parse().expect("a header value"));
        headers
    }

    #[test]
    fn every_unit_of_the_protocol_is_read() {
        let samples = [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("500m", Duration::from_millis(500)),
            ("6u", Duration::from_micros(6)),
            ("7n", Duration::from_nanos(7)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ];
        for (text, expected) in samples {
            assert_eq!(requested_timeout(&headers(text)), Ok(Some(expected)), "{text}");
        }
        assert_eq!(requested_timeout(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn what_is_no_timeout_is_refused_by_name() {
        for bad in ["", "S", "5", "5s", "-1S", "1.5S", "999999999S", "+5S", "5 S", "5\u{e9}"] {
            let error = requested_timeout(&headers(bad)).expect_err(bad);
            assert_eq!(error.field, "grpc-timeout");
        }
    }

    #[cfg(not(madsim))]
    mod running {
        use http_body_util::Full;

        use super::*;

        #[tokio::test]
        async fn a_full_queue_refuses_at_once_and_a_free_place_is_taken() {
            let admission = Admission::new(1, 1, Duration::from_millis(1500));
            let patient = Deadline::after(Duration::from_secs(60));
            let first = admission.enter(&patient).await.expect("a free place");
            let mut second = Box::pin(admission.enter(&patient));
            let waits = futures::poll!(&mut second);
            assert!(waits.is_pending());
            let refused = admission.enter(&patient).await.expect_err("ADM-1");
            assert_eq!(refused.reason, Reason::Overloaded);
            assert_eq!(refused.fact("retry_after_ms"), Some("1500"));
            drop(first);
            let second = second.await.expect("the place that became free");
            let hasty = Deadline::after(Duration::from_millis(1));
            let late = admission.enter(&hasty).await.expect_err("ADM-2");
            assert_eq!(late.reason, Reason::Overloaded);
            drop(second);
            assert_eq!(admission.free_places(), 2);
        }

        #[tokio::test]
        async fn work_that_runs_out_of_time_is_unknown() {
            let deadline = Deadline::after(Duration::from_millis(1));
            let reject = deadline.run(std::future::pending::<()>()).await.expect_err("ADM-2");
            assert_eq!(reject.reason, Reason::DeadlineExceeded);
            assert_eq!(deadline.remaining(), Duration::ZERO);
        }

        #[tokio::test]
        async fn a_body_is_read_up_to_its_limit() {
            let body = || Full::new(Bytes::from_static(b"12345"));
            assert_eq!(read_body(body(), 5).await.as_deref(), Ok(&b"12345"[..]));
            let reject = read_body(body(), 4).await.expect_err("too large");
            assert_eq!(reject.fact("limit_bytes"), Some("4"));
        }

        #[tokio::test]
        async fn a_body_of_unknown_length_is_cut_at_its_limit() {
            let chunks = ["123", "45"].map(|chunk| {
                Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(
                    chunk.as_bytes(),
                )))
            });
            let stream = futures::stream::iter(chunks);
            let body = http_body_util::StreamBody::new(stream);
            let reject = read_body(body, 4).await.expect_err("too large");
            assert_eq!(reject.reason, Reason::TooLarge);
        }
    }
}
