//! The simulated half of this crate, on the simulator itself.
//!
//! Compiled only with `--cfg madsim`; the simulator's own smoke test builds that world.

use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use madsim::runtime::{Handle, NodeHandle, Runtime};
use tokio::sync::oneshot;

use crate::clock::sim::ClockSim;
use crate::clock::{self, Instant};
use crate::disk::faulty::{Fault, FaultyDisk, When};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::{fatal, random, task, worker};

const SECOND: Duration = Duration::from_secs(1);

/// Runs a world: a runtime with our clocks.
fn world<F: Future>(seed: u64, body: impl FnOnce() -> F) -> F::Output {
    let mut runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    runtime.add_simulator::<ClockSim>();
    runtime.set_time_limit(Duration::from_secs(600));
    runtime.block_on(async move { body().await })
}

fn node() -> NodeHandle {
    Handle::current().create_node().build()
}

/// How long `future` takes on a node in true time.
async fn true_time<F>(node: &NodeHandle, future: F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    let before = ClockSim::current().true_elapsed();
    node.spawn(future).await.unwrap();
    ClockSim::current().true_elapsed() - before
}

fn near(found: Duration, expected: Duration) -> bool {
    found.abs_diff(expected) < Duration::from_millis(5)
}

#[test]
fn a_slow_clock_sleeps_long_and_a_fast_one_short() {
    world(1, || async {
        let (slow, fast) = (node(), node());
        ClockSim::current().set_rate_ppm(slow.id(), -500_000);
        ClockSim::current().set_rate_ppm(fast.id(), 1_000_000);
        let nap = || async { clock::sleep(4 * SECOND).await };
        assert!(near(true_time(&slow, nap()).await, 8 * SECOND));
        assert!(near(true_time(&fast, nap()).await, 2 * SECOND));
        let measured = fast
            .spawn(async {
                let start = Instant::now();
                madsim::time::sleep(3 * SECOND).await;
                start.elapsed()
            })
            .await
            .unwrap();
        assert!(near(measured, 6 * SECOND), "{measured:?}");
    });
}

#[test]
fn a_frozen_clock_holds_its_timers_until_it_thaws() {
    world(2, || async {
        let node = node();
        let clocks = ClockSim::current();
        clocks.freeze(node.id());
        let sleeper =
            node.spawn(async { clock::timeout(SECOND, std::future::pending::<()>()).await });
        madsim::time::sleep(20 * SECOND).await;
        assert!(!sleeper.is_finished());
        let stood = clocks.read_monotonic_ns(node.id());
        madsim::time::sleep(SECOND).await;
        assert_eq!(clocks.read_monotonic_ns(node.id()), stood);
        clocks.set_rate_ppm(node.id(), 0);
        assert_eq!(sleeper.await.unwrap(), Err(clock::Elapsed));
    });
}

#[test]
fn a_jump_forward_fires_what_is_due_and_a_wall_step_fires_nothing() {
    world(3, || async {
        let node = node();
        let clocks = ClockSim::current();
        let true_wall = || clocks.read_unix_ns(Handle::current().create_node().build().id());
        let sleeper = node.spawn(async { clock::sleep(100 * SECOND).await });
        clocks.step_wall_ns(node.id(), -3_600_000_000_000);
        let off = true_wall() - clocks.read_unix_ns(node.id());
        assert_eq!(off, 3_600_000_000_000);
        madsim::time::sleep(2 * SECOND).await;
        assert!(!sleeper.is_finished());
        clocks.jump_forward(node.id(), 100 * SECOND);
        madsim::time::sleep(2 * SECOND).await;
        assert!(sleeper.is_finished());
        clocks.heal(node.id());
        assert_eq!(clocks.read_unix_ns(node.id()), true_wall());
    });
}

#[test]
fn replies_wait_for_the_time_the_disk_owes() {
    world(4, || async {
        let node = node();
        let disk = FaultyDisk::new(4);
        disk.create_dir_all(Path::new("data")).unwrap();
        let slow = Fault::SyncSlow(Duration::from_millis(250));
        disk.inject(slow, When::PerMillion(1_000_000), "log");
        let took = true_time(&node, async move {
            let options = worker::WorkerOptions {
                name: "log",
                capacity_jobs: 8,
                max_batch: 8,
                disk: disk.shared(),
            };
            let file = disk.open_file(Path::new("data/log"), OpenMode::CreateNew).unwrap();
            let handler = move |jobs: &mut Vec<oneshot::Sender<()>>,
                                replies: &mut worker::Replies| {
                file.sync().unwrap();
                for job in jobs.drain(..) {
                    replies.send(job, ());
                }
            };
            let worker = worker::start(options, handler).unwrap();
            let start = Instant::now();
            let (reply, answer) = oneshot::channel();
            worker.send(reply).await.unwrap();
            answer.await.unwrap();
            assert!(start.elapsed() >= Duration::from_millis(250));
            worker.close().await;
        })
        .await;
        assert!(near(took, Duration::from_millis(250)), "{took:?}");
    });
}

