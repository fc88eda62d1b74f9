//! Watching what other nodes write to the same database.
//!
//! It is looked for, not listened to: a pooler in transaction mode has no notifications.
//!
//! Invariant: nobody hears of a position that cannot be read yet.
//!
//! Not here: a file, which has one process.

use std::time::Duration;

use runtime::{
    clock,
    task::{self, JoinHandle},
};
use types::Reason;

use super::{
    fault::SqlFault,
    moves::Moves,
    pool::ReadPool,
    row::{signed, unsigned},
};
use crate::sql::Connection;

/// A task that looks from time to time, as long as this is kept.
pub(crate) struct Following(JoinHandle<()>);

impl Following {
    /// Begins; ends by itself when the store is closed.
    pub(crate) fn begin(pool: ReadPool, moves: Moves, period: Duration) -> Self {
        Self(task::spawn_named("store-follower", follow(pool, moves, period)))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn follow(pool: ReadPool, moves: Moves, period: Duration) {
    let mut known = *moves.position().borrow();
    loop {
        clock::sleep(period).await;
        match pool.read_newest("looking for changes", move |c| news(c, known)).await {
            Ok((position, changes_agents)) => {
                moves.to(position);
                if changes_agents {
                    moves.agents_changed();
                }
                known = position;
            }
            Err(error) if error.reason() == Reason::Stopping => return,
            Err(error) => tracing::debug!(%error, "cannot look for what others have written"),
        }
    }
}

/// The last position, and whether agents have changed since another one.
fn news(connection: &Connection, since: u64) -> Result<(u64, bool), SqlFault> {
    let text = "SELECT coalesce(max(sequence), 0) FROM signed_events";
    let last: i64 = connection.prepare_cached(text)?.query_row([], |row| row.get(0))?;
    if unsigned(last) == since {
        return Ok((since, false));
    }
    let changes_agents = connection
        .prepare_cached(
            "SELECT 1 FROM signed_events WHERE sequence > ?1 AND event_type = 'agent.change'",
        )?
        .exists([signed(since)])?;
    Ok((unsigned(last), changes_agents))
}
