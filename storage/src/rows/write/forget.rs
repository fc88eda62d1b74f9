//! Forgetting what every member has seen.
//!
//! Invariants: `FGT-1` the log is cut at its beginning, behind one position: everything up to it is stable, old
//! enough, and ends no later than a head that its origin has signed; only what a peer has refused is kept
//! on; `FGT-2` a tombstone goes when all operations in it are stable and the log does not reach back to it; with it go the
//! links and names of what it was; `FGT-3` one step looks at a bounded number of rows.
//!
//! Not here: what is stable (`federation`), audit rows, which stay.

use std::collections::BTreeMap;

use types::{Hlc, Reason};

use super::{
    group::{Done, Group},
    join::{forget_link, forget_memory},
};
use crate::{
    answer::Applied,
    rows::{
        fault::SqlFault,
        read::states::{log_begins, note_position},
        row::{self, signed, stored_columns, unsigned},
    },
    state::{Forget, Forgot},
};

/// Where the log may be cut.
#[derive(Debug, Default)]
struct Cut {
    position: u64,
    operations: u64,
    /// By number of origin: the last operation before the cut.
    last: BTreeMap<u32, u64>,
}

impl Group<'_> {
    /// Takes one step (`FGT-3`). Does nothing while an index is built from the log.
    pub(crate) fn forget(&mut self, forget: &Forget) -> Done<Applied> {
        if !self.may_forget {
            return Ok(Applied::Forgot(Forgot::default()));
        }
        let begins = log_begins(self.connection)?;
        let cut = self.find_cut(forget, begins)?;
        if cut.position > begins {
            self.cut(&cut)?;
        }
        let mut forgot = self.forget_tombstones(forget, begins.max(cut.position))?;
        forgot.operations = cut.operations;
        if cut.operations >= u64::from(forget.rows_max) {
            forgot.next = Some(forgot.next.unwrap_or(forget.after));
        }
        Ok(Applied::Forgot(forgot))
    }

    /// Up to where the log does not reach back: a log without operations reaches back to nothing, also not to what was
    /// taken as state behind its last one.
    fn reach(&self, begins: u64) -> Result<u64, SqlFault> {
        let has_more = !self.log.is_empty()
            || self
                .connection
                .prepare_cached("SELECT 1 FROM ops WHERE position > ?1 LIMIT 1")?
                .exists([signed(begins)])?;
        Ok(if has_more { begins } else { self.head.position })
    }

    fn find_cut(&self, forget: &Forget, begins: u64) -> Result<Cut, SqlFault> {
        let mut cut = Cut { position: begins, ..Cut::default() };
        let heads = self.last_heads(forget)?;
        let mut statement = self.connection.prepare_cached(
            "SELECT o.position, o.origin, o.seq, o.hlc FROM ops o
             WHERE o.position > ?1 ORDER BY o.position LIMIT ?2",
        )?;
        let mut rows = statement.query((signed(begins), forget.rows_max))?;
        while let Some(row) = rows.next()? {
            let (origin, seq): (u32, u64) = (row.get(1)?, unsigned(row.get(2)?));
            let hlc = Hlc::from_u64(unsigned(row.get(3)?));
            let may_go = heads.get(&origin).is_some_and(|head| seq <= *head);
            if !may_go || hlc.wall_ms() >= forget.before_ms {
                break;
            }
            cut.position = unsigned(row.get(0)?);
            cut.operations += 1;
            cut.last.insert(origin, seq);
        }
        Ok(cut)
    }

    /// By number of origin, up to where its feed may be cut.
    fn last_heads(&self, forget: &Forget) -> Result<BTreeMap<u32, u64>, SqlFault> {
        let mut statement = self.connection.prepare_cached(
            "SELECT f.origin, n.node, (SELECT max(h.seq) FROM feed_heads h
                WHERE h.origin = f.origin AND h.seq <= ?2)
             FROM feeds f JOIN nodes n ON n.id = f.origin WHERE n.node = ?1",
        )?;
        let mut heads = BTreeMap::new();
        for (origin, seq) in forget.stable.iter() {
            let found = statement.query_row((origin.as_bytes(), signed(seq)), |row| {
                Ok((row.get::<u32>(0)?, row.get::<Option<i64>>(2)?))
            });
            let (number, head) = match found {
                Err(crate::sql::Error::NoRow) => continue,
                found => found?,
            };
            let is_own = origin == self.head.own.origin;
            heads.insert(number, if is_own { seq } else { head.map_or(0, unsigned) });
        }
        Ok(heads)
    }

    fn cut(&mut self, cut: &Cut) -> Result<(), SqlFault> {
        self.connection
            .prepare_cached(
                "DELETE FROM ops WHERE position <= ?1 AND NOT EXISTS (SELECT 1 FROM dead_letters d
                 JOIN nodes n ON n.node = d.origin WHERE n.id = ops.origin AND d.seq = ops.seq)",
            )?
            .execute([signed(cut.position)])?;
        for (origin, last) in &cut.last {
            self.forget_hidden(*origin, *last)?;
        }
        note_position(self.connection, "log_begins", cut.position)?;
        Ok(())
    }

    /// Forgets the hashes of what was hidden up to here, but not that something was.
    fn forget_hidden(&self, origin: u32, last: u64) -> Result<(), SqlFault> {
        let bounds = (origin, signed(last));
        self.connection
            .prepare_cached(
                "UPDATE feeds SET unseen = max(unseen, h.last),
                    whole = CASE WHEN unseen = 0 THEN h.first - 1 ELSE min(whole, h.first - 1) END,
                    whole_hlc = CASE WHEN unseen = 0 OR h.first <= whole THEN h.after_hlc
                        ELSE whole_hlc END
                 FROM (SELECT min(u.seq) AS first, max(u.seq) AS last,
                        min(u.after_hlc) AS after_hlc FROM unheld u
                    WHERE u.origin = ?1 AND u.seq <= ?2 AND u.memory IS NULL) h
                 WHERE origin = ?1 AND h.last IS NOT NULL",
            )?
            .execute(bounds)?;
        self.connection
            .prepare_cached(
                "DELETE FROM unheld WHERE origin = ?1 AND seq <= ?2
                    AND (memory IS NULL OR reason = ?3)",
            )?
            .execute((origin, signed(last), Reason::NotFound.code()))?;
        self.connection
            .prepare_cached(
                "DELETE FROM feed_heads WHERE origin = ?1 AND seq < (SELECT max(h.seq)
                    FROM feed_heads h WHERE h.origin = ?1 AND h.seq <= ?2)",
            )?
            .execute(bounds)?;
        Ok(())
    }

    fn forget_tombstones(&mut self, forget: &Forget, begins: u64) -> Result<Forgot, SqlFault> {
        let reach = self.reach(begins)?;
        let mut forgot = Forgot::default();
        let (mut gone, mut seen) = (Vec::new(), 0);
        {
            let mut statement = self.connection.prepare_cached(concat!(
                "SELECT ",
                stored_columns!(),
                " FROM memories WHERE life = 2 AND position > ?1 AND position <= ?2
                 ORDER BY position LIMIT ?3"
            ))?;
            let bounds = (signed(forget.after), signed(reach), forget.rows_max);
            let mut rows = statement.query(bounds)?;
            while let Some(row) = rows.next()? {
                seen += 1;
                let stored = row::stored(row)?;
                forgot.next = Some(stored.position);
                let record = stored.record;
                let old =
                    record.deleted.is_some_and(|stamp| stamp.hlc.wall_ms() < forget.before_ms);
                if old && forget.stable.covers(&record.vector) {
                    gone.push(record.id);
                }
            }
        }
        if seen < forget.rows_max {
            forgot.next = None;
        }
        for id in &gone {
            forget_memory(self.connection, id.as_bytes().as_slice())?;
        }
        let links = self.removed_links(begins, forget.rows_max)?;
        for id in &links {
            forget_link(self.connection, id)?;
        }
        forgot.tombstones = (gone.len() + links.len()) as u64;
        Ok(forgot)
    }

    /// Links that were removed before the log begins: their removal is stable.
    fn removed_links(&self, begins: u64, rows_max: u32) -> Result<Vec<[u8; 16]>, SqlFault> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id FROM links WHERE removed = 1 AND position <= ?1 ORDER BY position LIMIT ?2",
        )?;
        let rows = statement.query_map((signed(begins), rows_max), |row| row.get(0))?;
        Ok(rows.collect::<crate::sql::Result<_>>()?)
    }
}
