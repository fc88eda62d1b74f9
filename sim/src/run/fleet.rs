//! What every run of several machines is made of: clients, a recorder, the storm and its end.
//!
//! Not here: what is run (`root`, `peers`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use madsim::runtime::{Handle, NodeHandle};
use runtime::{
    clock::{self, sim::ClockSim},
    task,
};

use crate::{
    judge::history::{Event, Invoke, Outcome, Request, What},
    schedule::Strike,
    strike::{self, World},
    workload::root::Recorder,
};

/// Longest time for everything after the faults, simulated.
pub(super) const LIMIT: Duration = Duration::from_secs(300);

/// What of a run is carried out.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only these, by their place in the schedule; all when there is no such list.
    pub only: Option<Vec<usize>>,
    /// So many clients instead of those that the seed decides.
    pub clients: Option<u64>,
    /// So many hours, where a run lasts for hours.
    pub hours: Option<u64>,
}

impl Choice {
    /// The strikes that are carried out.
    pub(super) fn apply(&self, strikes: Vec<Strike>) -> Vec<Strike> {
        let wanted = |at: usize| self.only.as_ref().is_none_or(|only| only.contains(&at));
        let numbered = strikes.into_iter().enumerate();
        numbered.filter(|(at, _)| wanted(*at)).map(|(_, strike)| strike).collect()
    }
}

/// So many machines for clients.
pub(super) fn client_machines(clients: u64) -> Vec<NodeHandle> {
    let machine = |number: u64| {
        let ip = [10, 0, 1, u8::try_from(number + 1).unwrap_or(u8::MAX)];
        Handle::current().create_node().name(format!("client-{number}")).ip(ip.into()).build()
    };
    (0..clients).map(machine).collect()
}

/// A recorder with the simulator's own clock.
pub(super) fn observer() -> Recorder {
    let clocks = ClockSim::current();
    Recorder::new(move || u64::try_from(clocks.true_elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// How often clients asked again what was unknown, and how often they asked while they were being
/// answered already.
pub(super) fn repetitions(events: &[Event]) -> [(String, u64); 2] {
    let (mut open, mut unknown): (BTreeMap<u64, Request>, BTreeSet<Request>) = Default::default();
    let (mut again, mut twice) = (0, 0);
    for event in events {
        match &event.what {
            What::Invoke(Invoke { op, request: Some(request), .. }) => {
                twice += u64::from(open.values().any(|other| other == request));
                again += u64::from(unknown.contains(request));
                open.insert(*op, *request);
            }
            What::Complete { op, outcome } => {
                let request = open.remove(op);
                if matches!(outcome, Outcome::Unknown { .. }) {
                    unknown.extend(request);
                }
            }
            _ => {}
        }
    }
    [("retry_of_unknown".to_owned(), again), ("duplicate_request".to_owned(), twice)]
}

/// Carries the schedule out, and heals.
pub(super) async fn storm(world: &World, strikes: &[Strike]) -> Result<(), String> {
    let running: Vec<_> = strikes
        .iter()
        .map(|strike| {
            let (world, strike) = (world.clone(), *strike);
            task::spawn(async move {
                clock::sleep(strike.at).await;
                strike::carry_out(world, strike).await;
            })
        })
        .collect();
    let last = strikes.iter().map(|strike| strike.at + strike.lasts).max().unwrap_or_default();
    let ended = clock::timeout(last + LIMIT, async {
        for strike in running {
            strike.await.map_err(|error| format!("a strike failed: {error}"))?;
        }
        Ok::<(), String>(())
    });
    ended.await.map_err(|_| format!("the faults were not over {LIMIT:?} after the last"))??;
    let healed = clock::timeout(LIMIT, world.heal()).await;
    healed.map_err(|_| format!("not everybody was up within {LIMIT:?}"))
}
