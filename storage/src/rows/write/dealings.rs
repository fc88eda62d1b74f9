//! What a node keeps of its dealings with peers, besides what they said: heads that they signed, what they
//! refused, and what they have used once.
//!
//! Invariants: `DEA-1` a head is kept only where it ends exactly what is covered of its feed, so that what
//! it stands for can be shown; `DEA-2` a nonce is accepted once until its time is over, restarts or not;
//! `DEA-3` of a feed one signed head in [`HEADS_APART`] operations is kept, and always the last.
//!
//! Not here: signatures and times (the sender and the receiver check them), when a letter is tried again.

use types::{DeadLetter, NodeId, OpId, Reason, Reject, SignedHead};

use super::group::{Done, Group};
use crate::{
    answer::Applied,
    request::Life,
    rows::row::signed,
    sql::{OptionalExtension, params},
};

/// Operations within which one signed head is enough: whoever is told a part of them needs the hashes of
/// the others.
const HEADS_APART: u64 = 256;

/// One thing to keep or to forget.
#[derive(Clone, Debug)]
pub(crate) enum Dealing {
    /// A head of another node's feed.
    Head(SignedHead),
    /// A peer's refusal.
    Letter(NodeId, DeadLetter),
    /// A peer's refusal that is over.
    NoLetter(NodeId, OpId),
    /// Used by a peer, with its end in Unix milliseconds.
    Nonce(NodeId, [u8; 16], u64),
    /// The name under which the node speaks.
    Origin(NodeId),
}

impl Group<'_> {
    /// Notes a dealing.
    pub(crate) fn deal(&mut self, dealing: Dealing) -> Applied {
        self.dealings.push(dealing);
        Applied::Other
    }

    /// Keeps a signed head that ends what is covered of its feed; others say nothing that could be shown.
    ///
    /// # Errors
    /// [`Reason::ChainBroken`] when its origin has signed another feed than the one that is covered.
    pub(crate) fn vouch(&mut self, word: SignedHead) -> Done<Applied> {
        let feed = self.head.feed(word.head.origin);
        if feed.seq != word.head.seq || feed.origin == self.head.own.origin {
            return Ok(Applied::Known);
        }
        if feed != word.head {
            let SignedHead { head, .. } = word;
            let detail =
                format!("node {} signed another feed up to {} than is here", head.origin, head.seq);
            return Err(Reject::new(Reason::ChainBroken, detail).into());
        }
        Ok(self.deal(Dealing::Head(word)))
    }

    /// Notes what a peer may use once.
    ///
    /// # Errors
    /// [`Reason::NonceReplay`].
    pub(crate) fn nonce(&mut self, peer: NodeId, nonce: [u8; 16], until_ms: u64) -> Done<Applied> {
        let in_group = |dealing: &Dealing| matches!(dealing, Dealing::Nonce(by, used, _) if *by == peer && *used == nonce);
        let used = self.dealings.iter().any(in_group) || self.is_used(peer, &nonce)?;
        if used {
            let detail = "this message came before; a new one needs a new nonce";
            return Err(Reject::new(Reason::NonceReplay, detail).into());
        }
        Ok(self.deal(Dealing::Nonce(peer, nonce, until_ms)))
    }

    fn is_used(&self, peer: NodeId, nonce: &[u8; 16]) -> crate::sql::Result<bool> {
        let found: Option<i64> = self
            .connection
            .prepare_cached("SELECT 1 FROM nonces WHERE peer = ?1 AND nonce = ?2")?
            .query_row((peer.as_bytes(), nonce), |row| row.get(0))
            .optional()?;
        Ok(found.is_some())
    }

    /// Writes the dealings, in order.
    pub(crate) fn write_dealings(&mut self, now_ms: u64) -> crate::sql::Result<()> {
        let dealings = std::mem::take(&mut self.dealings);
        let mut nonces = false;
        for dealing in &dealings {
            match dealing {
                Dealing::Head(word) => self.write_head(word)?,
                Dealing::Letter(peer, letter) => self.write_letter(*peer, letter)?,
                Dealing::NoLetter(peer, id) => {
                    self.connection
                        .prepare_cached(
                            "DELETE FROM dead_letters WHERE peer = ?1 AND origin = ?2 AND seq = ?3",
                        )?
                        .execute((peer.as_bytes(), id.origin.as_bytes(), signed(id.seq)))?;
                }
                Dealing::Origin(origin) => self.write_origin(*origin)?,
                Dealing::Nonce(peer, nonce, until_ms) => {
                    nonces = true;
                    self.connection
                        .prepare_cached(
                            "INSERT INTO nonces (peer, nonce, until_ms) VALUES (?1, ?2, ?3)",
                        )?
                        .execute((peer.as_bytes(), nonce, signed(*until_ms)))?;
                }
            }
        }
        if nonces {
            self.connection
                .prepare_cached("DELETE FROM nonces WHERE until_ms < ?1")?
                .execute([signed(now_ms)])?;
        }
        Ok(())
    }

    /// Lets the node speak (`HEAD-2`).
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`] for a name that is in use; as [`Group::vouch`].
    pub(crate) fn speak_as(&mut self, life: Life) -> Done<Applied> {
        let Life { origin, word } = life;
        if origin == self.head.own.origin {
            self.head.speak_as(origin);
            return Ok(Applied::Other);
        }
        if self.head.feed(origin).seq > 0 {
            let detail = format!("origin: {origin} has spoken before; choose another number");
            return Err(Reject::new(Reason::InvalidArgument, detail).into());
        }
        self.head.speak_as(origin);
        self.deal(Dealing::Origin(origin));
        word.map_or(Ok(Applied::Other), |word| self.vouch(word))
    }

    fn write_origin(&self, origin: NodeId) -> crate::sql::Result<()> {
        self.connection
            .prepare_cached("UPDATE daemons SET origin = ?2 WHERE id = ?1")?
            .execute((self.head.daemon, origin.as_bytes()))?;
        Ok(())
    }

    fn write_head(&mut self, word: &SignedHead) -> crate::sql::Result<()> {
        let SignedHead { head, signature } = word;
        let (origin, seq) = (self.words.node(head.origin), signed(head.seq));
        let bucket = signed(head.seq - head.seq % HEADS_APART);
        self.connection
            .prepare_cached("DELETE FROM feed_heads WHERE origin = ?1 AND seq BETWEEN ?2 AND ?3")?
            .execute((origin, bucket, seq))?;
        self.connection
            .prepare_cached(
                "INSERT INTO feed_heads (origin, seq, chain, signature) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![origin, seq, head.chain, signature])?;
        Ok(())
    }

    fn write_letter(&self, peer: NodeId, letter: &DeadLetter) -> crate::sql::Result<()> {
        let DeadLetter { id, reason, detail, tries, first_ms, next_ms } = letter;
        self.connection
            .prepare_cached(
                "INSERT INTO dead_letters
                    (peer, origin, seq, reason, detail, tries, first_ms, next_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (peer, origin, seq) DO UPDATE SET reason = excluded.reason,
                    detail = excluded.detail, tries = excluded.tries, next_ms = excluded.next_ms",
            )?
            .execute(params![
                peer.as_bytes(),
                id.origin.as_bytes(),
                signed(id.seq),
                reason.code(),
                detail,
                tries,
                signed(*first_ms),
                next_ms.map(signed),
            ])?;
        Ok(())
    }
}
