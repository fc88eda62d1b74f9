//! What a receiver believes, and what it lets in. Pure: keys have been checked, clocks are arguments.
//!
//! Invariants: `ADM-1` a run of operations is believed only if, from where the receiver stands, it ends in
//! the head that its origin has signed; `ADM-2` what no rule allows is refused: a peer without a scope
//! sends nothing and is told nothing; `ADM-3` one refused operation refuses no other; `ADM-4` no stamp of the
//! future gets in.
//!
//! Not here: signatures themselves (the driver), what the store cannot apply (`storage`), rules of the
//! root (the node asks them before it takes an operation).

use types::{
    AgentId, FeedHead, Hlc, Namespace, NamespaceGlob, Op, OpId, Reason, Reject,
    limits::CLOCK_SKEW_MAX_MS,
};

/// Which agents' operations a peer may send, and which namespaces it may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Agents, or `*` for all.
    pub agents: Vec<AgentPattern>,
    /// Namespaces.
    pub namespaces: Vec<NamespaceGlob>,
}

/// One agent, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentPattern {
    /// Whoever it is.
    Any,
    /// This one.
    One(AgentId),
}

impl Scope {
    /// A peer that may do everything.
    pub fn everything() -> Self {
        let all = "**".parse::<NamespaceGlob>().ok();
        Self { agents: vec![AgentPattern::Any], namespaces: all.into_iter().collect() }
    }

    /// Whether the peer may send what this agent did.
    pub fn sends(&self, author: &AgentId) -> bool {
        self.agents.iter().any(|pattern| match pattern {
            AgentPattern::Any => true,
            AgentPattern::One(agent) => agent == author,
        })
    }

    /// Whether the peer may see what happens in a namespace. What concerns no single memory, such as an
    /// agent's registration, is seen by whoever sees anything.
    pub fn sees(&self, namespace: Option<&Namespace>) -> bool {
        match namespace {
            None => !self.namespaces.is_empty(),
            Some(namespace) => self.namespaces.iter().any(|glob| glob.matches(namespace)),
        }
    }
}

/// Checks that the hashes of one origin's operations, in order, lead from where the receiver stands to a head that the
/// origin has signed. Those that it covers already are passed over.
///
/// # Errors
/// [`Reason::PositionNotReached`] when something before them is missing, which the sender can mend;
/// [`Reason::ChainBroken`] when they are not what the origin has signed.
pub fn believe(
    stands: FeedHead,
    run: impl IntoIterator<Item = (OpId, [u8; 32])>,
    signed: FeedHead,
) -> Result<(), Reject> {
    let mut feed = stands;
    for (id, hash) in run {
        if id.origin != signed.origin || id.origin != stands.origin {
            let detail = format!("operation {id} is not of the feed of {}", signed.origin);
            return Err(Reject::new(Reason::ChainBroken, detail));
        }
        if id.seq <= stands.seq {
            continue;
        }
        if id.seq != feed.seq + 1 {
            let detail = format!("operation {id} comes after {}; some are missing", feed.seq);
            let reject = Reject::new(Reason::PositionNotReached, detail);
            return Err(reject.with("expected_seq", feed.seq + 1));
        }
        feed = feed.with(&hash);
    }
    if feed == signed || signed.seq <= stands.seq {
        return Ok(());
    }
    let detail = format!(
        "the operations of {} up to {} are not those that it has signed up to {}",
        signed.origin, feed.seq, signed.seq
    );
    Err(Reject::new(Reason::ChainBroken, detail))
}

/// Whether an operation may come in from a peer of this scope.
///
/// # Errors
/// [`Reason::Forbidden`]: the peer may not send for its author. [`Reason::ClockSkew`]: it is of the
/// future. [`Reason::InvalidArgument`]: it breaks a rule of its type.
pub fn admit(op: &Op, scope: &Scope, now_ms: u64) -> Result<(), Reject> {
    if !scope.sends(&op.author) {
        let detail = format!("this peer may not send what {} did", op.author);
        return Err(Reject::new(Reason::Forbidden, detail).with("agent", &op.author));
    }
    let ahead_ms = ahead_ms(op.hlc, now_ms);
    if ahead_ms > CLOCK_SKEW_MAX_MS {
        let detail = format!(
            "operation {} is {ahead_ms} ms ahead; at most {CLOCK_SKEW_MAX_MS} ms is accepted: check its origin's clock",
            op.id
        );
        return Err(Reject::new(Reason::ClockSkew, detail).with("ahead_ms", ahead_ms));
    }
    op.payload.check().map_err(Reject::from)
}

