//! `hivemem.v1.RecallService`: a question, answered as a stream.
//!
//! Invariant: the summary comes first and exactly once; a hit becomes a message when the client has
//! room for it. A client that goes away ends the work, because its call's future is dropped.
//!
//! Not here: ranking.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use runtime::clock::Instant;
use tonic::{Request, Response, Status};
use wire::{
    errors::status,
    v1::{self, recall_service_server::RecallService},
};

use super::{
    Answer, Door,
    auth::reading,
    convert::{messages, question},
};
use crate::node::{
    model::RecallAnswer,
    service::{Caller, Reply, Service},
};

/// The service over the shared door.
pub(super) struct Recalls(pub Arc<Door>);

async fn ask(
    service: Arc<Service>,
    caller: Caller,
    mut request: v1::RecallRequest,
) -> Reply<RecallAnswer> {
    let read = request.read.take();
    let input = question(request)?;
    reading(&service, &caller, read).await?;
    service.recall(&caller, &input).await
}

#[tonic::async_trait]
impl RecallService for Recalls {
    type RecallStream = BoxStream<'static, Result<v1::RecallResponse, Status>>;

    async fn recall(&self, call: Request<v1::RecallRequest>) -> Answer<Self::RecallStream> {
        let started = Instant::now();
        let answer = self.0.attend(call, ask).await.map_err(|refusal| status(&refusal))?;
        let messages = messages(answer, started.elapsed());
        Ok(Response::new(stream::iter(messages.map(Ok)).boxed()))
    }
}
