//! Asking peers: what the Raft library sends, over a [`Transport`].
//!
//! Invariants: `RFT-10` every message says who asks, who is asked and from which start; every answer
//! says its start, and one from a stale start counts as silence. A member that knows it is a copy is
//! silent itself (`RFT-8`). Silence is never taken for a no. `RFT-26` a peer that is not there is tried again at the pace of
//! the options' back-off, not as fast as the tries fail.
//!
//! Not here: sockets (the transport), answering (`serve`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use openraft::{
    OptionalSend,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{RPCOption, RaftNetworkFactory, stream_append_sequential, v2::RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use wire::v1::{
    RaftHello, RaftRefused, RaftRequest, RaftResponse, raft_request::Call,
    raft_response::Answer as Reply,
};

use super::{
    boot::{Boot, Boots},
    message::{self, Snapshot},
    pipeline::Pipeline,
    types::{Member, MemberId, RaftVote, TypeConfig},
};

type RpcError = RPCError<TypeConfig>;
type Results<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>;

/// A peer did not answer. Whether it heard the question is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer from member {member} at {endpoint}: {detail}")]
pub struct NoAnswer {
    /// Who was asked.
    pub member: MemberId,
    /// Where.
    pub endpoint: String,
    /// What went wrong.
    pub detail: String,
}

/// Answers to a stream of questions, in their order.
pub type Answers = BoxStream<'static, Result<RaftResponse, NoAnswer>>;

/// What came of one question.
pub(super) type Answered = Result<RaftResponse, NoAnswer>;

/// Carries messages between members.
pub trait Transport: Send + Sync + 'static {
    /// Asks once. Gives up after `within`.
    fn call(
        &self,
        to: MemberId,
        member: &Member,
        request: RaftRequest,
        within: Duration,
    ) -> BoxFuture<'static, Result<RaftResponse, NoAnswer>>;

    /// Asks many times without waiting for the answers. Gives up after `within` if the stream cannot
    /// be opened. A peer that falls silent ends the answers with an error.
    fn stream(
        &self,
        to: MemberId,
        member: &Member,
        requests: BoxStream<'static, RaftRequest>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Answers, NoAnswer>>;
}

/// What all links of a member share.
pub(super) struct Network {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) boots: Arc<Boots>,
    pub(super) cluster: [u8; 16],
    pub(super) me: MemberId,
    /// Least time for a peer to sync a batch.
    pub(super) append_within: Duration,
    /// Time for a snapshot.
    pub(super) snapshot_within: Duration,
}

impl RaftNetworkFactory<TypeConfig> for Arc<Network> {
    type Network = Link;

    async fn new_client(&mut self, to: MemberId, member: &Member) -> Link {
        Link { network: self.clone(), to, member: member.clone() }
    }
}

/// The way to one peer.
#[derive(Clone)]
pub(super) struct Link {
    network: Arc<Network>,
    to: MemberId,
    member: Member,
}

fn silent(detail: impl ToString) -> RpcError {
    RPCError::Unreachable(Unreachable::from_string(detail))
}

fn garbled(detail: impl ToString) -> RpcError {
    RPCError::Network(NetworkError::from_string(detail))
}

impl Link {
    fn request(&self, call: Call) -> RaftRequest {
        let Boot { epoch, nonce } = self.network.boots.mine();
        let seen = self.network.boots.seen(self.to);
        RaftRequest {
            cluster: self.network.cluster.to_vec(),
            from: self.network.me,
            to: self.to,
            boot_epoch: epoch,
            boot_nonce: nonce,
            seen_epoch: seen.epoch,
            seen_nonce: seen.nonce,
            call: Some(call),
        }
    }

    async fn call(&self, call: Call, within: Duration) -> Result<Reply, RpcError> {
        if self.network.boots.is_fenced() {
            return Err(silent("this member is a copy from an older time"));
        }
        let Network { transport, .. } = &*self.network;
        let asked = transport.call(self.to, &self.member, self.request(call), within);
        self.accept(asked.await.map_err(silent)?).await
    }

    /// Asks the peer to remember this start.
    pub(super) async fn hello(&self) -> Answered {
        let Network { transport, append_within, .. } = &*self.network;
        let request = self.request(Call::Hello(RaftHello {}));
        transport.call(self.to, &self.member, request, *append_within).await
    }

    /// Takes what the peer said to [`Link::hello`]; answers whether it remembers this start.
    pub(super) async fn met(&self, answered: Answered) -> bool {
        let accepted = match answered {
            Ok(response) => self.accept(response).await,
            Err(silence) => Err(silent(silence)),
        };
        let learned = match accepted {
            Ok(Reply::Met(met)) => {
                self.network.boots.learn(&message::met_value(&met)).await.map_err(silent)
            }
            Ok(_) => Err(garbled("an answer to another question")),
            Err(refused) => Err(refused),
        };
        if let Err(problem) = &learned {
            tracing::debug!(member = self.to, %problem, "does not remember this start yet");
        }
        learned.is_ok()
    }

