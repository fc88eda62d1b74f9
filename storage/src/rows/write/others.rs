//! Intents that are not about one memory's fields: recalls, names of entities, agents.
//!
//! Invariants: `ACC-1` a recall counts only where the viewer sees the memory; `ACC-2` repeated
//! access raises a memory to long-term once, when the count passes the threshold.
//!
//! Not here: deciding that a recall is to be counted (the node's service).

use std::collections::BTreeMap;

use types::{
    AgentRecord, Hlc, Kind, MemoryId, NodeId, Payload, Reason, Reject, Stamp, Tier, ids::IdRef,
    op::Accessed,
};

use super::{
    group::{Done, Group, Terms},
    overlay::AliasEntry,
};
use crate::{
    answer::Applied,
    rows::{
        fault::SqlFault,
        row::{alias_key, signed, unsigned},
    },
    sql::OptionalExtension,
};

impl Group<'_> {
    /// Counts recalls. What the viewer does not see, or is gone by now, is passed over.
    pub(crate) fn access(&mut self, terms: &Terms, accessed: Vec<Accessed>) -> Done<Applied> {
        let mut sums: BTreeMap<MemoryId, Accessed> = BTreeMap::new();
        for access in accessed {
            let sum = sums.entry(access.id).or_insert(Accessed { count: 0, ..access });
            sum.count = sum.count.saturating_add(access.count);
            sum.at_ms = sum.at_ms.max(access.at_ms);
        }
        // Two of them may be shown as one.
        let mut counted: BTreeMap<MemoryId, Accessed> = BTreeMap::new();
        let mut promoted = Vec::new();
        for access in sums.into_values() {
            match self.seen(terms, &IdRef::Full(access.id)) {
                Ok(id) => {
                    let sum = counted.entry(id).or_insert(Accessed { id, count: 0, at_ms: 0 });
                    sum.count = sum.count.saturating_add(access.count);
                    sum.at_ms = sum.at_ms.max(access.at_ms);
                }
                Err(SqlFault::Rejected(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        if counted.is_empty() {
            return Ok(Applied::Other);
        }
        for access in counted.values() {
            if self.passes_threshold(access.id, access.count)? {
                promoted.push(access.id);
            }
        }
        let ids: Vec<MemoryId> = counted.keys().copied().collect();
        let op = self.operation(terms, Payload::Access(counted.into_values().collect()))?;
        for id in ids {
            self.apply(id, &op, false);
        }
        for id in promoted {
            self.raise(terms, id)?;
        }
        Ok(Applied::Other)
    }

    fn passes_threshold(&mut self, id: MemoryId, count: u32) -> Done<bool> {
        let Some(threshold) = self.config.promote_after_accesses else { return Ok(false) };
        let record = self.shown(id)?;
        let before = record.accesses.total();
        let after = before.saturating_add(u64::from(count));
        Ok(record.is_live()
            && record.tier() == Tier::Mid
            && before < threshold
            && after >= threshold)
    }

    /// Raises a memory to long-term, for ever, under the fence it was last written under: it is no
    /// write of the viewer's, and under a smaller one it would count for nothing.
    fn raise(&mut self, terms: &Terms, id: MemoryId) -> Done<()> {
        let fence = self.shown(id)?.updated.fence.max(terms.fence);
        let terms = Terms { fence, ..terms.clone() };
        let payload =
            Payload::Promote { id, tier: Tier::Long, automatic: true, expires_at_ms: None };
        let op = self.operation(&terms, payload)?;
        self.apply(id, &op, false);
        Ok(())
    }

    /// Gives an entity another name, or takes it away.
    pub(crate) fn alias(
        &mut self,
        terms: &Terms,
        id: &IdRef,
        alias: String,
        remove: bool,
    ) -> Done<Applied> {
        let id = self.seen(terms, id)?;
        self.guard(terms, id, None)?;
        let record = self.shown(id)?;
        if record.kind.value != Kind::Entity {
            let detail = format!("memory {id} is no entity; only entities have other names");
            return Err(Reject::new(Reason::FailedPrecondition, detail).into());
        }
        let version = record.version();
        drop(record);
        let folded = alias_key(&alias);
        if folded.is_empty() {
            return Err(types::Invalid::new("alias", "is only white space").into());
        }
        let (shown, id) = (id, self.named(&folded, id)?);
        let key = (folded, id);
        let known = self.find_alias(&key)?;
        if remove && known.as_ref().is_none_or(|entry| entry.removed) {
            let detail = format!("memory {id} has no alias {alias:?}");
            return Err(Reject::new(Reason::NotFound, detail).into());
        }
        let is_same = |entry: &AliasEntry| entry.removed == remove && entry.alias == alias;
        if known.as_ref().is_some_and(is_same) && !self.config.has_peers {
            return Ok(Applied::Memory { id: shown, version, merged: false });
        }
        let op = self.operation(terms, Payload::Alias { id, alias: alias.clone(), remove })?;
        let entry = AliasEntry { alias, removed: remove, stamp: op.stamp() };
        if known.is_none_or(|known| entry.stamp > known.stamp) {
            self.overlay.set_alias(key, entry);
        }
        Ok(Applied::Memory { id: shown, version, merged: false })
    }

    /// Of the records that are shown as one with this, the one that has this name; itself, if none has.
    fn named(&mut self, folded: &str, id: MemoryId) -> Done<MemoryId> {
        for member in self.members(id)? {
            let known = self.find_alias(&(folded.to_owned(), member))?;
            if known.is_some_and(|entry| !entry.removed) {
                return Ok(member);
            }
        }
        Ok(id)
    }

    pub(crate) fn find_alias(&self, key: &(String, MemoryId)) -> Done<Option<AliasEntry>> {
        if let Some(entry) = self.overlay.aliases.get(key) {
            return Ok(Some(entry.clone()));
        }
        let found = self
            .connection
            .prepare_cached(
                "SELECT x.alias, x.removed, x.fence, x.hlc, n.node FROM aliases x
                 JOIN nodes n ON n.id = x.node WHERE x.alias_key = ?1 AND x.memory = ?2",
            )?
            .query_row((&key.0, key.1.as_bytes().as_slice()), |row| {
                let stamp = Stamp {
                    fence: unsigned(row.get(2)?),
                    hlc: Hlc::from_u64(unsigned(row.get(3)?)),
                    origin: NodeId(uuid::Uuid::from_bytes(row.get(4)?)),
                };
                Ok(AliasEntry { alias: row.get(0)?, removed: row.get(1)?, stamp })
            })
            .optional()?;
        Ok(found)
    }

    /// Registers, changes or revokes an agent.
    pub(crate) fn agent(&mut self, terms: &Terms, mut agent: AgentRecord) -> Done<Applied> {
        // The stamp is part of the payload, so it is drawn before the operation's own, which is greater.
        agent.changed = self.head.clock.tick(terms.now_ms);
        self.operation(terms, Payload::Agent(Box::new(agent.clone())))?;
        self.overlay.set_agent(agent);
        Ok(Applied::Other)
    }

    /// Writes the changed aliases.
    pub(crate) fn write_aliases(&mut self) -> crate::sql::Result<()> {
        let mut batch = self.connection.batch(
            "INSERT INTO aliases (alias_key, memory, alias, removed, fence, hlc, node)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (alias_key, memory) DO UPDATE SET alias = excluded.alias,
                removed = excluded.removed, fence = excluded.fence, hlc = excluded.hlc,
                node = excluded.node",
        )?;
        for ((key, memory), entry) in &self.overlay.aliases {
            batch.add(crate::sql::params![
                key,
                memory.as_bytes().as_slice(),
                entry.alias,
                entry.removed,
                signed(entry.stamp.fence),
                signed(entry.stamp.hlc.as_u64()),
                self.words.node(entry.stamp.origin),
            ])?;
        }
        batch.finish()
    }

    /// Writes the changed agents.
    pub(crate) fn write_agents(&self) -> crate::sql::Result<()> {
        let mut batch = self.connection.batch(
            "INSERT INTO agents (agent, affiliation, token_sha256, public_key, revoked, changed_hlc)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (agent) DO UPDATE SET affiliation = excluded.affiliation,
                token_sha256 = excluded.token_sha256, public_key = excluded.public_key,
                revoked = excluded.revoked, changed_hlc = excluded.changed_hlc",
        )?;
        for agent in self.overlay.agents.values() {
            batch.add(crate::sql::params![
                agent.agent_id.as_str(),
                agent.affiliation.as_str(),
                agent.token_sha256.as_ref().map(|token| token.as_slice()),
                agent.public_key.as_ref().map(|key| key.as_slice()),
                agent.revoked,
                signed(agent.changed.as_u64()),
            ])?;
        }
        batch.finish()
    }
}
