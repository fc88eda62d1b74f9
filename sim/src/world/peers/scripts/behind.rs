//! Peers that find the others' logs cut: one that was away and off the list, and one that is new.
//!
//! A member that is merely away holds the logs of all others; behind a cut is who was taken off the list.
//!
//! Not here: what is forgotten when (`federation::engine`).

use std::time::Duration;

use runtime::clock::{self, Instant};

use super::{PATIENCE, Play, is_done};
use crate::{
    judge::history::{Answer, Done, Outcome},
    workload::peers::{Known, errands},
};

/// Time in which a changed list counts everywhere.
const RELOADED: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(250);

impl Play<'_> {
    /// Waits until these peers keep neither operations nor tombstones.
    async fn until_forgotten(&self, peers: &[u64]) {
        let end = Instant::now() + 2 * PATIENCE;
        for peer in peers {
            let host = self.host(*peer);
            loop {
                let figures = self.world.fleet.figures(&host).await.unwrap_or_default();
                let left = ["hivemem_log_operations", "hivemem_tombstones"]
                    .map(|name| figures.get(name).copied());
                if left == [Some(0), Some(0)] {
                    break;
                }
                assert!(Instant::now() < end, "p{peer} keeps operations, tombstones: {left:?}");
                clock::sleep(LOOK).await;
            }
        }
    }

    /// Waits until a peer does not show a memory.
    async fn until_gone(&mut self, peer: u64, known: &Known) {
        let end = Instant::now() + PATIENCE;
        loop {
            let read = errands::read_this(&mut self.client, Self::at(peer), &known.id).await;
            if let Outcome::Done(Done { answer: Answer::Memory { seen: None }, .. }) = read {
                return;
            }
            assert!(Instant::now() < end, "p{peer} still shows {}", known.id);
            clock::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Some memories, of which one is deleted and one is changed.
    async fn some_history(&mut self) -> (Known, Known) {
        let mut all = Vec::new();
        for number in 0..6 {
            all.push(self.stored(1 + number % 2, &format!("memory {number}")).await);
        }
        let (gone, kept) = (all.swap_remove(0), all.swap_remove(0));
        for known in [&gone, &kept] {
            self.until_shown(1, known).await;
        }
        (gone, kept)
    }

    async fn go_on(&mut self, gone: &Known, kept: &Known) {
        let deleted = errands::delete_this(&mut self.client, Self::at(1), gone).await;
        assert!(is_done(&deleted), "a majority is up: {deleted:?}");
        let changed = self.change(1, kept, "priority", Some("2")).await;
        assert!(is_done(&changed), "a majority is up: {changed:?}");
    }

    pub(super) async fn away_behind_the_cut(&mut self) {
        let (gone, kept) = self.some_history().await;
        for known in [&gone, &kept] {
            self.until_shown(3, known).await;
        }
        let away = self.host(3);
        away.hold();
        away.crash();
        let row = self.world.take_row("p3").expect("it is on the list");
        clock::sleep(RELOADED).await;
        self.go_on(&gone, &kept).await;
        let meanwhile = self.stored(2, "meanwhile").await;
        self.until_forgotten(&[1, 2]).await;
        self.world.put_row(row);
        clock::sleep(RELOADED).await;
        away.let_go();
        away.restart();
        self.until_shown(3, &meanwhile).await;
        self.until_gone(3, &gone).await;
        let back = self.stored(3, "back again").await;
        self.until_shown(1, &back).await;
    }

    pub(super) async fn new_behind_the_cut(&mut self) {
        let (gone, kept) = self.some_history().await;
        self.go_on(&gone, &kept).await;
        self.until_forgotten(&[1, 2, 3]).await;
        // That it comes to show the same as the others is what the run waits for.
        let new = self.world.join().await;
        let end = Instant::now() + PATIENCE;
        loop {
            let figures = self.world.fleet.figures(&new).await.unwrap_or_default();
            if figures.get("hivemem_memories") == Some(&5) {
                return;
            }
            assert!(Instant::now() < end, "{} has {:?}", new.name, figures.get("hivemem_memories"));
            clock::sleep(LOOK).await;
        }
    }
}
