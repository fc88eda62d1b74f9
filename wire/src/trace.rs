//! Traces from node to node: the header `traceparent` of W3C Trace Context, section 3.2.
//!
//! Invariants: `TRC-1` a request that is sent for a trace says so, over HTTP and gRPC alike; `TRC-2` a header that is
//! given twice or makes no sense counts for nothing, as the specification asks for.
//!
//! Not here: what a trace is (`runtime::span`); `tracestate`, of which nothing is needed here.

use http::{HeaderMap, HeaderName, HeaderValue};
use runtime::span::{TRACEPARENT, TraceContext, current};

const NAME: HeaderName = HeaderName::from_static(TRACEPARENT);

/// Who asks, as a request says it.
pub fn asking(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(NAME).iter();
    let (value, another) = (values.next()?, values.next());
    value.to_str().ok().filter(|_| another.is_none())?.parse().ok()
}

/// Says for which trace a request is sent, if this task works for one and the request does not say it itself.
pub(crate) fn say(headers: &mut HeaderMap) {
    if headers.contains_key(NAME) {
        return;
    }
    let context = current().and_then(|traced| traced.context());
    if let Some(Ok(value)) = context.map(|context| HeaderValue::from_str(&context.to_string())) {
        headers.insert(NAME, value);
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use std::sync::Arc;

    use runtime::span::{Collector, Finished, Kind, Traced, within};

    use super::*;

    struct Nobody;

    impl Collector for Nobody {
        fn collect(&self, _: Finished) {}
    }

    #[tokio::test]
    async fn what_is_said_is_heard() {
        let mut headers = HeaderMap::new();
        say(&mut headers);
        assert!(headers.is_empty() && asking(&headers).is_none());
        let span = Traced::new(None, Arc::new(Nobody)).span("request", Kind::Client);
        within(span.traced(), async { say(&mut headers) }).await;
        assert_eq!(asking(&headers), span.traced().context(), "TRC-1");
        within(Traced::new(None, Arc::new(Nobody)), async { say(&mut headers) }).await;
        assert_eq!(asking(&headers), span.traced().context(), "it was said already");
        headers.append(NAME, headers[NAME].clone());
        assert_eq!(asking(&headers), None, "TRC-2");
    }
}
