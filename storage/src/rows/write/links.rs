//! Making, closing and removing links.
//!
//! Invariants: `LNK-1` both ends of a link are visible to whoever makes or changes it; `LNK-2` a
//! relation that must not lead back to its start does not, over all links whether they hold now or not; `LNK-3`
//! what is superseded ends in the same transaction; `LNK-4` a refusal says nothing of links whose ends the
//! caller may not see; `LNK-5` a link is made between the ids under which its ends are shown.
//!
//! Not here: reading links for clients.

use std::collections::BTreeSet;

use types::{
    Link, LinkId, MemoryId, NodeId, Patch, Payload, Reason, Register, Reject, Relation, Stamp,
    ids::IdRef, link::NewLink, memory::Validity, op::UpdateBody,
};

use super::{
    group::{Done, Group, Terms},
    quota::Charge,
};
use crate::{
    answer::Applied,
    rows::{
        fault::SqlFault,
        read::{many, views},
        row::{memory_id, signed, unsigned},
    },
    sql::{OptionalExtension, Value},
};

/// Most memories a search for a cycle looks at; a longer chain is refused.
const CYCLE_WALK_MAX: usize = 10_000;

/// Where following a relation ended.
enum Walk {
    Ends,
    LeadsBack,
    TooLong,
}

impl Group<'_> {
    /// Links two memories.
    pub(crate) fn link(&mut self, terms: &Terms, link: NewLink) -> Done<Applied> {
        let source = self.seen(terms, &IdRef::Full(link.source))?;
        let target = self.seen(terms, &IdRef::Full(link.target))?;
        let link = NewLink { source, target, ..link }.normalise()?;
        if self.find_link(link.id)?.is_some() {
            let detail = format!("link id {} is in use", link.id);
            return Err(Reject::new(Reason::AlreadyExists, detail).with("id", link.id).into());
        }
        for (id, target) in self.targets(&BTreeSet::from([link.source]), link.relation)? {
            if target == link.target {
                let detail = format!("link {id} says this already");
                return Err(Reject::new(Reason::AlreadyExists, detail).with("id", id).into());
            }
        }
        if link.relation.is_acyclic() {
            self.must_not_lead_back(terms, &link)?;
        }
        let namespace = self.entry(link.source)?.record.namespace.clone();
        let charge = Charge { links: 1, ..Charge::default() };
        self.charge(terms, &terms.viewer.agent, &namespace, charge)?;
        let op = self.operation(terms, Payload::Link(link.clone()))?;
        let NewLink { id, source, target, relation, validity } = link;
        let made = Link {
            id,
            source,
            target,
            relation,
            author: op.author.clone(),
            created: op.stamp(),
            validity: Register::new(validity, op.stamp()),
            removed: false,
        };
        self.overlay.set_link(made, self.head.position);
        if relation == Relation::Supersedes {
            self.close(terms, target)?;
        }
        Ok(Applied::Link { id })
    }

    /// Ends the validity of a superseded memory, unless it ended already (`LNK-3`).
    fn close(&mut self, terms: &Terms, id: MemoryId) -> Done<()> {
        self.guard(terms, id, None)?;
        let validity = self.shown(id)?.validity.value;
        if validity.until_ms.is_some_and(|until| until <= terms.now_ms) {
            return Ok(());
        }
        // A span cannot be empty: what was to begin later lasts one millisecond.
        let until_ms = terms.now_ms.max(validity.from_ms.map_or(0, |from| from + 1));
        let validity = Validity { until_ms: Some(until_ms), ..validity };
        let patch = Patch { validity: Some(validity), ..Patch::default() };
        let body = UpdateBody { id, patch, removed_dots: Vec::new() };
        let op = self.operation(terms, Payload::Update(Box::new(body)))?;
        self.apply(id, &op, false);
        Ok(())
    }

    /// Removes a link for good.
    pub(crate) fn unlink(&mut self, terms: &Terms, id: LinkId) -> Done<Applied> {
        let mut link = self.seen_link(terms, id)?;
        self.operation(terms, Payload::Unlink { id })?;
        link.removed = true;
        self.overlay.set_link(link, self.head.position);
        Ok(Applied::Link { id })
    }

    /// Changes when a link holds.
    pub(crate) fn link_validity(
        &mut self,
        terms: &Terms,
        id: LinkId,
        validity: Validity,
    ) -> Done<Applied> {
        let mut link = self.seen_link(terms, id)?;
        let fence = link.validity.stamp.fence;
        if terms.fence < fence {
            let detail = format!("link {id} was written under fence {fence}; take the lock again");
            return Err(Reject::new(Reason::FenceTooSmall, detail)
                .with("current_fence", fence)
                .into());
        }
        let op = self.operation(terms, Payload::LinkValidity { id, validity })?;
        link.validity.offer(validity, op.stamp());
        self.overlay.set_link(link, self.head.position);
        Ok(Applied::Link { id })
    }

    fn seen_link(&mut self, terms: &Terms, id: LinkId) -> Done<Link> {
        let not_found = || Reject::new(Reason::NotFound, format!("no link {id}"));
        let link = self.find_link(id)?.filter(|link| !link.removed).ok_or_else(not_found)?;
        for end in [link.source, link.target] {
            self.seen(terms, &IdRef::Full(end)).map_err(|fault| match fault {
                SqlFault::Rejected(_) => not_found().into(),
                fault => fault,
            })?;
        }
        Ok(link)
    }

    /// Refuses a link that would lead back to its start. Every link counts, but what is said rests on
    /// those alone that the caller may see (`LNK-4`).
    fn must_not_lead_back(&mut self, terms: &Terms, link: &NewLink) -> Done<()> {
        if matches!(self.walk_back(None, link)?, Walk::Ends) {
            return Ok(());
        }
        let reject = match self.walk_back(Some(terms), link)? {
            Walk::LeadsBack => Reject::new(
                Reason::Cycle,
                format!("{} leads back to {}", link.relation, link.source),
            ),
            Walk::TooLong => Reject::new(
                Reason::FailedPrecondition,
                format!(
                    "more than {CYCLE_WALK_MAX} memories follow the target along {}; too many to rule out a cycle",
                    link.relation
                ),
            ),
            Walk::Ends => {
                Reject::new(Reason::Forbidden, "these two memories may not be linked this way")
            }
        };
        Err(reject.into())
    }

    /// Follows the relation from the link's target, through what `terms` allow to see or, without
    /// them, through everything; a whole layer at a time, because a server is asked for each.
    fn walk_back(&mut self, terms: Option<&Terms>, link: &NewLink) -> Done<Walk> {
        let mut layer = BTreeSet::from([link.target]);
        let mut reached = layer.clone();
        while !layer.is_empty() {
            let mut ahead = BTreeSet::new();
            for (_, next) in self.targets(&layer, link.relation)? {
                if next == link.source {
                    return Ok(Walk::LeadsBack);
                }
                if !reached.contains(&next) && self.in_sight(terms, next)? {
                    reached.insert(next);
                    ahead.insert(next);
                }
            }
            if reached.len() > CYCLE_WALK_MAX {
                return Ok(Walk::TooLong);
            }
            layer = ahead;
        }
        Ok(Walk::Ends)
    }

    /// Whether a memory's audience includes the viewer, alive or not.
    fn in_sight(&mut self, terms: Option<&Terms>, id: MemoryId) -> Done<bool> {
        let Some(viewer) = terms.map(|terms| &terms.viewer).filter(|viewer| !viewer.operator)
        else {
            return Ok(true);
        };
        let entry = self.overlay.memory(self.connection, id)?;
        Ok(entry.is_some_and(|entry| viewer.audiences.contains(&entry.record.scope.value.1)))
    }

    /// Links of this relation that start at one of these memories, or at one that is shown as it: their ids, and under
    /// which ids their ends are shown.
    fn targets(
        &mut self,
        sources: &BTreeSet<MemoryId>,
        relation: Relation,
    ) -> Done<Vec<(LinkId, MemoryId)>> {
        let (known, others) = self.parted(sources.iter().copied());
        let members = views::members_of(self.connection, &others)?;
        let mut members: BTreeSet<MemoryId> = members.into_keys().collect();
        for id in known {
            members.extend(self.members(id)?);
        }
        let mut found = self.own_targets(&members, relation)?;
        let (known, others) = self.parted(found.iter().map(|(_, target)| *target));
        let mut faces = views::faces(self.connection, &others)?;
        for id in known {
            faces.insert(id, self.face(id)?);
        }
        for (_, target) in &mut found {
            *target = faces.get(target).copied().unwrap_or(*target);
        }
        Ok(found)
    }

    /// Those that the group has read or changed, and the others, whose memories need not be read for this.
    fn parted(
        &self,
        ids: impl Iterator<Item = MemoryId>,
    ) -> (BTreeSet<MemoryId>, BTreeSet<MemoryId>) {
        ids.partition(|id| self.overlay.known(*id).is_some())
    }

    fn own_targets(
        &self,
        sources: &BTreeSet<MemoryId>,
        relation: Relation,
    ) -> Done<Vec<(LinkId, MemoryId)>> {
        let ids: Vec<MemoryId> = sources.iter().copied().collect();
        let before = "SELECT id, target FROM links WHERE relation = ?1 AND removed = 0 AND source";
        let values = [Value::from(i64::from(relation.number()))];
        let mut found = many::rows(self.connection, (before, ""), &values, &ids, |row| {
            let id = LinkId(uuid::Uuid::from_bytes(row.get(0)?));
            Ok((id, memory_id("links", row.get(1)?)?))
        })?;
        found.retain(|(id, _)| !self.overlay.links.contains_key(id));
        let fresh = self.overlay.links.values().map(|(link, _)| link);
        let fresh =
            fresh.filter(|l| sources.contains(&l.source) && l.relation == relation && !l.removed);
        found.extend(fresh.map(|link| (link.id, link.target)));
        Ok(found)
    }

    pub(crate) fn find_link(&self, id: LinkId) -> Done<Option<Link>> {
        if let Some((link, _)) = self.overlay.links.get(&id) {
            return Ok(Some(link.clone()));
        }
        let damaged =
            |problem: String| SqlFault::Damaged { table: "links", key: id.to_string(), problem };
        let found = self
            .connection
            .prepare_cached(
                "SELECT l.source, l.target, l.relation, a.name, l.removed,
                        l.created_fence, l.created_hlc, c.node,
                        l.validity_fence, l.validity_hlc, v.node, l.valid_from_ms, l.valid_until_ms
                 FROM links l JOIN names a ON a.id = l.author JOIN nodes c ON c.id = l.created_node
                 JOIN nodes v ON v.id = l.validity_node WHERE l.id = ?1",
            )?
            .query_row([id.as_bytes().as_slice()], |row| {
                let stamp = |at: usize| -> crate::sql::Result<Stamp> {
                    Ok(Stamp {
                        fence: unsigned(row.get(at)?),
                        hlc: types::Hlc::from_u64(unsigned(row.get(at + 1)?)),
                        origin: NodeId(uuid::Uuid::from_bytes(row.get(at + 2)?)),
                    })
                };
                let validity = Validity {
                    from_ms: row.get::<Option<i64>>(11)?.map(unsigned),
                    until_ms: row.get::<Option<i64>>(12)?.map(unsigned),
                };
                let ends: ([u8; 16], [u8; 16]) = (row.get(0)?, row.get(1)?);
                let texts: (u32, String) = (row.get(2)?, row.get(3)?);
                Ok((ends, texts, row.get(4)?, stamp(5)?, Register::new(validity, stamp(8)?)))
            })
            .optional()?;
        let Some((ends, (relation, author), removed, created, validity)) = found else {
            return Ok(None);
        };
        Ok(Some(Link {
            id,
            source: memory_id("links", &ends.0)?,
            target: memory_id("links", &ends.1)?,
            relation: Relation::from_number(relation).map_err(|e| damaged(e.to_string()))?,
            author: author.parse().map_err(|e: types::Invalid| damaged(e.to_string()))?,
            created,
            validity,
            removed,
        }))
    }

    /// Writes the changed links.
    pub(crate) fn write_links(&mut self) -> crate::sql::Result<()> {
        let mut batch = self.connection.batch(
            "INSERT INTO links (id, source, target, relation, author, created_fence, created_hlc,
                created_node, valid_from_ms, valid_until_ms, validity_fence, validity_hlc,
                validity_node, removed, position)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
             ON CONFLICT (id) DO UPDATE SET valid_from_ms = excluded.valid_from_ms,
                valid_until_ms = excluded.valid_until_ms, validity_fence = excluded.validity_fence,
                validity_hlc = excluded.validity_hlc, validity_node = excluded.validity_node,
                removed = excluded.removed, position = excluded.position",
        )?;
        for (link, position) in self.overlay.links.values() {
            let validity = &link.validity;
            batch.add(crate::sql::params![
                link.id.as_bytes().as_slice(),
                link.source.as_bytes().as_slice(),
                link.target.as_bytes().as_slice(),
                link.relation.number(),
                self.words.agent(link.author.as_str()),
                signed(link.created.fence),
                signed(link.created.hlc.as_u64()),
                self.words.node(link.created.origin),
                validity.value.from_ms.map(signed),
                validity.value.until_ms.map(signed),
                signed(validity.stamp.fence),
                signed(validity.stamp.hlc.as_u64()),
                self.words.node(validity.stamp.origin),
                link.removed,
                signed(*position),
            ])?;
        }
        batch.finish()
    }
}
