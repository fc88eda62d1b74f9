//! Situations that are played step by step, instead of faults by chance.
//!
//! What clients ask and learn is recorded as in every run, so the judges hear it; what only the situation
//! itself can say, such as that a write must not be acknowledged, is asserted on the spot.
//!
//! Not here: agreeing and looking afterwards (`run::peers`).

mod behind;
mod refusals;

use std::{sync::Arc, time::Duration};

use runtime::{
    clock::{self, Instant, sim::ClockSim},
    task::Shutdown,
};

use super::PeersWorld;
use crate::{
    judge::history::{Answer, Done, Outcome},
    strike::peers::{DATA, files, put_back},
    workload::peers::{
        CLOSED, Client, Known, STRANGER, WRITER,
        errands::{self, New},
    },
    world::fleet::{
        Host,
        links::{Way, between},
    },
};

/// Number of the client that plays.
const PLAYER: u64 = 500;
/// Time for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// A memory is deleted while a peer is down.
    DeletedWhileDown,
    /// One title is stored on both sides of a partition, then changed, linked and deleted by either id.
    SameTitle,
    /// A priority is lowered, a tag taken away, an expiry shortened, and one peer does not hear of it.
    Stale,
    /// The peers refuse what an agent does.
    Refused,
    /// A peer loses its disk; then another one goes.
    Rejoiner,
    /// As many nodes as needed have a write, and all but one of them are lost.
    Exactly,
    /// Too few have a write; it is asked for again under its key.
    AskedAgain,
    /// A peer whose clock is an hour ahead.
    HourAhead,
    /// A peer that is put back to an old backup.
    Restored,
    /// A peer that may see more than before.
    Widened,
    /// A peer's quota is used up, then there is room again.
    BeyondQuota,
    /// A peer's rules forbid something, then they do not.
    AgainstPolicy,
    /// A peer is of another build, then it is upgraded.
    AnotherSchema,
    /// A peer that was off the list for so long that the others forgot what it missed.
    Away,
    /// A peer with an empty disk, after the others forgot how they came to what they have.
    New,
}

/// Who plays, and with whom.
struct Play<'w> {
    world: &'w Arc<PeersWorld>,
    client: Client,
}

/// Plays a situation; returns when nothing is wrong any more.
pub async fn play(world: &Arc<PeersWorld>, script: Script) {
    let ground = world.ground.get().expect("clients share something by now");
    let client = Client::new(ground, PLAYER, &Shutdown::new()).expect("every peer has an address");
    let mut play = Play { world, client };
    match script {
        Script::DeletedWhileDown => play.deleted_while_down().await,
        Script::SameTitle => play.same_title().await,
        Script::Stale => play.stale().await,
        Script::Refused => play.refused().await,
        Script::Rejoiner => play.rejoiner().await,
        Script::Exactly => play.exactly().await,
        Script::AskedAgain => play.asked_again().await,
        Script::HourAhead => play.hour_ahead().await,
        Script::Restored => play.restored().await,
        Script::Widened => play.widened().await,
        Script::BeyondQuota => play.beyond_quota().await,
        Script::AgainstPolicy => play.against_policy().await,
        Script::AnotherSchema => play.another_schema().await,
        Script::Away => play.away_behind_the_cut().await,
        Script::New => play.new_behind_the_cut().await,
    }
}

fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done(_))
}

