//! Quotas of what other nodes made: charged as if it had been made here, refused, and taken later.

use types::{AgentId, Patch, Reason, Scope};

use super::{
    feeds::{live, log, peer, taking},
    world::*,
};
use crate::{
    answer::{Applied, QuotaUsage},
    port::{ReadStore, WriteStore},
    request::{Intent, QuotaLimits, WriteRequest},
    rows::RowStore,
    state::{Item, ItemKey, Visible},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const TWO_A_DAY: QuotaLimits =
    QuotaLimits { memories_per_day: Some(2), bytes_total: None, links_per_day: None };

async fn usage(store: &RowStore, agent: &str) -> QuotaUsage {
    let agent: AgentId = agent.parse().unwrap();
    store.quota(agent, "global".parse().unwrap(), NOW_MS).await.unwrap()
}

async fn under(
    store: &RowStore,
    limits: QuotaLimits,
    now_ms: u64,
    intents: Vec<Intent>,
) -> Vec<Applied> {
    let request =
        WriteRequest { quota: Some(limits), now_ms, atomic: true, ..request(&peer(), intents) };
    let receipt = store.write(request).await.unwrap();
    receipt.results.into_iter().map(|result| result.unwrap()).collect()
}

fn reasons(all: &[Applied]) -> Vec<Option<Reason>> {
    let of = |applied: &Applied| match applied {
        Applied::Refused(reject) => Some(reject.reason),
        _ => None,
    };
    all.iter().map(of).collect()
}

fn retitled(number: u128, title: &str) -> Intent {
    let patch = Patch { title: Some(title.parse().unwrap()), ..Patch::default() };
    Intent::Update { id: full(number), patch: Box::new(patch), expected_version: None }
}

#[tokio::test]
async fn what_others_made_is_charged_as_if_it_had_been_made_here() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [a, b] = folders.each_ref().map(|folder| open(folder.path()));
    live(&a).await;
    act(&a, &viewer("ann"), retitled(2, "a longer title than before")).await.unwrap();
    let feed: Vec<Intent> = log(folders[0].path()).iter().map(|bytes| taking(bytes)).collect();
    under(&b, QuotaLimits::default(), NOW_MS, feed.clone()).await;
    let used = usage(&a, "ann").await;
    assert_eq!((used.memories_today, used.links_today), (5, 1));
    assert_eq!(usage(&b, "ann").await, used, "QUO-1, QUO-3");
    // What is known is not charged again.
    under(&b, QuotaLimits::default(), NOW_MS, feed).await;
    assert_eq!(usage(&b, "ann").await, used);
}

#[tokio::test]
async fn what_a_quota_is_too_small_for_is_refused_and_taken_later() {
    let folders: [_; 4] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [a, b, c, d] = folders.each_ref().map(|folder| open(folder.path()));
    let ann = viewer("ann");
    for number in 1..=3 {
        put(&a, &ann, number, &format!("m{number}")).await;
    }
    act(&a, &ann, retitled(1, "another title")).await.unwrap();
    let feed: Vec<Intent> = log(folders[0].path()).iter().map(|bytes| taking(bytes)).collect();
    let expected = [None, None, Some(Reason::QuotaExceeded), None];
    let taken = under(&b, TWO_A_DAY, NOW_MS, feed.clone()).await;
    assert_eq!(reasons(&taken), expected, "it keeps no other out");
    let Applied::Refused(reject) = &taken[2] else { panic!("{taken:?}") };
    assert!(reject.fact("reset_at_ms").is_some() && reject.fact("limit") == Some("2"));
    assert_eq!(usage(&b, "ann").await.memories_today, 2, "QUO-2");
    // Not while the limit holds; once it is lifted.
    let again = under(&b, TWO_A_DAY, NOW_MS, feed[2..3].to_vec()).await;
    assert_eq!(reasons(&again), [Some(Reason::QuotaExceeded)]);
    let lifted = under(&b, QuotaLimits::default(), NOW_MS, feed[2..3].to_vec()).await;
    assert_eq!(reasons(&lifted), [None]);
    assert_eq!(usage(&b, "ann").await, usage(&a, "ann").await);
    // On the next day, whether the day before had room or nothing was known of it: it was counted then.
    under(&c, TWO_A_DAY, NOW_MS, feed.clone()).await;
    let next_day = under(&c, TWO_A_DAY, NOW_MS + DAY_MS, feed[2..3].to_vec()).await;
    assert_eq!(reasons(&next_day), [None], "QUO-3");
    let late = under(&d, TWO_A_DAY, NOW_MS + DAY_MS, feed.clone()).await;
    assert_eq!(reasons(&late), [None, None, None, None], "QUO-3");
    for store in [b, c, d] {
        assert_eq!(store.content_digest().await.unwrap(), a.content_digest().await.unwrap());
    }
}

#[tokio::test]
async fn bytes_are_given_back_by_a_deletion_from_elsewhere() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [a, b] = folders.each_ref().map(|folder| open(folder.path()));
    let ann = viewer("ann");
    put(&a, &ann, 1, "one").await;
    let bytes = usage(&a, "ann").await.bytes_total;
    let delete = Intent::Delete { id: full(1), reason: String::new(), expected_version: None };
    act(&a, &ann, delete).await.unwrap();
    put(&a, &ann, 2, "two").await;
    let feed = log(folders[0].path()).iter().map(|bytes| taking(bytes)).collect();
    let room_for_one = QuotaLimits { bytes_total: Some(bytes), ..QuotaLimits::default() };
    let taken = under(&b, room_for_one, NOW_MS, feed).await;
    assert_eq!(reasons(&taken), [None, None, None]);
    assert_eq!(usage(&b, "ann").await.bytes_total, bytes);
}

#[tokio::test]
async fn state_is_charged_too_and_what_was_refused_for_a_quota_may_come_as_state() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [a, b] = folders.each_ref().map(|folder| open(folder.path()));
    let ann = viewer("ann");
    for number in 1..=3 {
        let new = memory(&ann, number, &format!("m{number}"), Scope::Collective);
        act(&a, &ann, store_intent(new)).await.unwrap();
    }
    let feed: Vec<Intent> = log(folders[0].path()).iter().map(|bytes| taking(bytes)).collect();
    under(&b, TWO_A_DAY, NOW_MS, feed).await;
    let keys = vec![ItemKey::memory(id(2)), ItemKey::memory(id(3))];
    let (states, _) = a.states(keys, Visible::default(), u64::MAX).await.unwrap();
    let join: Vec<Intent> =
        states.into_iter().map(|item: Item| Intent::Join(Box::new(item))).collect();
    let joined = under(&b, TWO_A_DAY, NOW_MS, join.clone()).await;
    assert_eq!(reasons(&joined), [None, Some(Reason::QuotaExceeded)], "JOI-6");
    assert_eq!(usage(&b, "ann").await.memories_today, 2);
    let joined = under(&b, QuotaLimits::default(), NOW_MS, join.clone()).await;
    assert_eq!(joined, [Applied::Known, Applied::Other], "JOI-2");
    assert_eq!(usage(&b, "ann").await, usage(&a, "ann").await);
    // Dropping it gives its bytes back.
    let before = usage(&b, "ann").await.bytes_total;
    under(&b, TWO_A_DAY, NOW_MS, vec![Intent::Drop(ItemKey::memory(id(3)))]).await;
    assert!(usage(&b, "ann").await.bytes_total < before);
}
