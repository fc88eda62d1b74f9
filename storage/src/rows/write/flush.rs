//! A finished group as SQL.
//!
//! Invariants: `FLU-1` an operation and its audit row are written together or not at all; `FLU-2` the
//! audit rows continue the chain in the order of the operations.
//!
//! Not here: the transaction itself (`writer`).

use std::collections::BTreeMap;

use types::{Hlc, NodeId, Tag, audit::EventRow, planted};

use super::{
    group::{Group, Logged},
    overlay::Entry,
    vocabulary::Vocabulary,
};
use crate::{
    port::{EmbeddingSpace, Signer},
    rows::{
        fault::SqlFault,
        row::{self, BEHIND, DELETED, LIVE, signed},
        work,
    },
    sql::{Batch, Connection, Statement, params},
};

/// Operations from which on their signatures are made on a second thread while this one writes rows.
const SIGN_ASIDE: usize = 8;

impl Group<'_> {
    /// Writes everything the group changed.
    pub(crate) fn flush(&mut self, now_ms: u64) -> Result<(), SqlFault> {
        self.regroup()?;
        let log = std::mem::take(&mut self.log);
        let signer = self.config.signer.clone();
        let sign = || -> Vec<[u8; 64]> {
            log.iter().map(|logged| signer.sign(&logged.body.digest())).collect()
        };
        let (signatures, written) = if log.len() < SIGN_ASIDE {
            (sign(), self.write_rows(now_ms))
        } else {
            runtime::parallel::join(sign, || self.write_rows(now_ms))
        };
        written?;
        self.write_log(&log, &signatures, signer.as_ref())?;
        // In front of it: what is passed stands behind what the feed had.
        self.write_unheld()?;
        self.write_feeds(&log)?;
        self.write_joined()?;
        self.write_dealings(now_ms)?;
        Ok(self.words.write(self.connection)?)
    }

    fn write_rows(&mut self, now_ms: u64) -> crate::sql::Result<()> {
        self.write_memories()?;
        self.write_links()?;
        self.write_aliases()?;
        self.write_agents()?;
        self.write_quotas()?;
        self.write_event_logs()?;
        self.write_key_fences()?;
        self.write_answers(now_ms)
    }

    pub(super) fn write_memories(&mut self) -> crate::sql::Result<()> {
        let mut tables = MemoryTables::prepare(self.connection, &self.config.space)?;
        for entry in self.overlay.dirty() {
            tables.write(entry, self.words)?;
        }
        tables.finish()
    }

    /// Writes where the feeds end that the group went on with.
    fn write_feeds(&mut self, log: &[Logged]) -> crate::sql::Result<()> {
        let said = log.iter().filter_map(|logged| logged.op.as_ref());
        let said = said.map(|op| (op.id.origin, op.hlc));
        let passed = self.unheld.iter().map(|passed| (passed.id.origin, Hlc::default()));
        let mut last: BTreeMap<NodeId, Hlc> = BTreeMap::new();
        for (origin, hlc) in said.chain(passed) {
            let known = last.entry(origin).or_default();
            *known = hlc.max(*known);
        }
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO feeds (origin, seq, hlc, chain) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (origin) DO UPDATE SET seq = excluded.seq, chain = excluded.chain,
                hlc = max(feeds.hlc, excluded.hlc)",
        )?;
        for (origin, hlc) in last {
            if origin != self.head.own.origin && planted::is_on("vector-not-persisted") {
                continue;
            }
            let feed = self.head.feed(origin);
            let hlc = signed(hlc.as_u64());
            let origin = self.words.node(origin);
            statement.execute(params![origin, signed(feed.seq), hlc, feed.chain])?;
        }
        Ok(())
    }

    fn write_log(
        &mut self,
        log: &[Logged],
        signatures: &[[u8; 64]],
        signer: &dyn Signer,
    ) -> crate::sql::Result<()> {
        let mut ops = self.connection.batch(
            "INSERT INTO ops (position, origin, seq, hlc, memory, bytes, chain)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let mut events = self.connection.batch(
            "INSERT INTO signed_events (sequence, origin, seq, agent, event_type, payload_hash,
                attest_level, timestamp_ms, cause_hash, signature, key_id, prev_hash, name, daemon)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?;
        let key_id = signer.key_id();
        for (logged, signature) in log.iter().zip(signatures) {
            let position = signed(logged.position);
            let (mut origin, mut seq, mut name) = (None, None, None);
            if let Some(op) = &logged.op {
                (origin, seq) = (Some(self.words.node(op.id.origin)), Some(signed(op.id.seq)));
                let memory = op.memory.as_ref().map(|id| id.as_bytes().as_slice());
                let hlc = signed(op.hlc.as_u64());
                ops.add(params![position, origin, seq, hlc, memory, logged.bytes, op.chain])?;
            } else {
                name = Some(logged.body.id.as_str());
                self.write_payload(position, &logged.bytes)?;
            }
            let taken = logged.op.as_ref().is_some_and(|op| op.id.origin != self.head.own.origin);
            if planted::is_on("audit-row-outside") || (taken && planted::is_on("taken-row-outside"))
            {
                self.connection.execute("COMMIT", [])?;
                self.connection.execute("BEGIN IMMEDIATE", [])?;
            }
            let event = EventRow {
                sequence: position,
                body: logged.body.clone(),
                signature: *signature,
                key_id,
                prev_hash: self.head.chain,
            };
            let body = &event.body;
            events.add(params![
                position,
                origin,
                seq,
                self.words.agent(body.agent_id.as_str()),
                body.event_type,
                body.payload_hash,
                body.attest_level as u8,
                signed(body.timestamp_ms),
                body.cause_hash,
                event.signature.as_slice(),
                event.key_id,
                event.prev_hash,
                name,
                self.head.daemon,
            ])?;
            self.head.chain = event.chain_hash();
        }
        ops.finish()?;
        events.finish()?;
        match log.last() {
            Some(last) => self.head.write(self.connection, signed(last.position)),
            None => Ok(()),
        }
    }
}

