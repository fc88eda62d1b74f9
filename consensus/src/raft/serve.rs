//! Answering peers.
//!
//! Invariants: `RFT-11` a message is judged only if it is from a member's current start, in this
//! cluster, for this member; anything else is refused in words and changes nothing. A copy that asks
//! is told what it is (`RFT-8`).
//!
//! Not here: sockets, and who may connect (mutual TLS, in the transport's server).

use std::sync::Arc;

use futures::{Stream, StreamExt, stream::BoxStream};
use wire::v1::{
    RaftRefused, RaftRequest, RaftResponse, raft_request::Call, raft_response::Answer as Reply,
};

use super::{
    apply::{Applier, StateMachine},
    boot::{Boot, Boots},
    codec::CodecError,
    message,
    types::{MemberId, TypeConfig},
};

type Raft<M> = openraft::Raft<TypeConfig, Applier<M>>;

/// Answers for one member. Clones are one and the same.
pub(super) struct Server<M: StateMachine> {
    pub(super) raft: Raft<M>,
    pub(super) boots: Arc<Boots>,
    pub(super) cluster: [u8; 16],
    pub(super) me: MemberId,
}

impl<M: StateMachine> Clone for Server<M> {
    fn clone(&self) -> Self {
        Self {
            raft: self.raft.clone(),
            boots: self.boots.clone(),
            cluster: self.cluster,
            me: self.me,
        }
    }
}

fn refused(problem: impl ToString, fenced: bool) -> Reply {
    Reply::Refused(RaftRefused { problem: problem.to_string(), fenced })
}

impl<M: StateMachine> Server<M> {
    /// Answers one message.
    pub(super) async fn answer(&self, request: RaftRequest) -> RaftResponse {
        let answer = match self.admit(&request).await {
            Err(refusal) => refusal,
            Ok(()) => match request.call {
                Some(call) => self
                    .dispatch(request.from, call)
                    .await
                    .unwrap_or_else(|why| refused(why, false)),
                None => refused("a question of an unknown kind", false),
            },
        };
        self.response(answer)
    }

    /// Answers a stream of appends, in order and pipelined. A message that is not an append, or not
    /// admitted, ends it.
    pub(super) fn answer_stream(
        &self,
        requests: BoxStream<'static, RaftRequest>,
    ) -> BoxStream<'static, RaftResponse> {
        let server = self.clone();
        let (refusals, refused_later) = futures::channel::mpsc::unbounded();
        let appends = requests
            .scan((server.clone(), refusals), |(server, refusals), request| {
                let (server, refusals) = (server.clone(), refusals.clone());
                async move {
                    let judged = match server.admit(&request).await {
                        Err(refusal) => Err(refusal),
                        Ok(()) => match request.call {
                            Some(Call::Append(append)) => {
                                message::append_value(append).map_err(|why| refused(why, false))
                            }
                            _ => Err(refused("only appends may be streamed", false)),
                        },
                    };
                    match judged {
                        Ok(append) => Some(append),
                        Err(refusal) => {
                            let _ = refusals.unbounded_send(refusal);
                            None
                        }
                    }
                }
            })
            .boxed();
        let answered = self.appended(appends);
        let last = server.clone();
        // A refusal is the last word: it comes after all the answers before it.
        answered.chain(refused_later.map(move |refusal| last.response(refusal))).boxed()
    }

    fn appended(
        &self,
        appends: BoxStream<'static, openraft::raft::AppendEntriesRequest<TypeConfig>>,
    ) -> impl Stream<Item = RaftResponse> + Send + 'static {
        let server = self.clone();
        self.raft.stream_append(appends).map(move |result| {
            server.response(match result {
                Ok(result) => Reply::Appended(message::streamed_message(&result)),
                Err(fatal) => refused(fatal, false),
            })
        })
    }

    fn response(&self, answer: Reply) -> RaftResponse {
        let Boot { epoch, nonce } = self.boots.mine();
        RaftResponse { boot_epoch: epoch, boot_nonce: nonce, answer: Some(answer) }
    }

    /// Judges who asks (`RFT-11`).
    async fn admit(&self, request: &RaftRequest) -> Result<(), Reply> {
        if request.cluster != self.cluster || request.to != self.me {
            let problem = format!("this is member {} of another cluster or group", self.me);
            return Err(refused(problem, false));
        }
        if self.boots.is_fenced() {
            return Err(refused("this member is a copy from an older time", false));
        }
        let seen = Boot { epoch: request.seen_epoch, nonce: request.seen_nonce };
        if self.boots.is_outdated_by(seen) {
            self.boots.fence(request.from).await.map_err(|error| refused(error, false))?;
            return Err(refused("this member is a copy from an older time", false));
        }
        let boot = Boot { epoch: request.boot_epoch, nonce: request.boot_nonce };
        match self.boots.check(request.from, boot).await {
            Err(error) => Err(refused(error, false)),
            Ok(Err(stale)) => Err(refused(stale, true)),
            // Whoever asks hears this member's start in the answer.
            Ok(Ok(())) => self.boots.met().await.map_err(|error| refused(error, false)),
        }
    }

    async fn dispatch(&self, from: MemberId, call: Call) -> Result<Reply, CodecError> {
        let raft = &self.raft;
        Ok(match call {
            Call::Append(append) => {
                match raft.append_entries(message::append_value(append)?).await {
                    Ok(answer) => Reply::Appended(message::appended_message(&answer)),
                    Err(error) => refused(error, false),
                }
            }
            Call::Vote(ballot) => match raft.vote(message::ballot_value(ballot)?).await {
                Ok(answer) => Reply::Voted(message::voted_message(&answer)),
                Err(error) => refused(error, false),
            },
            Call::PreVote(ballot) => match raft.pre_vote(message::ballot_value(ballot)?).await {
                Ok(answer) => Reply::Voted(message::voted_message(&answer)),
                Err(error) => refused(error, false),
            },
            Call::Snapshot(snapshot) => {
                let (vote, snapshot) = message::snapshot_value(snapshot)?;
                match raft.install_full_snapshot(vote, snapshot).await {
                    Ok(answer) => Reply::Installed(message::installed_message(&answer)),
                    Err(error) => refused(error, false),
                }
            }
            Call::Hello(_) => Reply::Met(message::met_message(&self.boots.seen_except(from))),
            Call::Transfer(transfer) => {
                let request = message::transfer_value(transfer)?;
                match raft.handle_transfer_leader(request).await {
                    Ok(answer) => Reply::Transferred(message::transferred_message(&answer)),
                    Err(error) => refused(error, false),
                }
            }
        })
    }
}
