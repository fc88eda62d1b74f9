//! Recall in the database: words by its text search, vectors by pgvector.
//!
//! Vectors are compared one by one where few memories pass the filter, and found by the graph otherwise, which goes on until
//! enough have passed (pgvector's iterative scan).
//!
//! Invariants: `STO-2` every statement has the reader's sight.
//!
//! Not here: which memories say most of what is asked for (`ranking`), fusing the signals into one order (the node).

use std::fmt::Write as _;

use types::Record;

use super::{
    PostgresConfig,
    counts::{Counts, SAMPLED_ROWS_MIN},
    passing::{Passing, once},
    ranking::{Weighed, by_words, score},
    unindexed::{Unindexed, Vector},
    words,
};
use crate::{
    answer::{Candidate, Candidates, Finding, MemoryView, StoreStats},
    index::{
        Prepared, Query,
        lexical::{explain::milli, idf},
        text::{
            Term,
            query::{QUERY_TERMS_MAX, QueryTerm},
        },
    },
    port::EmbeddingSpace,
    request::{CandidateQuery, DuplicateQuery},
    rows::{
        fault::SqlFault,
        indexes::{vector_of, words_of},
        read::{changes, conditions::json_numbers, duplicates, memories, sight::Sight, views},
        recall::DatabaseRecall,
        row::{self, LIVE, STORED_COLUMNS, unsigned},
        write::overlay::Entry,
    },
    sql::{Connection, OptionalExtension, params_from_iter},
};

/// Most hits looked at to fill the depth with memories that contain a phrase.
const PHRASE_HITS_MAX: u32 = 4096;

/// Keeps the words of a row.
pub(crate) const KEEP_WORDS: &str =
    "INSERT INTO texts (row, terms, impacts) VALUES (?1, CAST(CAST(?2 AS text) AS bigint[]), ?3)
     ON CONFLICT (row) DO UPDATE SET terms = excluded.terms, impacts = excluded.impacts";
/// Words and vectors of one space in the database.
pub(crate) struct PostgresRecall {
    /// Number and dimension of the space.
    space: i64,
    dimension: u16,
    hnsw: (u32, u32),
    index_memory_mib: u32,
    exact_rows_max: u32,
    unindexed: Unindexed,
    counts: Counts,
}

impl PostgresRecall {
    pub(crate) fn new(config: &PostgresConfig, space: &EmbeddingSpace, number: i64) -> Self {
        Self {
            space: number,
            dimension: space.dimension,
            hnsw: (config.hnsw_m, config.hnsw_ef_construction),
            index_memory_mib: config.index_memory_mib,
            exact_rows_max: config.exact_rows_max,
            unindexed: Unindexed::default(),
            counts: Counts::new(SAMPLED_ROWS_MIN),
        }
    }

    /// Number of the space.
    pub(crate) fn space(&self) -> i64 {
        self.space
    }

    /// Makes the index of the space's vectors unless it is there.
    pub(crate) fn make_index(&self, connection: &Connection) -> Result<(), SqlFault> {
        let (Self { space, dimension, .. }, (m, ef)) = (self, self.hnsw);
        let text = format!(
            "CREATE INDEX IF NOT EXISTS vectors_of_{space} ON vectors USING hnsw \
             ((vector::halfvec({dimension})) halfvec_cosine_ops) \
             WITH (m = {m}, ef_construction = {ef}) WHERE space = {space}"
        );
        Ok(connection.as_postgres()?.batch(&text)?)
    }

    /// The same, in as much memory as the index needs, or may have: in less it is made several times slower.
    pub(crate) fn make_index_of_many(&self, connection: &Connection) -> Result<(), SqlFault> {
        let text = "SELECT count(*) FROM vectors WHERE space = ?1";
        let rows = connection.query_row(text, [self.space], |row| row.get(0))?;
        let (needed, most) = (self.index_mib(unsigned(rows)), u64::from(self.index_memory_mib));
        if needed > most {
            let fix = "raise storage.index_memory_mib if the server has it";
            tracing::warn!(needed, most, fix, "the index of vectors is made in too little memory");
        }
        let session = connection.as_postgres()?;
        session.batch(&format!(
            "BEGIN; SELECT set_config('maintenance_work_mem', greatest({}, \
             pg_size_bytes(current_setting('maintenance_work_mem')) / 1024) || 'kB', true)",
            needed.min(most) << 10
        ))?;
        self.make_index(connection)?;
        Ok(session.batch("COMMIT")?)
    }

