//! Peers over gRPC: the product's [`Transport`], and the service that answers it.
//!
//! Invariants: one connection per peer carries everything, made when it is needed and again when it
//! was lost; a missed deadline drops it. A message of a peer may be as large as a snapshot, so it has
//! a limit of its own.
//!
//! Not here: who may connect. The server's TLS admits members only; that is set up where the door is.

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt, Stream, StreamExt,
    future::{self, BoxFuture},
    stream::BoxStream,
};
use parking_lot::Mutex;
use runtime::clock;
use tonic::{Request, Response, Status, Streaming};
use wire::{
    client::{Channel, ChannelTimes},
    dial::Endpoint,
    v1::{
        RaftRequest, RaftResponse,
        raft_peer_client::RaftPeerClient,
        raft_peer_server::{RaftPeer, RaftPeerServer},
    },
};

use super::{
    apply::StateMachine,
    group::Group,
    network::{Answers, NoAnswer, Transport},
    types::{Member, MemberId},
};

/// Largest message between members, in bytes: a snapshot is one.
pub const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// Turns an endpoint of the membership into one to dial, with the TLS that its peers speak.
pub type Dialer = Box<dyn Fn(&str) -> Result<Endpoint, types::Invalid> + Send + Sync>;

/// Times of connections between members: a peer that is silent for three seconds is dialled again.
pub const PEER_TIMES: ChannelTimes = ChannelTimes {
    connect: Duration::from_millis(1000),
    call: Duration::from_secs(30),
    keep_alive_interval: Duration::from_millis(1500),
    keep_alive_timeout: Duration::from_millis(1500),
};

/// Carries messages over one HTTP/2 connection per peer.
pub struct GrpcTransport {
    dial: Dialer,
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl GrpcTransport {
    /// A transport that finds peers through `dial`.
    pub fn new(dial: Dialer) -> Self {
        Self { dial, channels: Mutex::default() }
    }

    fn client(&self, to: MemberId, member: &Member) -> Result<RaftPeerClient<Channel>, NoAnswer> {
        let mut channels = self.channels.lock();
        let channel = match channels.get(&member.endpoint) {
            Some(channel) => channel.clone(),
            None => {
                let endpoint = (self.dial)(&member.endpoint)
                    .map_err(|invalid| no_answer(to, member, invalid))?;
                let channel = Channel::new(endpoint, PEER_TIMES);
                channels.insert(member.endpoint.clone(), channel.clone());
                channel
            }
        };
        Ok(RaftPeerClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }
}

fn no_answer(member: MemberId, at: &Member, detail: impl ToString) -> NoAnswer {
    NoAnswer { member, endpoint: at.endpoint.clone(), detail: detail.to_string() }
}

impl Transport for GrpcTransport {
    fn call(
        &self,
        to: MemberId,
        member: &Member,
        request: RaftRequest,
        within: Duration,
    ) -> BoxFuture<'static, Result<RaftResponse, NoAnswer>> {
        let (client, member) = (self.client(to, member), member.clone());
        async move {
            let mut request = Request::new(request);
            request.set_timeout(within);
            let answer = client?.call(request).await;
            answer.map(Response::into_inner).map_err(|status| no_answer(to, &member, status))
        }
        .boxed()
    }

    fn stream(
        &self,
        to: MemberId,
        member: &Member,
        requests: BoxStream<'static, RaftRequest>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Answers, NoAnswer>> {
        let (client, member) = (self.client(to, member), member.clone());
        async move {
            let mut client = client?;
            let opened = clock::timeout(within, client.append(Requests(requests))).await;
            let answers = opened
                .map_err(|elapsed| no_answer(to, &member, elapsed))?
                .map_err(|status| no_answer(to, &member, status))?
                .into_inner();
            let answers =
                answers.map(move |answer| answer.map_err(|status| no_answer(to, &member, status)));
            Ok(answers.boxed())
        }
        .boxed()
    }
}

/// A stream of a type of its own: the compiler cannot see through the boxed one in a client's call.
struct Requests(BoxStream<'static, RaftRequest>);

impl Stream for Requests {
    type Item = RaftRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RaftRequest>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// Answers a group's peers.
pub struct PeerService<M: StateMachine>(Group<M>);

impl<M: StateMachine> PeerService<M> {
    /// The service of one member, ready to be served.
    pub fn server(group: Group<M>) -> RaftPeerServer<Self> {
        RaftPeerServer::new(Self(group))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl<M: StateMachine> RaftPeer for PeerService<M> {
    type AppendStream = BoxStream<'static, Result<RaftResponse, Status>>;

    async fn call(&self, request: Request<RaftRequest>) -> Result<Response<RaftResponse>, Status> {
        Ok(Response::new(self.0.answer(request.into_inner()).await))
    }

    async fn append(
        &self,
        request: Request<Streaming<RaftRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        // A stream that breaks has ended: the leader opens another.
        let requests =
            request.into_inner().map(Result::ok).take_while(|r| future::ready(r.is_some()));
        let requests = requests.filter_map(future::ready).boxed();
        Ok(Response::new(self.0.answer_stream(requests).map(Ok).boxed()))
    }
}

/// A dialer for endpoints like `10.0.0.1:7400` or `unix:/path`, with the TLS that `secure` adds.
pub fn dialer(secure: impl Fn(Endpoint) -> Endpoint + Send + Sync + 'static) -> Dialer {
    Box::new(move |endpoint| {
        let address = endpoint.parse()?;
        Ok(secure(Endpoint::plain(&address)))
    })
}
