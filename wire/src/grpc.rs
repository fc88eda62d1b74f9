//! Bounds around a gRPC server: deadline, admission, and refusals as gRPC statuses.
//!
//! Invariants: `GRPC-1` the deadline a client states bounds its whole call, the stream of answers
//! included; without one a default bounds the time to the first answer only, so a watch may last;
//! `GRPC-2` every call ends with a status, also one that was cut.
//!
//! Not here: the size of messages (tonic's `max_decoding_message_size`), routes, credentials.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use runtime::clock;
use tonic::body::Body;
use tower_service::Service;
use types::{Reason, Reject};

use crate::admission::{Admission, Deadline, requested_timeout};
use crate::errors;

/// How long calls may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTimes {
    /// Time to the first answer for callers that state no deadline.
    pub default: Duration,
    /// Longest time to the first answer, whatever the caller states.
    pub max: Duration,
}

impl Default for CallTimes {
    fn default() -> Self {
        Self { default: Duration::from_secs(30), max: Duration::from_secs(300) }
    }
}

/// A gRPC service within bounds. Its requests carry their [`Deadline`] as an extension.
#[derive(Clone, Debug)]
pub struct GrpcGuard<S> {
    inner: S,
    admission: Admission,
    times: CallTimes,
}

impl<S> GrpcGuard<S> {
    /// Guards `inner`. A call counts as running until its first answer.
    pub fn new(inner: S, admission: Admission, times: CallTimes) -> Self {
        Self { inner, admission, times }
    }
}

/// An answer in its own time.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S, B> Service<Request<B>> for GrpcGuard<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let guard = self.clone();
        Box::pin(async move {
            Ok(guard.answer(request).await.unwrap_or_else(|r| errors::status(&r).into_http()))
        })
    }
}

impl<S> GrpcGuard<S> {
    async fn answer<B>(mut self, mut request: Request<B>) -> Result<Response<Body>, Reject>
    where
        S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    {
        let stated = requested_timeout(request.headers())?;
        let whole = stated.map(Deadline::after);
        let first = Deadline::after(stated.unwrap_or(self.times.default).min(self.times.max));
        let place = self.admission.enter(&first).await?;
        request.extensions_mut().insert(first);
        let response = match first.run(self.inner.call(request)).await? {
            Ok(response) => response,
            Err(never) => match never {},
        };
        drop(place);
        Ok(match whole {
            None => response,
            Some(deadline) => response.map(|body| bounded(body, deadline)),
        })
    }
}

pin_project_lite::pin_project! {
    /// A body that ends at its deadline with the trailers of a `deadline_exceeded` status.
    pub struct DeadlineBody<B> {
        #[pin]
        body: B,
        sleep: clock::Sleep,
        after: Duration,
        over: bool,
    }
}

impl<B> DeadlineBody<B> {
    /// Cuts `body` at `deadline`.
    pub fn new(body: B, deadline: Deadline) -> Self {
        let sleep = clock::sleep_until(deadline.at());
        Self { body, sleep, after: deadline.duration(), over: false }
    }
}

impl<B: http_body::Body<Data = Bytes>> http_body::Body for DeadlineBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = this.body.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if Pin::new(this.sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        *this.over = true;
        Poll::Ready(Some(Ok(Frame::trailers(late_trailers(*this.after)))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn late_trailers(after: Duration) -> HeaderMap {
    let status = errors::timed_out(after);
    let mut trailers = HeaderMap::new();
    // Only a message that is no header value can fail, and then the bare code still arrives.
    if status.add_header(&mut trailers).is_err() {
        let code = errors::row(Reason::DeadlineExceeded).grpc as i32;
        trailers.insert("grpc-status", code.into());
    }
    trailers
}

/// `body`, cut at `deadline`.
pub(crate) fn bounded<B>(body: B, deadline: Deadline) -> Body
where
    B: http_body::Body<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
{
    Body::new(DeadlineBody::new(body, deadline))
}