    /// Memory for an index of so many vectors while it is made, MiB.
    ///
    /// A vertex has its vector, two bytes a component, and its neighbours with their distances, 16 bytes each, twice as many in
    /// the lowest layer (`hnsw.h` of pgvector); with what an allocator adds, 1.4 kB were measured for 384 components and `m` = 16.
    fn index_mib(&self, rows: u64) -> u64 {
        let vertex = 2 * u64::from(self.dimension) + 40 * u64::from(self.hnsw.0) + 256;
        (rows * vertex).div_ceil(1 << 20)
    }

    /// The terms of a question, heaviest first.
    fn weigh(
        &self,
        connection: &Connection,
        position: u64,
        query: &Query,
    ) -> Result<Vec<Weighed>, SqlFault> {
        let asked = query.terms().iter().map(|term| term.term);
        let (all, rows) = self.counts.of(connection, position, asked)?;
        let small = |rows: u64| u32::try_from(rows).unwrap_or(u32::MAX);
        let weigh = |(term, rows): (&QueryTerm, u64)| Weighed {
            written: term.written.clone(),
            term: term.term,
            required: term.required,
            rows,
            weight: idf::weight(small(all), small(rows)),
        };
        let mut weighed: Vec<Weighed> = query.terms().iter().zip(rows).map(weigh).collect();
        weighed.sort_by_key(|term| (!term.required, term.rows, term.term));
        weighed.truncate(QUERY_TERMS_MAX);
        Ok(weighed)
    }

    /// The nearest rows by vector, and the plan.
    fn by_vector(
        &self,
        connection: &Connection,
        passing: &Passing,
        vector: &[f32],
        wanted: u32,
        eligible: u64,
    ) -> Result<(Vec<i64>, &'static str), SqlFault> {
        let is_exact = eligible <= u64::from(self.exact_rows_max);
        let (Self { space, dimension, .. }, mut conditions) = (self, passing.conditions.clone());
        let given = conditions.bind(self.written(vector)?);
        let given = once(&given, &format!("halfvec({dimension})"));
        let distance = format!("(v.vector::halfvec({dimension})) <=> {given}");
        // What is added to a distance cannot be looked up in an index.
        let one_by_one = format!("({distance}) + 0");
        let passes = conditions.text();
        let nearest = |table: &str, order: &str| {
            format!(
                "SELECT memories.row, {order} AS distance \
                 FROM {table} v CROSS JOIN memories ON memories.row = v.row \
                 WHERE v.space = {space} AND {passes} ORDER BY {order} LIMIT {wanted}"
            )
        };
        // Nearest first, and of each by itself whether it passes: no plan may look at all memories for the few that wait.
        let waiting = format!(
            "SELECT v.row, v.distance FROM (SELECT v.row, {one_by_one} AS distance \
             FROM vectors_unindexed v WHERE v.space = {space} ORDER BY distance) v \
             JOIN LATERAL (SELECT 1 FROM memories WHERE memories.row = v.row AND {passes} OFFSET 0) p ON true \
             ORDER BY v.distance LIMIT {wanted}"
        );
        let text = match is_exact {
            true => nearest("vectors", &one_by_one),
            false => format!(
                "SELECT n.row FROM (({}) UNION ALL ({waiting})) n ORDER BY n.distance LIMIT {wanted}",
                nearest("ONLY vectors", &distance),
            ),
        };
        let mut statement = connection.prepare_cached(&text)?;
        let rows = statement.query_map(params_from_iter(conditions.values()), |row| row.get(0))?;
        Ok((rows.collect::<Result<_, _>>()?, if is_exact { "exact" } else { "hnsw" }))
    }

    /// A vector as pgvector reads it.
    pub(crate) fn written(&self, vector: &[f32]) -> Result<String, SqlFault> {
        if vector.len() != usize::from(self.dimension) {
            let problem = format!("needs {} components, got {}", self.dimension, vector.len());
            return Err(types::Invalid::new("vector", problem).into());
        }
        let mut text = String::with_capacity(vector.len() * 12 + 2);
        for value in vector {
            text.push(if text.is_empty() { '[' } else { ',' });
            let _ = write!(text, "{value}");
        }
        text.push(']');
        Ok(text)
    }

