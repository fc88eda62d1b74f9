//! How much clients ask, and of what.
//!
//! Invariant: everything is drawn from the stream given, and printed with the run.
//!
//! Not here: what each errand does.

use std::fmt;

use crate::workload::draw::Draw;

/// Weights of the errands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Locks: acquire, guarded writes, release.
    pub locks: u64,
    /// Policies as registers: put, get, compare-and-set.
    pub registers: u64,
    /// Rules and their version.
    pub rules: u64,
    /// Actions: propose, approve, reject, observe.
    pub actions: u64,
    /// Operators who take a lock away.
    pub force: u64,
    /// Reads of hot keys, and late writes under old fences.
    pub guarded: u64,
}

impl Mix {
    /// The sum of all weights.
    pub fn total(&self) -> u64 {
        self.locks + self.registers + self.rules + self.actions + self.force + self.guarded
    }
}

/// Everything that decides what clients do, beside what happens to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Seed of the clients' own streams.
    pub seed: u64,
    /// Concurrent clients.
    pub clients: u64,
    /// Agents who decide actions.
    pub operators: u64,
    /// Weights of the errands.
    pub mix: Mix,
    /// Longest pause between two errands, milliseconds.
    pub think_ms: u64,
    /// Longest time a lock is held, milliseconds.
    pub hold_ms: u64,
    /// Keys that are locked exclusively, each with a hot key of its own.
    pub exclusive_keys: u64,
    /// Keys that are locked shared or exclusively.
    pub shared_keys: u64,
    /// Semaphores of [`Load::permits`] each.
    pub semaphores: u64,
    /// Permits of a semaphore.
    pub permits: u32,
    /// Policies and rules that serve as registers.
    pub registers: u64,
    /// Time to live of a session, milliseconds, from and to.
    pub ttl_ms: (u64, u64),
    /// Longest rest of a lock after its session was lost, milliseconds.
    pub lock_delay_ms: u64,
    /// How long a client waits for a lock, milliseconds, from and to.
    pub wait_ms: (u64, u64),
    /// How long an action waits to be decided, milliseconds, from and to.
    pub action_ttl_ms: (u64, u64),
    /// Most actions that are proposed.
    pub actions_max: u64,
    /// Sessions of a hundred that are left to expire with all they hold.
    pub abandon_percent: u64,
    /// Requests of a hundred that name themselves, so that they can be asked again.
    pub named_percent: u64,
    /// Longest time for an answer, milliseconds; the client gives up a second later.
    pub answer_ms: u64,
}

impl Load {
    /// Draws a load.
    pub fn draw(draw: &mut Draw) -> Self {
        let pick = |draw: &mut Draw, of: [u64; 3]| of[draw.place(3)];
        Self {
            seed: draw.bits(),
            clients: draw.between((8, 16)),
            operators: draw.between((3, 5)),
            mix: Mix {
                locks: draw.between((30, 60)),
                registers: draw.between((20, 40)),
                rules: draw.between((5, 15)),
                actions: draw.between((5, 20)),
                force: draw.between((1, 4)),
                guarded: draw.between((3, 8)),
            },
            think_ms: pick(draw, [20, 60, 200]),
            hold_ms: pick(draw, [10, 60, 200]),
            exclusive_keys: draw.between((2, 5)),
            shared_keys: draw.between((1, 2)),
            semaphores: draw.between((1, 2)),
            permits: 3,
            registers: draw.between((2, 5)),
            ttl_ms: pick(draw, [1, 2, 4])
                .checked_mul(1000)
                .map_or((1000, 1000), |low| (low, 10_000)),
            lock_delay_ms: pick(draw, [0, 200, 1000]),
            wait_ms: (50, pick(draw, [1000, 3000, 6000])),
            action_ttl_ms: (500, 8000),
            actions_max: 400,
            abandon_percent: draw.between((2, 8)),
            named_percent: draw.between((30, 80)),
            // Short ones end while a leader is looked for.
            answer_ms: pick(draw, [2500, 6000, 6000]),
        }
    }

    /// The same with so many clients.
    #[must_use]
    pub fn with_clients(self, clients: u64) -> Self {
        Self { clients, ..self }
    }

    /// Names of the agents who decide actions.
    pub fn deciders(&self) -> impl Iterator<Item = String> {
        (0..self.operators).map(|n| format!("op{n}"))
    }

    /// The keys of hot memories, each guarded by the exclusive lock of the same number.
    pub fn hot_keys(&self) -> impl Iterator<Item = String> {
        (0..self.exclusive_keys).map(|n| format!("hot{n}"))
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_load_and_every_load_fits_the_root() {
        for seed in 0..200 {
            let load = Load::draw(&mut Draw::new(seed));
            assert_eq!(load, Load::draw(&mut Draw::new(seed)));
            assert!(load.ttl_ms.0 >= 1000 && load.ttl_ms.0 <= load.ttl_ms.1, "{load}");
            assert!(load.mix.total() > 0 && load.wait_ms.0 < load.wait_ms.1, "{load}");
        }
    }
}
