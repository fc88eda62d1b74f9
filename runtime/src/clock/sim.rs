//! The simulator's clocks: one warped clock per node over the run's single true time.
//!
//! A node's monotonic clock is a line through an anchor, `local = anchor_local + elapsed * rate`,
//! re-anchored at every change so that it stays continuous unless it is made to jump. The wall
//! clock is the monotonic clock plus an offset.
//!
//! The world must call `runtime.add_simulator::<ClockSim>()` on madsim's runtime before it creates
//! the first node; reading any clock without it panics. Clocks belong to node ids and survive a
//! restart of the node, as a machine's clock does.
//!
//! Code that asks `std` for the time sees the true clock, unskewed; a lint keeps ours from it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, UNIX_EPOCH};

use madsim::plugin::Simulator;
use madsim::task::NodeId;
use madsim::time::TimeHandle;
use parking_lot::Mutex;

/// Parts per million that make up a rate of one.
const MILLION: i128 = 1_000_000;

/// A sleeper looks at its node's clock at least this often in true time, so that a jump or a new
/// rate takes effect on timers that already run.
const LONGEST_NAP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
struct Warp {
    /// True time of the last change, nanoseconds since the run began.
    anchor_true_ns: u64,
    /// What the node's monotonic clock showed then.
    anchor_local_ns: u64,
    /// Deviation of the node's second from a true one; -1,000,000 stands still.
    rate_ppm: i64,
    /// Wall clock minus what an undisturbed wall clock would show.
    wall_offset_ns: i64,
}

impl Default for Warp {
    fn default() -> Self {
        Warp { anchor_true_ns: 0, anchor_local_ns: super::START_NS, rate_ppm: 0, wall_offset_ns: 0 }
    }
}

impl Warp {
    fn local_ns(&self, true_ns: u64) -> u64 {
        let passed = i128::from(true_ns.saturating_sub(self.anchor_true_ns));
        let local = i128::from(self.anchor_local_ns)
            + passed
            + passed * i128::from(self.rate_ppm) / MILLION;
        u64::try_from(local).unwrap_or(0)
    }

    /// True time until `local` has passed on this clock; never zero.
    fn true_duration(&self, local: Duration) -> Duration {
        let pace = MILLION + i128::from(self.rate_ppm);
        if pace <= 0 {
            return LONGEST_NAP;
        }
        let ns = i128::from(super::nanos(local)) * MILLION / pace + 1;
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)).min(LONGEST_NAP)
    }

    fn re_anchor(&mut self, true_ns: u64) {
        self.anchor_local_ns = self.local_ns(true_ns);
        self.anchor_true_ns = true_ns;
    }
}

/// All clocks of one simulated run; a plugin of the simulator.
pub struct ClockSim {
    time: TimeHandle,
    /// What an undisturbed wall clock shows when the run begins.
    base_unix_ns: u64,
    warps: Mutex<BTreeMap<NodeId, Warp>>,
}

impl Simulator for ClockSim {
    fn new(_: &madsim::rand::GlobalRng, time: &TimeHandle, _: &madsim::Config) -> Self {
        let base_unix_ns = time.now_time().duration_since(UNIX_EPOCH).map_or(0, super::nanos);
        ClockSim { time: time.clone(), base_unix_ns, warps: Mutex::default() }
    }
}

impl ClockSim {
    /// The clocks of the run that the caller is in.
    pub fn current() -> Arc<ClockSim> {
        madsim::plugin::simulator::<ClockSim>()
    }

    /// Lets the node's clock run `rate_ppm` fast (positive) or slow, from now on. The monotonic
    /// clock stays continuous. Values below -1,000,000 count as that: a frozen clock.
    pub fn set_rate_ppm(&self, node: NodeId, rate_ppm: i64) {
        self.change(node, |warp| warp.rate_ppm = rate_ppm.max(-1_000_000));
    }

    /// Stops the node's clock; its timers no longer fire. `set_rate_ppm(node, 0)` thaws it.
    pub fn freeze(&self, node: NodeId) {
        self.set_rate_ppm(node, -1_000_000);
    }

    /// Sets how far the wall clock is off, in nanoseconds; timers are unaffected.
    pub fn set_wall_offset_ns(&self, node: NodeId, offset_ns: i64) {
        self.change(node, |warp| warp.wall_offset_ns = offset_ns);
    }