    /// Rows with both scores, those that still pass.
    fn load(
        &self,
        connection: &Connection,
        passing: &Passing,
        rows: &[i64],
        terms: &[Weighed],
        vector: Option<&[f32]>,
    ) -> Result<Vec<Candidate>, SqlFault> {
        let mut conditions = passing.conditions.clone();
        let json = json_numbers(rows);
        // An array, not a set to join with: the server takes a set for so many that it may read all memories to find them.
        conditions.and(
            "memories.row = ANY (ARRAY(SELECT CAST(value AS INTEGER) FROM json_each(",
            json,
            ")))",
        );
        let score = score(&mut conditions, terms);
        let near = match vector {
            None => "NULL".to_owned(),
            Some(vector) => {
                let (space, dimension) = (self.space, self.dimension);
                let given = conditions.bind(self.written(vector)?);
                let given = once(&given, &format!("halfvec({dimension})"));
                format!(
                    "(SELECT CAST(1000000000 * (1 - (v.vector::halfvec({dimension}) <=> {given})) AS bigint) \
                     FROM vectors v WHERE v.row = memories.row AND v.space = {space})"
                )
            }
        };
        let text = format!(
            "SELECT {STORED_COLUMNS}, (SELECT {score} FROM texts t WHERE t.row = memories.row), \
             {near} FROM memories WHERE {} ORDER BY id",
            conditions.text()
        );
        let mut statement = connection.prepare_cached(&text)?;
        let mut found = statement.query(params_from_iter(conditions.values()))?;
        let mut loaded = Vec::new();
        while let Some(row) = found.next()? {
            let (raw, dense): (Option<i64>, Option<i64>) = (row.get(10)?, row.get(11)?);
            let shown = views::shown(connection, row::stored(row)?)?;
            let raw = u32::try_from(raw.unwrap_or(0)).unwrap_or(u32::MAX);
            let score = milli(raw);
            loaded.push(Candidate {
                memory: memories::view(shown),
                lexical: (score > 0).then_some(score as f32 / 1000.0),
                dense: dense.map(|dense| dense as f32 / 1e9),
                terms: Vec::new(),
            });
        }
        Ok(loaded)
    }

    fn search(
        &self,
        connection: &Connection,
        passing: &Passing,
        query: &CandidateQuery,
        answer: &mut Candidates,
    ) -> Result<(), SqlFault> {
        let words = Query::parse(&query.text);
        let position = answer.position;
        let terms = self.weigh(connection, position, &words)?;
        // More than are compared one by one need not be counted.
        let most = u64::from(self.exact_rows_max) + 1;
        answer.eligible = self.counts.passing(connection, position, passing, most)?;
        let mut rows = Vec::new();
        let vector = query.vector.as_deref();
        if let Some(vector) = vector {
            let (nearest, plan) =
                self.by_vector(connection, passing, vector, query.depth, answer.eligible)?;
            rows.extend(nearest);
            answer.vector_plan = plan.into();
        }
        let near = rows.len();
        let mut wanted = query.depth;
        loop {
            rows.truncate(near);
            let hits = by_words(connection, passing, &terms, wanted)?;
            rows.extend(hits.iter().map(|(row, _)| *row));
            let mut items = self.load(connection, passing, &rows, &terms, vector)?;
            items.retain(|item| words.verify(&item.memory.title, &item.memory.content));
            let is_all = hits.len() < wanted as usize || wanted >= PHRASE_HITS_MAX;
            if words.phrases().is_empty() || is_all || items.len() >= query.depth as usize {
                answer.items = items;
                break;
            }
            wanted = (wanted * 4).min(PHRASE_HITS_MAX);
        }
        answer.items.dedup_by_key(|candidate| candidate.memory.id);
        if query.explain {
            answer.items.iter_mut().for_each(|item| item.terms = parts(&item.memory, &terms));
        }
        Ok(())
    }
}

/// What a question's words have to do with a memory.
fn parts(memory: &MemoryView, terms: &[Weighed]) -> Vec<(String, f32)> {
    let tags = memory.tags.iter().map(|tag| tag.as_str());
    let prepared = crate::index::prepare(&memory.title, &memory.content, tags);
    let impact = |term: Term| {
        let found = prepared.terms.binary_search_by_key(&term, |(term, _)| *term);
        found.map_or(0, |at| prepared.terms[at].1)
    };
    let part = |term: &Weighed| {
        let score = milli(term.weight * u32::from(impact(term.term)));
        (term.written.clone(), score as f32 / 1000.0)
    };
    terms.iter().map(part).collect()
}

