//! Words and vectors of memories in a database on a server, which a file has in indexes beside it.
//!
//! Invariants: `STO-3` they are made from the rows alone; a memory whose row was copied again has lost them, and gets them here.
//!
//! Not here: vectors that a model has computed, which are copied (`tables`).

use super::{MoveError, Progress, ends::End, tables::Side};
use crate::{
    port::EmbeddingSpace,
    postgres::{
        PostgresConfig,
        recall::{KEEP_WORDS, PostgresRecall},
        unindexed::KEEP_INDEXED,
        words,
    },
    rows::{
        fault::SqlFault,
        indexes::{vector_of, words_of},
        read::views::shown,
        row::{self, STORED_COLUMNS, Stored},
    },
    sql::{self, Connection},
};

/// Memories at once.
const SLICE_ROWS: u32 = 512;

/// What a server is given.
pub(super) struct Derived {
    recall: PostgresRecall,
    space: EmbeddingSpace,
}

impl Derived {
    /// For vectors of this space.
    pub(super) fn new(
        to: &End,
        server: &PostgresConfig,
        space: &EmbeddingSpace,
    ) -> Result<Self, MoveError> {
        let Side::Server { space: number, .. } = to.side else {
            return Err(sql::Error::Elsewhere.into());
        };
        Ok(Self { recall: PostgresRecall::new(server, space, number), space: space.clone() })
    }

    /// Gives what lacks, and takes what stands for nothing.
    pub(super) fn fill(&self, to: &End, tell: &mut dyn FnMut(Progress)) -> Result<(), MoveError> {
        let writer = to.writer()?;
        clear(writer)?;
        let (mut after, mut memories) = (0, 0);
        loop {
            let transaction = writer.begin()?;
            to.need_unfinished()?;
            let slice = lacking(writer, after)?;
            let Some(last) = slice.last() else { break };
            after = last.row;
            memories += slice.len() as u64;
            self.keep(writer, slice)?;
            transaction.commit()?;
            tell(Progress::Derived { memories });
        }
        Ok(())
    }

    fn keep(&self, writer: &Connection, slice: Vec<Stored>) -> Result<(), SqlFault> {
        let mut texts = writer.batch(KEEP_WORDS)?;
        let mut vectors = writer.batch(KEEP_INDEXED)?;
        for stored in slice {
            let row = stored.row;
            let record = shown(writer, stored)?.record;
            let (terms, impacts) = words::kept(&words_of(&record));
            texts.add((row, terms, impacts))?;
            if let Some(vector) = vector_of(&record, &self.space) {
                let (title, content) = (&record.title.value, &record.content.value);
                let text = row::text_sha256(title.as_str(), content.as_str());
                vectors.add((row, self.recall.space(), text, self.recall.written(&vector)?))?;
            }
        }
        texts.finish()?;
        Ok(vectors.finish()?)
    }

    /// Makes the index of vectors, which takes a while, unless it is there. Then has the server count what there is, so that the
    /// first statements of a node are planned for it.
    pub(super) fn index(&self, writer: &Connection) -> Result<(), SqlFault> {
        self.recall.make_index_of_many(writer)?;
        Ok(writer.as_postgres()?.batch("ANALYZE memories, texts, vectors, links")?)
    }
}

fn clear(writer: &Connection) -> Result<(), SqlFault> {
    let transaction = writer.begin()?;
    // What is shown of several records may have changed with any of them.
    for text in [
        "DELETE FROM texts WHERE row IN (SELECT row FROM memories WHERE life = 0 AND others > 0)",
        "DELETE FROM texts t WHERE NOT EXISTS
            (SELECT 1 FROM memories m WHERE m.row = t.row AND m.life = 0)",
    ] {
        writer.execute(text, [])?;
    }
    Ok(transaction.commit()?)
}

/// Live memories behind a row that have no words yet.
fn lacking(writer: &Connection, after: i64) -> Result<Vec<Stored>, SqlFault> {
    let text = format!(
        "SELECT {STORED_COLUMNS} FROM memories WHERE row > ?1 AND life = 0 AND NOT EXISTS
         (SELECT 1 FROM texts t WHERE t.row = memories.row) ORDER BY row LIMIT ?2"
    );
    let mut statement = writer.prepare_cached(&text)?;
    let mut rows = statement.query((after, SLICE_ROWS))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(row::stored(row)?);
    }
    Ok(found)
}