impl Play<'_> {
    fn host(&self, number: u64) -> Arc<Host> {
        let mut hosts = self.world.fleet.all().into_iter();
        hosts.find(|host| host.number == number).expect("the peers of a script exist")
    }

    /// All ways between some peers and all others.
    fn cut_off(&self, numbers: &[u64]) -> Vec<Way> {
        let hosts = self.world.fleet.hosts();
        let (inside, outside): (Vec<_>, Vec<_>) =
            hosts.iter().partition(|host| numbers.contains(&host.number));
        let ids = |hosts: Vec<&Arc<Host>>| hosts.iter().map(|host| host.id).collect::<Vec<_>>();
        between(&ids(inside), &ids(outside))
    }

    /// Places of peers in the client's list begin at 0.
    fn at(number: u64) -> usize {
        usize::try_from(number - 1).unwrap_or(0)
    }

    async fn store(&mut self, peer: u64, author: &str, title: &str) -> (Outcome, Option<Known>) {
        self.store_in(peer, author, "open/a", title).await
    }

    async fn store_in(
        &mut self,
        peer: u64,
        author: &str,
        namespace: &str,
        title: &str,
    ) -> (Outcome, Option<Known>) {
        self.put(peer, author, namespace, title, false).await
    }

    async fn put(
        &mut self,
        peer: u64,
        author: &str,
        namespace: &str,
        title: &str,
        together: bool,
    ) -> (Outcome, Option<Known>) {
        let content = format!("{title} {:012x}", self.client.draw.bits() >> 16);
        let marked =
            if namespace == CLOSED.0 { format!("{} {content}", CLOSED.1) } else { content };
        let new = New {
            namespace,
            title: title.to_owned(),
            content: marked,
            tags: vec!["t0", "t1"],
            priority: 9,
            expires: "2094-01-01T00:00:00.000Z",
            together,
        };
        let (outcome, id) =
            errands::store_this(&mut self.client, Self::at(peer), author, &new).await;
        let known =
            id.map(|id| Known { id, namespace: namespace.to_owned(), author: author.to_owned() });
        (outcome, known)
    }

    /// A memory that a quorum has.
    async fn stored(&mut self, peer: u64, title: &str) -> Known {
        let (outcome, known) = self.store(peer, WRITER, title).await;
        known.unwrap_or_else(|| panic!("{title} was not stored: {outcome:?}"))
    }

    async fn change(&mut self, peer: u64, known: &Known, field: &str, to: Option<&str>) -> Outcome {
        let value = to.map(str::to_owned);
        errands::change_this(&mut self.client, Self::at(peer), known, field, value).await
    }

    /// Waits until a peer shows a memory.
    async fn until_shown(&mut self, peer: u64, known: &Known) {
        let end = Instant::now() + PATIENCE;
        loop {
            let read = errands::read_this(&mut self.client, Self::at(peer), &known.id).await;
            if let Outcome::Done(Done { answer: Answer::Memory { seen: Some(_) }, .. }) = read {
                return;
            }
            assert!(Instant::now() < end, "p{peer} does not show {}", known.id);
            clock::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn deleted_while_down(&mut self) {
        let known = self.stored(1, "to be deleted").await;
        self.until_shown(3, &known).await;
        let down = self.host(3);
        down.hold();
        down.crash();
        let deleted = errands::delete_this(&mut self.client, Self::at(1), &known).await;
        assert!(is_done(&deleted), "a majority is up: {deleted:?}");
        // Whoever is back tries to bring it back.
        self.host(2).crash();
        down.let_go();
        down.restart();
        self.change(3, &known, "content", Some("what the late one says")).await;
    }

    /// Two sides make one memory, once to be changed to the end and once to be deleted.
    async fn same_title(&mut self) {
        let ends = self.stored(2, "what is linked").await;
        let [kept, deleted] = [self.of_two_sides("kept").await, self.of_two_sides("deleted").await];
        for [one, other] in [&kept, &deleted] {
            self.changed(3, one, "content", &format!("{} by the one id", one.id)).await;
            self.changed(2, other, "content", &format!("{} by the other", one.id)).await;
            self.changed(1, one, "priority", "2").await;
            let link = errands::link_these(&mut self.client, Self::at(2), other, &ends).await;
            assert!(is_done(&link), "all are up: {link:?}");
        }
        self.change(2, &kept[1], "tag:t0", None).await;
        let [one, other] = &deleted;
        let gone = errands::delete_this(&mut self.client, Self::at(1), other).await;
        assert!(is_done(&gone), "all are up: {gone:?}");
        // It may not have heard of it.
        self.change(3, one, "content", Some("what the late one says")).await;
    }

    /// A memory that two sides made, under both of its ids, once all peers show it so.
    async fn of_two_sides(&mut self, title: &str) -> [Known; 2] {
        let ways = self.cut_off(&[1]);
        self.world.fleet.links.cut(&ways);
        let (alone, one) = self.put(1, WRITER, "open/a", title, true).await;
        assert!(!is_done(&alone) && one.is_none(), "one of three is no majority: {alone:?}");
        let (outcome, known) = self.put(2, WRITER, "open/a", title, true).await;
        let known = known.unwrap_or_else(|| panic!("two of three are one: {outcome:?}"));
        self.world.fleet.links.mend(&ways);
        let mut other = None;
        for peer in 1..=3 {
            other = Some(self.until_together(peer, &known).await);
        }
        [known.clone(), Known { id: other.expect("there are peers"), ..known }]
    }

    /// Waits until a peer shows a memory together with another; gives the id of that one.
    async fn until_together(&mut self, peer: u64, known: &Known) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let read = errands::read_this(&mut self.client, Self::at(peer), &known.id).await;
            if let Outcome::Done(Done { answer: Answer::Memory { seen: Some(seen) }, .. }) = read
                && let Some(other) = seen.ids().find(|id| *id != known.id)
            {
                return other.to_owned();
            }
            assert!(Instant::now() < end, "p{peer} shows {} by itself", known.id);
            clock::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Changes a memory while all are up.
    async fn changed(&mut self, peer: u64, known: &Known, field: &str, to: &str) {
        let changed = self.change(peer, known, field, Some(to)).await;
        assert!(is_done(&changed), "all are up: {changed:?}");
    }

    async fn stale(&mut self) {
        let known = self.stored(1, "stale").await;
        self.until_shown(3, &known).await;
        let ways = self.cut_off(&[3]);
        self.world.fleet.links.cut(&ways);
        let lower = [
            ("priority", Some("2")),
            ("tag:t0", None),
            ("expires", Some("2091-01-01T00:00:00.000Z")),
        ];
        for (field, value) in lower {
            let changed = self.change(1, &known, field, value).await;
            assert!(is_done(&changed), "two of three: {changed:?}");
        }
        // The stale one changes something else meanwhile, and reads.
        self.change(3, &known, "content", Some("what the stale one says")).await;
        errands::read_this(&mut self.client, Self::at(3), &known.id).await;
        self.world.fleet.links.mend(&ways);
    }

    async fn refused(&mut self) {
        let (outcome, _) = self.store(1, STRANGER, "from a stranger").await;
        assert!(!is_done(&outcome), "nobody takes it: {outcome:?}");
        // What follows it goes on.
        for peer in 1..=3 {
            self.stored(peer, "after the stranger").await;
        }
    }

    async fn rejoiner(&mut self) {
        let mut all = Vec::new();
        for number in 0..12 {
            all.push(self.stored(1 + number % 3, &format!("memory {number}")).await);
        }
        let deleted = errands::delete_this(&mut self.client, Self::at(2), &all[0]).await;
        assert!(is_done(&deleted), "everybody is up: {deleted:?}");
        self.world.lose(&self.host(3));
        self.world.join().await;
        // With one node less than needed for a majority to be lost, this must get through.
        self.stored(1, "after the loss").await;
    }

    async fn exactly(&mut self) {
        let ways = self.cut_off(&[4, 5]);
        self.world.fleet.links.cut(&ways);
        let (outcome, _) = self.store(1, WRITER, "exactly enough").await;
        match &outcome {
            Outcome::Done(Done { answer: Answer::Stored { acks, .. }, .. }) => {
                assert_eq!(*acks, 3, "all that can have it");
            }
            other => panic!("three of five are enough: {other:?}"),
        }
        // All but one of those that have it are lost, in the same moment.
        let survivor = 2 + self.client.draw.below(2);
        for number in (1..=3).filter(|number| *number != survivor) {
            self.world.lose(&self.host(number));
        }
        self.world.fleet.links.mend(&ways);
        self.world.join().await;
        self.world.join().await;
    }

    async fn asked_again(&mut self) {
        let ways = self.cut_off(&[1]);
        self.world.fleet.links.cut(&ways);
        let name = self.client.fresh_name();
        let new = New {
            namespace: "open/b",
            title: "asked again".to_owned(),
            content: "asked again under its key".to_owned(),
            tags: Vec::new(),
            priority: 5,
            expires: "2092-01-01T00:00:00.000Z",
            together: false,
        };
        let first = errands::store_named(&mut self.client, 0, WRITER, &new, &name).await;
        assert!(matches!(first, Outcome::Unknown { .. }), "one of three: {first:?}");
        self.world.fleet.links.mend(&ways);
        let end = Instant::now() + PATIENCE;
        loop {
            let again = errands::store_named(&mut self.client, 0, WRITER, &new, &name).await;
            if is_done(&again) {
                return;
            }
            assert!(Instant::now() < end, "it is never acknowledged: {again:?}");
        }
    }

    async fn hour_ahead(&mut self) {
        let known = self.stored(1, "before").await;
        self.until_shown(3, &known).await;
        let off = self.host(3);
        ClockSim::current().set_wall_offset_ns(off.id, 3_600_000_000_000);
        let (outcome, _) = self.store(3, WRITER, "an hour ahead").await;
        assert!(!is_done(&outcome), "nobody believes that clock: {outcome:?}");
        self.stored(1, "meanwhile").await;
        ClockSim::current().heal(off.id);
        // What the clock did must not cost the peer its voice.
        let end = Instant::now() + PATIENCE;
        loop {
            let (outcome, _) = self.store(3, WRITER, "after").await;
            if is_done(&outcome) {
                return;
            }
            assert!(Instant::now() < end, "the peer is never heard again: {outcome:?}");
        }
    }

    async fn restored(&mut self) {
        let host = self.host(3);
        for number in 0..4 {
            self.stored(3, &format!("before the backup {number}")).await;
        }
        host.hold();
        host.crash();
        let backup = files(&host, DATA.into());
        host.restart();
        for number in 0..4 {
            self.stored(3, &format!("after the backup {number}")).await;
        }
        // Nobody else keeps this, so with the backup it is gone; everybody knows that it was said.
        let (outcome, _) = self.store(3, STRANGER, "refused and lost").await;
        assert!(!is_done(&outcome), "nobody takes it: {outcome:?}");
        host.crash();
        put_back(&host, &backup);
        self.client.ground.set_back(&host.name);
        host.let_go();
        host.restart();
        for number in 0..4 {
            self.stored(3, &format!("after the restore {number}")).await;
        }
    }

    async fn widened(&mut self) {
        self.world.change_row("p3", |row| row.namespaces = vec!["open/**".to_owned()]);
        clock::sleep(Duration::from_secs(15)).await;
        for number in 0..4 {
            let title = format!("{} {number}", CLOSED.1);
            self.store_in(1, WRITER, CLOSED.0, &title).await;
            self.stored(2, &format!("open {number}")).await;
        }
        self.world.change_row("p3", |row| row.namespaces = vec!["**".to_owned()]);
        clock::sleep(Duration::from_secs(15)).await;
    }
}