impl DatabaseRecall for PostgresRecall {
    fn keep(
        &self,
        connection: &Connection,
        entries: &[Entry],
        space: &EmbeddingSpace,
    ) -> Result<(), SqlFault> {
        let mut texts = connection.batch(KEEP_WORDS)?;
        let mut vectors = Vec::new();
        for entry in entries {
            let record: &Record = entry.repeated();
            let was_live = entry.kept.as_ref().is_some_and(|kept| kept.life == LIVE);
            if entry.life() != LIVE {
                if was_live {
                    connection.execute("DELETE FROM texts WHERE row = ?1", [entry.row])?;
                }
                continue;
            }
            if was_live && !entry.text_changed {
                continue;
            }
            let prepared: Prepared = match &entry.indexed {
                Some(indexed) => indexed.words.clone(),
                None => words_of(record),
            };
            let (terms, impacts) = words::kept(&prepared);
            texts.add((entry.row, terms, impacts))?;
            let vector = match &entry.indexed {
                Some(indexed) => indexed.vector.clone(),
                None => vector_of(record, space),
            };
            if let Some(vector) = vector {
                let (title, content) = (&record.title.value, &record.content.value);
                vectors.push(Vector {
                    row: entry.row,
                    space: self.space,
                    text_sha256: row::text_sha256(title.as_str(), content.as_str()),
                    written: self.written(&vector)?,
                    had: entry.kept.is_some(),
                });
            }
        }
        texts.finish()?;
        self.unindexed.keep(connection, vectors)
    }

    fn keep_vector(
        &self,
        connection: &Connection,
        row: i64,
        text_sha256: &[u8; 32],
        values: &[f32],
    ) -> Result<(), SqlFault> {
        Unindexed::lock(connection, row)?;
        let vector = Vector {
            row,
            space: self.space,
            text_sha256: *text_sha256,
            written: self.written(values)?,
            had: true,
        };
        self.unindexed.keep(connection, vec![vector])
    }

    fn settle(&self, connection: &Connection) -> Result<u64, SqlFault> {
        self.unindexed.settle(connection)
    }

    fn has_unsettled(&self) -> bool {
        self.unindexed.is_any()
    }

    fn candidates(
        &self,
        connection: &Connection,
        sight: &Sight,
        query: &CandidateQuery,
    ) -> Result<Candidates, SqlFault> {
        let mut answer = Candidates {
            items: Vec::new(),
            eligible: 0,
            vector_plan: "none".into(),
            position: changes::head(connection)?,
            rebuilding: false,
        };
        let passing = Passing::new(connection, sight, &query.filter, query.now_ms)?;
        self.search(connection, &passing, query, &mut answer)?;
        Ok(answer)
    }

    fn duplicates(
        &self,
        connection: &Connection,
        sight: &Sight,
        query: &DuplicateQuery,
    ) -> Result<Vec<(u16, MemoryView)>, SqlFault> {
        let filter = duplicates::filter(query);
        let passing = Passing::new(connection, sight, &filter, query.now_ms)?;
        let position = changes::head(connection)?;
        let terms = self.weigh(connection, position, &duplicates::question(query))?;
        let hits = by_words(connection, &passing, &terms, duplicates::DEPTH as u32)?;
        let rows: Vec<i64> = hits.iter().map(|(row, _)| *row).collect();
        let loaded = self.load(connection, &passing, &rows, &terms, None)?;
        Ok(duplicates::alike(query, loaded.into_iter().map(|candidate| candidate.memory)))
    }

    fn stats(&self, connection: &Connection, stats: &mut StoreStats) -> Result<(), SqlFault> {
        let text = "SELECT count(*) FROM vectors v CROSS JOIN memories m ON m.row = v.row \
             WHERE v.space = ?1 AND m.life = 0";
        stats.vectors = unsigned(connection.query_row(text, [self.space], |row| row.get(0))?);
        stats.vectors_pending = stats.memories.saturating_sub(stats.vectors);
        stats.index_position = stats.position;
        Ok(())
    }

    fn check(&self, connection: &Connection) -> Result<Vec<Finding>, SqlFault> {
        let text = "SELECT m.row FROM memories m WHERE m.life = 0 AND NOT EXISTS \
             (SELECT 1 FROM texts t WHERE t.row = m.row) UNION ALL \
             SELECT t.row FROM texts t WHERE NOT EXISTS \
             (SELECT 1 FROM memories m WHERE m.row = t.row AND m.life = 0) LIMIT 1";
        let stray: Option<i64> = connection.query_row(text, [], |row| row.get(0)).optional()?;
        let problem =
            stray.map(|row| format!("the words of row {row} are not those of a live memory"));
        let text =
            "SELECT u.row FROM vectors_unindexed u JOIN ONLY vectors v ON v.row = u.row LIMIT 1";
        let twice: Option<i64> = connection.query_row(text, [], |row| row.get(0)).optional()?;
        let twice =
            twice.map(|row| format!("row {row} has a vector in the index, and one that waits"));
        let found = problem.into_iter().chain(twice);
        Ok(found.map(|problem| Finding { check: "index", problem }).collect())
    }
}
