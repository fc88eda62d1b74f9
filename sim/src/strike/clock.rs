//! Faults of clocks.
//!
//! Not here: what a clock is (`runtime::clock::sim`).

use std::time::Duration;

use runtime::clock::sim::ClockSim;

use super::Blow;
use crate::schedule::Kind;

const MINUTE_NS: i64 = 60_000_000_000;

pub(super) async fn carry_out(blow: &mut Blow) {
    let Some(voter) = blow.target().await else { return };
    let (clocks, node) = (ClockSim::current(), voter.id);
    let minutes = i64::try_from(1 + blow.draw.below(90)).unwrap_or(1);
    let sign = if blow.draw.percent(50) { 1 } else { -1 };
    // What peers stamp while their clock is ahead is refused by the others until the time has come; how much
    // that may be is far below the bound, so that two such clocks stay within it.
    let minutes = if blow.peers().is_some() && sign > 0 { 1 + minutes % 2 } else { minutes };
    let minutes = if blow.peers().is_some() && (3..10).contains(&minutes) { 2 } else { minutes };
    let fault = blow.begin(&[&voter.name]);
    match blow.strike.kind {
        Kind::ClockOffset => clocks.set_wall_offset_ns(node, sign * minutes * MINUTE_NS),
        Kind::ClockDrift => {
            let ppm = [1_000, 20_000, 40_000][blow.draw.place(3)];
            clocks.set_rate_ppm(node, sign * ppm);
        }
        Kind::ClockForward => {
            clocks.jump_forward(node, Duration::from_secs(1 + blow.draw.below(20)))
        }
        Kind::ClockBack => clocks.step_wall_ns(node, -minutes * MINUTE_NS),
        Kind::ClockFrozen => clocks.freeze(node),
        _ => {}
    }
    blow.last().await;
    match blow.strike.kind {
        Kind::ClockDrift | Kind::ClockFrozen => clocks.set_rate_ppm(node, 0),
        _ => clocks.heal(node),
    }
    blow.over(fault);
}