    /// Takes the answer out of a response whose start is not stale (`RFT-10`).
    async fn accept(&self, response: RaftResponse) -> Result<Reply, RpcError> {
        let boots = &self.network.boots;
        match response.answer {
            None => Err(garbled("an answer of an unknown kind")),
            Some(Reply::Refused(RaftRefused { problem, fenced })) => {
                if fenced {
                    boots.fence(self.to).await.map_err(silent)?;
                }
                Err(silent(problem))
            }
            Some(answer) => {
                let boot = Boot { epoch: response.boot_epoch, nonce: response.boot_nonce };
                boots.check(self.to, boot).await.map_err(silent)?.map_err(silent)?;
                boots.met().await.map_err(silent)?;
                boots.remembered_by(self.to);
                Ok(answer)
            }
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let call = Call::Append(message::append_message(&request));
        let within = option.hard_ttl().max(self.network.append_within);
        match self.call(call, within).await? {
            Reply::Appended(answer) => message::appended_value(answer).map_err(garbled),
            _ => Err(garbled("an answer to another question")),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<Results<'s>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        // A heartbeat is a stream of one: cheaper as a single call.
        if input.size_hint().1 == Some(1) {
            return stream_append_sequential(self, input, option);
        }
        let link = self.clone();
        async move {
            let (asking, both) = (link.clone(), Pipeline::default());
            let mut questions = both.questions(input);
            // Before the way is opened: where the last try has failed, the library rests before the first question.
            let Some(first) = questions.next().await else {
                return Ok(stream::empty().boxed());
            };
            let requests = stream::iter([first])
                .chain(questions)
                .map(move |request| asking.request(Call::Append(message::append_message(&request))))
                .boxed();
            if link.network.boots.is_fenced() {
                return Err(silent("this member is a copy from an older time"));
            }
            let Network { transport, append_within, .. } = &*link.network;
            let opened = transport.stream(link.to, &link.member, requests, *append_within);
            let answers = opened.await.map_err(silent)?;
            Ok(both.answered(results(link, answers)).boxed())
        }
        .boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let call = Call::Vote(message::ballot_message(&request));
        match self.call(call, option.hard_ttl()).await? {
            #[cfg(planted)]
            Reply::Voted(_) if types::planted::is_on("seen-vote-granted") => {
                Ok(VoteResponse::new(request.vote, request.last_log_id, true))
            }
            Reply::Voted(answer) => message::voted_value(answer).map_err(garbled),
            _ => Err(garbled("an answer to another question")),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let call = Call::PreVote(message::ballot_message(&request));
        match self.call(call, option.hard_ttl()).await? {
            Reply::Voted(answer) => message::voted_value(answer).map_err(garbled),
            _ => Err(garbled("an answer to another question")),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: Snapshot,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let call = Call::Snapshot(message::snapshot_message(&vote, &snapshot));
        let within = option.hard_ttl().max(self.network.snapshot_within);
        let answer = match self.call(call, within).await {
            Ok(Reply::Installed(answer)) => message::installed_value(answer).map_err(garbled),
            Ok(_) => Err(garbled("an answer to another question")),
            Err(error) => Err(error),
        };
        answer.map_err(|error| match error {
            RPCError::Unreachable(silent) => StreamingError::Unreachable(silent),
            other => StreamingError::Network(NetworkError::from_string(other)),
        })
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let call = Call::Transfer(message::transfer_message(&request));
        match self.call(call, option.hard_ttl()).await? {
            Reply::Transferred(answer) => {
                message::transferred_value(answer, &request).map_err(garbled)
            }
            _ => Err(garbled("an answer to another question")),
        }
    }
}

/// The answers of a stream as the library wants them; the first error ends it.
fn results(link: Link, answers: Answers) -> Results<'static> {
    stream::unfold(Some((link, answers)), |state| async move {
        let (link, mut answers) = state?;
        let answer = match answers.next().await? {
            Ok(response) => link.accept(response).await,
            Err(error) => Err(silent(error)),
        };
        let result = answer.and_then(|answer| match answer {
            #[cfg(planted)]
            Reply::Appended(answer) if types::planted::is_on("quorum-unsorted") => {
                let me = link.network.me;
                message::streamed_value(answer)
                    .map_err(garbled)
                    .map(|result| super::planted::greatest(me, result))
            }
            Reply::Appended(answer) => message::streamed_value(answer).map_err(garbled),
            _ => Err(garbled("an answer to another question")),
        });
        let goes_on = result.is_ok();
        Some((result, goes_on.then_some((link, answers))))
    })
    .boxed()
}