#[test]
fn a_node_that_stops_itself_dies_alone_and_can_be_restarted() {
    world(5, || async {
        let disk = FaultyDisk::new(5);
        disk.create_dir_all(Path::new("data")).unwrap();
        let stops = Rc::new(RefCell::new(Vec::new()));
        fatal::sim::on_stop({
            let (disk, stops) = (disk.clone(), stops.clone());
            move |node, reason| {
                disk.crash_process();
                stops.borrow_mut().push((node, reason.to_owned()));
            }
        });
        let boots = Arc::new(AtomicU64::new(0));
        let beats = Arc::new(AtomicU64::new(0));
        let (in_boots, in_beats, in_disk) = (boots.clone(), beats.clone(), disk.clone());
        let node = Handle::current()
            .create_node()
            .init(move || {
                fatal::sim::contain(life(in_boots.clone(), in_beats.clone(), in_disk.clone()))
            })
            .build();
        let bystander = self::node().spawn(async { clock::sleep(30 * SECOND).await });
        clock_sleep_outside(5).await;
        assert_eq!(*stops.borrow(), [(node.id(), "the log is poisoned".to_owned())]);
        let beaten = beats.load(Ordering::SeqCst);
        assert!(beaten > 0);
        clock_sleep_outside(5).await;
        assert_eq!(beats.load(Ordering::SeqCst), beaten, "a dead node must not beat");
        Handle::current().restart(node.id());
        clock_sleep_outside(5).await;
        assert_eq!(boots.load(Ordering::SeqCst), 2);
        assert!(beats.load(Ordering::SeqCst) > beaten);
        bystander.await.unwrap();
    });
}

async fn clock_sleep_outside(seconds: u64) {
    madsim::time::sleep(Duration::from_secs(seconds)).await;
}

/// A node that beats in one task and, in its first life, stops itself in a worker after 2 s while
/// it holds a file whose destructor would write.
async fn life(boots: Arc<AtomicU64>, beats: Arc<AtomicU64>, disk: FaultyDisk) {
    struct WritesWhenDropped(crate::disk::faulty::FaultyFile);
    impl Drop for WritesWhenDropped {
        fn drop(&mut self) {
            assert!(self.0.write_at(0, b"late").is_err(), "the handle's boot is over");
        }
    }
    let first = boots.fetch_add(1, Ordering::SeqCst) == 0;
    task::spawn(async move {
        let mut ticker = clock::Ticker::new(Duration::from_millis(100));
        loop {
            ticker.tick().await;
            beats.fetch_add(1, Ordering::SeqCst);
        }
    });
    if first {
        let file = disk.open_file(Path::new("data/log"), OpenMode::OpenOrCreate).unwrap();
        let held = WritesWhenDropped(file);
        let options = worker::WorkerOptions {
            name: "log",
            capacity_jobs: 8,
            max_batch: 8,
            disk: disk.shared(),
        };
        let handler = move |_: &mut Vec<()>, _: &mut worker::Replies| -> worker::Next {
            let _held = &held;
            fatal::stop_node("the log is poisoned");
        };
        let worker = worker::start(options, handler).unwrap();
        clock::sleep(2 * SECOND).await;
        worker.send(()).await.unwrap();
    }
    std::future::pending::<()>().await;
}

#[test]
fn chance_of_every_kind_follows_the_seed() {
    super::install();
    // A thread of its own: identifier sequences are kept per thread.
    let draw = |seed| std::thread::spawn(move || world(seed, draw_of_each_kind)).join().unwrap();
    assert_eq!(draw(6), draw(6));
    assert_ne!(draw(6).0, draw(7).0);
    assert_ne!(draw(6).1, draw(7).1);
}

/// Random bytes by raw system call and through a crate, a number, an identifier, the time.
async fn draw_of_each_kind() -> ([u8; 16], u64, u64, uuid::Uuid, u64) {
    let draws = async {
        let mut raw = [0u8; 16];
        // SAFETY: a writable buffer of the length given.
        let got = unsafe { libc::syscall(libc::SYS_getrandom, raw.as_mut_ptr(), raw.len(), 0) };
        assert_eq!(got, 16);
        use rand::TryRngCore as _;
        let system = rand::rngs::OsRng.try_next_u64().unwrap();
        (raw, system, random::u64(), random::uuid_v7(1_000), clock::now_unix_ns())
    };
    node().spawn(draws).await.unwrap()
}

#[test]
fn identifiers_of_two_nodes_do_not_push_each_other() {
    world(8, || async {
        let (ahead, behind) = (node(), node());
        let late = ahead.spawn(async { random::uuid_v7(9_000) }).await.unwrap();
        let early = behind.spawn(async { random::uuid_v7(1_000) }).await.unwrap();
        assert_eq!(early.get_timestamp().unwrap().to_unix(), (1, 0));
        let later = ahead.spawn(async { random::uuid_v7(1_000) }).await.unwrap();
        assert!(later > late && early < late);
    });
}

#[test]
fn the_fingerprint_depends_on_what_was_noted_and_in_which_order() {
    let of = |events: &'static [(u64, u64)]| {
        std::thread::spawn(move || {
            events.iter().for_each(|(tag, a)| crate::trace::note(*tag, *a, 0));
            super::fingerprint()
        })
        .join()
        .unwrap()
    };
    assert_eq!(of(&[(1, 2), (3, 4)]), of(&[(1, 2), (3, 4)]));
    assert_ne!(of(&[(1, 2), (3, 4)]).hash, of(&[(3, 4), (1, 2)]).hash);
    assert_eq!(of(&[(1, 2), (3, 4)]).events, 2);
}