fn ahead_ms(hlc: Hlc, now_ms: u64) -> u64 {
    hlc.wall_ms().saturating_sub(now_ms)
}

#[cfg(test)]
mod tests {
    use types::{MemoryId, NodeId, Payload, VersionVector, codec};
    use uuid::Uuid;

    use super::*;

    fn op(seq: u64, wall_ms: u64) -> Op {
        Op {
            id: OpId { origin: NodeId(Uuid::from_u128(1)), seq },
            hlc: Hlc::new(wall_ms, 0),
            author: "ann".parse().unwrap(),
            fence: 0,
            context: VersionVector::default(),
            payload: Payload::Restore { id: MemoryId(Uuid::from_u128(9)) },
        }
    }

    fn item(seq: u64) -> (OpId, [u8; 32]) {
        let op = op(seq, seq);
        (op.id, codec::op_hash(&codec::encode_op(&op)))
    }

    fn head(run: &[(OpId, [u8; 32])]) -> FeedHead {
        let empty = FeedHead::empty(NodeId(Uuid::from_u128(1)));
        run.iter().fold(empty, |feed, (_, hash)| feed.with(hash))
    }

    fn reason(result: Result<(), Reject>) -> Option<Reason> {
        result.err().map(|reject| reject.reason)
    }

    #[test]
    fn a_run_must_end_in_what_its_origin_signed() {
        let all: Vec<(OpId, [u8; 32])> = (1..=4).map(item).collect();
        let (signed, stands) = (head(&all), head(&all[..2]));
        let believe = |stands, run: &[(OpId, [u8; 32])], signed| {
            super::believe(stands, run.iter().copied(), signed)
        };
        assert_eq!(believe(stands, &all[2..], signed), Ok(()));
        assert_eq!(believe(stands, &all, signed), Ok(()), "what is covered is passed over");
        let mut forged = all.clone();
        forged[2].1 = [7; 32];
        let told = believe(stands, &forged[2..], signed);
        assert_eq!(reason(told), Some(Reason::ChainBroken), "ADM-1");
        let cut = believe(stands, &all[2..3], signed);
        assert_eq!(reason(cut), Some(Reason::ChainBroken), "a run that was cut short");
        let gap = believe(stands, &all[3..], signed);
        assert_eq!(reason(gap), Some(Reason::PositionNotReached));
        let other = FeedHead { origin: NodeId(Uuid::from_u128(2)), ..signed };
        assert_eq!(reason(believe(stands, &all[2..], other)), Some(Reason::ChainBroken), "ADM-1");
        assert_eq!(believe(signed, &all[..2], head(&all[..2])), Ok(()), "all of it is covered");
    }

    #[test]
    fn nothing_is_allowed_that_no_rule_allows() {
        let nobody = Scope::default();
        let acme: Namespace = "acme/eng".parse().unwrap();
        assert!(!nobody.sees(Some(&acme)) && !nobody.sees(None), "ADM-2");
        assert_eq!(reason(admit(&op(1, 0), &nobody, 0)), Some(Reason::Forbidden), "ADM-2");
        let one = Scope {
            agents: vec![AgentPattern::One("ann".parse().unwrap())],
            namespaces: vec!["acme/*".parse().unwrap()],
        };
        assert_eq!(admit(&op(1, 0), &one, 0), Ok(()));
        assert!(one.sees(Some(&acme)) && one.sees(None));
        assert!(!one.sees(Some(&"acme/eng/core".parse().unwrap())), "one segment");
        let bob = Op { author: "bob".parse().unwrap(), ..op(1, 0) };
        assert_eq!(reason(admit(&bob, &one, 0)), Some(Reason::Forbidden));
        assert_eq!(admit(&bob, &Scope::everything(), 0), Ok(()));
        assert!(Scope::everything().sees(Some(&"acme/eng/core".parse().unwrap())));
    }

    #[test]
    fn the_future_is_refused() {
        let everything = Scope::everything();
        assert_eq!(admit(&op(1, CLOCK_SKEW_MAX_MS + 10), &everything, 10), Ok(()));
        let early = admit(&op(1, CLOCK_SKEW_MAX_MS + 11), &everything, 10);
        assert_eq!(reason(early), Some(Reason::ClockSkew), "ADM-4");
        assert_eq!(admit(&op(1, 0), &everything, u64::MAX >> 20), Ok(()), "the past is not");
    }
}