/// The statements that write memories and their tags.
struct MemoryTables<'c> {
    insert: Batch<'c>,
    update: Statement<'c>,
    add_tag: Batch<'c>,
    drop_tag: Statement<'c>,
    drop_vector: Statement<'c>,
    drop_old_vector: Statement<'c>,
    /// Texts for the model, where vectors come from one that takes its time.
    enqueue: Option<Batch<'c>>,
    dequeue: Statement<'c>,
    space: &'c EmbeddingSpace,
}

impl<'c> MemoryTables<'c> {
    fn prepare(connection: &'c Connection, space: &'c EmbeddingSpace) -> crate::sql::Result<Self> {
        Ok(Self {
            insert: connection.batch(
                "INSERT INTO memories (row, id, namespace, audience, author, life, kind, tier, scope,
                    priority, confidence_permille, created_ms, updated_ms, expires_ms, valid_from_ms,
                    valid_until_ms, legal_hold, version, access_count, last_accessed_ms, position,
                    title_key, checksum, title, state, content, embedding, others)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                    ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)",
            )?,
            update: connection.prepare_cached(
                "UPDATE memories SET id = ?2, namespace = ?3, audience = ?4, author = ?5, life = ?6,
                    kind = ?7, tier = ?8, scope = ?9, priority = ?10, confidence_permille = ?11,
                    created_ms = ?12, updated_ms = ?13, expires_ms = ?14, valid_from_ms = ?15,
                    valid_until_ms = ?16, legal_hold = ?17, version = ?18, access_count = ?19,
                    last_accessed_ms = ?20, position = ?21, title_key = ?22, checksum = ?23,
                    title = ?24, state = ?25, content = ?26, embedding = ?27, others = ?28
                 WHERE row = ?1",
            )?,
            add_tag: connection
                .batch("INSERT INTO memory_tags (tag, row) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?,
            drop_tag: connection
                .prepare_cached("DELETE FROM memory_tags WHERE tag = ?1 AND row = ?2")?,
            drop_vector: connection.prepare_cached("DELETE FROM vectors WHERE row = ?1")?,
            drop_old_vector: connection
                .prepare_cached("DELETE FROM vectors WHERE row = ?1 AND text_sha256 <> ?2")?,
            enqueue: work::is_slow(space).then(|| connection.batch(work::ENQUEUE)).transpose()?,
            dequeue: connection.prepare_cached(work::DEQUEUE)?,
            space,
        })
    }

    fn write(&mut self, entry: &Entry, words: &mut Vocabulary) -> crate::sql::Result<()> {
        let record = &entry.record;
        let shown = entry.repeated();
        let (scope, audience) = &shown.scope.value;
        let state = types::codec::encode_state(record);
        let title = record.title.value.as_str();
        let content = record.content.value.as_str();
        let embedding =
            record.embedding.value.as_ref().map(|embedding| row::float_bytes(&embedding.values));
        let checksum = row::checksum(title, &state, content, embedding.as_deref().unwrap_or(&[]));
        let life = entry.life();
        let validity = shown.validity.value;
        let columns = params![
            entry.row,
            record.id.as_bytes().as_slice(),
            words.namespace(record.namespace.as_str()),
            words.audience(audience.as_str()),
            words.agent(record.author.as_str()),
            life,
            shown.kind.value.number(),
            shown.tier().number(),
            scope.number(),
            shown.priority.value,
            shown.confidence_permille.value,
            signed(shown.created.hlc.wall_ms()),
            signed(shown.updated.hlc.wall_ms()),
            shown.expires_at_ms().map(signed),
            validity.from_ms.map(signed),
            validity.until_ms.map(signed),
            shown.legal_hold.value,
            signed(shown.version()),
            signed(shown.accesses.total()),
            signed(shown.last_accessed_ms),
            signed(entry.position),
            row::title_key(&record.namespace, &record.author, audience, &record.title.value),
            checksum,
            title,
            state,
            content,
            embedding,
            entry.shown.as_ref().map_or(0, |shown| shown.others as i64),
        ];
        match entry.kept {
            Some(_) => drop(self.update.execute(columns)?),
            None => self.insert.add(columns)?,
        }
        if life == DELETED || life == BEHIND {
            self.drop_vector.execute([entry.row])?;
        } else if entry.text_changed && entry.kept.is_some() {
            // Whoever computes vectors looks for memories that have none.
            let text = row::text_sha256(shown.title.value.as_str(), shown.content.value.as_str());
            self.drop_old_vector.execute(params![entry.row, text])?;
        }
        self.write_work(entry)?;
        self.write_tags(entry, words)
    }

    /// Puts the text into the queue when it needs a vector, and takes it out when it does not (`WRK-1`).
    fn write_work(&mut self, entry: &Entry) -> crate::sql::Result<()> {
        let Some(enqueue) = &mut self.enqueue else { return Ok(()) };
        let was_live = entry.kept.as_ref().is_some_and(|kept| kept.life == LIVE);
        let is_live = entry.life() == LIVE;
        if is_live && (!was_live || entry.text_changed) {
            if !work::is_supplied(entry.repeated(), self.space) {
                enqueue.add([entry.row])?;
            }
        } else if was_live && !is_live {
            self.dequeue.execute([entry.row])?;
        }
        Ok(())
    }

    fn finish(self) -> crate::sql::Result<()> {
        self.insert.finish()?;
        if let Some(enqueue) = self.enqueue {
            enqueue.finish()?;
        }
        self.add_tag.finish()
    }

    fn write_tags(&mut self, entry: &Entry, words: &mut Vocabulary) -> crate::sql::Result<()> {
        let had = |tag: &Tag| entry.kept.as_ref().is_some_and(|kept| kept.tags.contains(tag));
        let tags = &entry.repeated().tags;
        for tag in tags.iter().filter(|tag| !had(tag)) {
            self.add_tag.add((words.tag(tag.as_str()), entry.row))?;
        }
        let Some(kept) = &entry.kept else { return Ok(()) };
        for tag in &kept.tags {
            if !tags.iter().any(|now| now == tag) {
                self.drop_tag.execute((words.tag(tag.as_str()), entry.row))?;
            }
        }
        Ok(())
    }
}