    /// Steps the wall clock by `step_ns` nanoseconds, as a time daemon would; timers are
    /// unaffected.
    pub fn step_wall_ns(&self, node: NodeId, step_ns: i64) {
        self.change(node, |warp| {
            warp.wall_offset_ns = warp.wall_offset_ns.saturating_add(step_ns);
        });
    }

    /// Jumps both clocks forward, as after the suspension of a virtual machine. Timers that are
    /// due then fire within a second.
    pub fn jump_forward(&self, node: NodeId, by: Duration) {
        self.change(node, |warp| {
            warp.anchor_local_ns = warp.anchor_local_ns.saturating_add(super::nanos(by));
        });
    }

    /// Makes every clock of the node right again; the monotonic clock keeps what it has gained.
    pub fn heal(&self, node: NodeId) {
        let true_ns = self.true_ns();
        let mut warps = self.warps.lock();
        let warp = warps.entry(node).or_default();
        warp.re_anchor(true_ns);
        warp.rate_ppm = 0;
        // The wall clock follows the monotonic one, so its gain or loss is taken out here.
        let gained = i128::from(warp.anchor_local_ns) - i128::from(super::START_NS + true_ns);
        warp.wall_offset_ns = i64::try_from(-gained).unwrap_or(0);
    }

    /// What the node's monotonic clock shows, in nanoseconds, seen from outside.
    pub fn read_monotonic_ns(&self, node: NodeId) -> u64 {
        self.warp_of(node).local_ns(self.true_ns())
    }

    /// What the node's wall clock shows, in nanoseconds since the Unix epoch, seen from outside.
    pub fn read_unix_ns(&self, node: NodeId) -> u64 {
        let warp = self.warp_of(node);
        let since_start = i128::from(warp.local_ns(self.true_ns())) - i128::from(super::START_NS);
        let wall = i128::from(self.base_unix_ns) + since_start + i128::from(warp.wall_offset_ns);
        u64::try_from(wall).unwrap_or(0)
    }

    /// True time since the run began.
    pub fn true_elapsed(&self) -> Duration {
        self.time.elapsed()
    }

    fn true_ns(&self) -> u64 {
        super::nanos(self.time.elapsed())
    }

    fn warp_of(&self, node: NodeId) -> Warp {
        self.warps.lock().get(&node).copied().unwrap_or_default()
    }

    fn change(&self, node: NodeId, alter: impl FnOnce(&mut Warp)) {
        let true_ns = self.true_ns();
        let mut warps = self.warps.lock();
        let warp = warps.entry(node).or_default();
        warp.re_anchor(true_ns);
        alter(warp);
    }
}

pub(super) fn monotonic_ns() -> u64 {
    ClockSim::current().read_monotonic_ns(madsim::plugin::node())
}

pub(super) fn unix_ns() -> u64 {
    ClockSim::current().read_unix_ns(madsim::plugin::node())
}

/// One timer of the simulator.
///
/// madsim's own sleep adds a timer at every poll; a deadline around a busy stream is polled
/// thousands of times. This one registers once and from then on only remembers the newest waker.
pub(super) struct Alarm {
    delay: Duration,
    rung: Option<Arc<Bell>>,
}

#[derive(Default)]
struct Bell(Mutex<BellState>);

#[derive(Default)]
struct BellState {
    rung: bool,
    sleeper: Option<Waker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let mut state = self.0.lock();
        state.rung = true;
        let sleeper = state.sleeper.take();
        drop(state);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }
}

impl Alarm {
    /// Rings after `delay` on the calling node's clock, or after [`LONGEST_NAP`] if that is
    /// sooner; the caller looks at the clock and naps again.
    pub(super) fn after(delay: Duration) -> Self {
        Alarm { delay, rung: None }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let bell = self.rung.get_or_insert_with(|| {
            let clock = ClockSim::current();
            let nap = clock.warp_of(madsim::plugin::node()).true_duration(self.delay);
            let bell = Arc::new(Bell::default());
            let waker = Waker::from(bell.clone());
            // The simulator's timer outlives its future and holds the waker: polling once is
            // what registers it. It never completes at once, its floor is one millisecond.
            let _ = pin!(clock.time.sleep(nap)).poll(&mut Context::from_waker(&waker));
            bell
        });
        let mut state = bell.0.lock();
        if state.rung {
            return Poll::Ready(());
        }
        state.sleeper = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(bell) = &self.rung {
            bell.0.lock().sleeper = None;
        }
    }
}
