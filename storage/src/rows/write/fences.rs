//! The greatest fence of each guarded key.
//!
//! Invariant: `FNC-1` what is written under a key never goes back to an earlier holder: a smaller fence
//! is refused, also for a memory that is new.
//!
//! Not here: which keys guard what (the rules), and the fence of each memory (`change_memory`).

use types::{Reason, Reject};

use super::{
    group::{Done, Group, Terms},
    prepare::Indexed,
};
use crate::{
    answer::Applied,
    request::Intent,
    rows::row::{signed, unsigned},
    sql::OptionalExtension,
};

impl Group<'_> {
    /// Does an intent under its keys (`FNC-1`).
    pub(crate) fn guarded(
        &mut self,
        terms: &Terms,
        keys: Vec<String>,
        intent: Intent,
        indexed: Option<Box<Indexed>>,
    ) -> Done<Applied> {
        for key in &keys {
            let fence = self.key_fence(key)?;
            if terms.fence < fence && !terms.viewer.operator {
                let detail =
                    format!("this key was written under fence {fence}; take the lock again");
                return Err(Reject::new(Reason::FenceTooSmall, detail)
                    .with("current_fence", fence)
                    .into());
            }
        }
        let applied = self.intent(terms, intent, indexed)?;
        for key in keys {
            if terms.fence > self.key_fence(&key)? {
                self.overlay.set_key_fence(key, terms.fence);
            }
        }
        Ok(applied)
    }

    fn key_fence(&self, key: &str) -> crate::sql::Result<u64> {
        if let Some(fence) = self.overlay.key_fences.get(key) {
            return Ok(*fence);
        }
        let mut statement =
            self.connection.prepare_cached("SELECT fence FROM key_fences WHERE key = ?1")?;
        let fence: Option<i64> = statement.query_row([key], |row| row.get(0)).optional()?;
        Ok(fence.map_or(0, unsigned))
    }

    /// Writes the fences that grew.
    pub(crate) fn write_key_fences(&self) -> crate::sql::Result<()> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO key_fences (key, fence) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET fence = excluded.fence",
        )?;
        for (key, fence) in &self.overlay.key_fences {
            statement.execute((key, signed(*fence)))?;
        }
        Ok(())
    }
}
