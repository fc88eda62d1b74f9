//! A switch played by this process: it takes frames from the device of each port and gives them to others, with what
//! the weather between two ports does to them.
//!
//! Kernels without `sch_netem` have nothing of the kind; and here what is done is counted, and drawn from a seed.
//!
//! Invariants: `SWI-1` (see `path`); `SWI-2` a frame goes to the port that its address was last seen at, and to all
//! while nobody knows; `SWI-3` what waits is bounded: a path holds frames for seconds at most.
//!
//! Not here: namespaces and addresses (`spaces`).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    io::{self, Read, Write},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use runtime::{
    clock::{self, Instant},
    task::{self, Shutdown},
};
use sim::workload::draw::Draw;
use tokio::{io::unix::AsyncFd, sync::Notify};

use super::path::{Counts, Path, Weather};

/// Bytes of a device address.
const ADDRESS_BYTES: usize = 6;
/// Longest frame.
const FRAME_BYTES: usize = 65_536;
/// Longest pause of the one that delivers, when nothing waits.
const IDLE: Duration = Duration::from_secs(1);
/// Frames that wait for their time, in all; later ones are lost.
const WAITING_MAX: usize = 65_536;

type Address = [u8; ADDRESS_BYTES];

/// A frame that waits: when it is due, its number, its port, its bytes.
type Waiting = Reverse<(u64, u64, usize, Vec<u8>)>;

struct State {
    draw: Draw,
    /// By source and destination.
    paths: BTreeMap<(usize, usize), Path>,
    known: BTreeMap<Address, usize>,
    waiting: BinaryHeap<Waiting>,
    numbered: u64,
}

struct Inner {
    begun: Instant,
    ports: Vec<AsyncFd<std::fs::File>>,
    state: Mutex<State>,
    /// Something waits that is due before everything else.
    sooner: Notify,
    stop: Shutdown,
}

/// A switch that works until it is dropped.
pub struct Switch(Arc<Inner>);

impl Drop for Switch {
    fn drop(&mut self) {
        self.0.stop.trigger();
    }
}

impl Switch {
    /// Begins to work between devices, which must not block.
    ///
    /// # Errors
    /// The system's, for a device that cannot be waited for.
    pub fn between(devices: Vec<OwnedFd>, seed: u64) -> io::Result<Self> {
        let ports = devices.into_iter().map(|fd| {
            // SAFETY: the file owns its descriptor, and nobody replaces or closes it while the switch has it.
            Ok(unsafe { AsyncFd::register(std::fs::File::from(fd)) }?)
        });
        let ports: io::Result<Vec<_>> = ports.collect();
        let ports = ports?;
        let places = 0..ports.len();
        let pairs = places.clone().flat_map(|from| places.clone().map(move |to| (from, to)));
        let state = State {
            draw: Draw::new(seed),
            paths: pairs.filter(|(from, to)| from != to).map(|p| (p, Path::default())).collect(),
            known: BTreeMap::new(),
            waiting: BinaryHeap::new(),
            numbered: 0,
        };
        let inner = Arc::new(Inner {
            begun: Instant::now(),
            ports,
            state: Mutex::new(state),
            sooner: Notify::new(),
            stop: Shutdown::new(),
        });
        for port in places {
            task::spawn_named("port", inner.clone().take(port));
        }
        task::spawn_named("switch", inner.clone().deliver());
        Ok(Self(inner))
    }

    /// Changes the weather on some paths, each from a port to another.
    pub fn set(&self, paths: &[(usize, usize)], weather: Weather) {
        let mut state = self.0.state.lock();
        for path in paths {
            if let Some(path) = state.paths.get_mut(path) {
                path.set(weather);
            }
        }
    }

    /// Fine weather everywhere.
    pub fn clear(&self) {
        for path in self.0.state.lock().paths.values_mut() {
            path.set(Weather::default());
        }
    }

    /// What was done so far on some paths, in all.
    pub fn counts(&self, paths: &[(usize, usize)]) -> Counts {
        let state = self.0.state.lock();
        let all = paths.iter().filter_map(|path| state.paths.get(path)).map(Path::counts);
        all.fold(Counts::default(), |sum, one| Counts {
            passed: sum.passed + one.passed,
            lost: sum.lost + one.lost,
            harmed: sum.harmed + one.harmed,
        })
    }
}

impl Inner {
    fn now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Takes what comes in at a port, until the switch stops or the device is gone.
    async fn take(self: Arc<Self>, port: usize) {
        let mut frame = vec![0; FRAME_BYTES];
        let stopped = self.stop.cancelled();
        tokio::pin!(stopped);
        loop {
            let ready = tokio::select! {
                ready = self.ports[port].readable() => ready,
                () = &mut stopped => return,
            };
            let Ok(mut ready) = ready else { return };
            match ready.try_io(|device| device.get_ref().read(&mut frame)) {
                Ok(Ok(length)) => self.came(port, &frame[..length]),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // A device goes with its namespace.
                Ok(Err(_)) => return,
                Err(_would_block) => {}
            }
        }
    }

    /// Sends a frame on, now or when it is due.
    fn came(&self, from: usize, frame: &[u8]) {
        let (Some(to), Some(own)) = (address(frame, 0), address(frame, ADDRESS_BYTES)) else {
            return;
        };
        let now_us = self.now_us();
        let mut state = self.state.lock();
        let State { draw, paths, known, waiting, numbered } = &mut *state;
        known.insert(own, from);
        let target = known.get(&to).copied();
        let earliest = waiting.peek().map(|Reverse((due_us, ..))| *due_us);
        let mut now = Vec::new();
        for ((_, to), path) in paths.range_mut((from, 0)..(from + 1, 0)) {
            // `SWI-2`
            if target.is_some_and(|target| target != *to) {
                continue;
            }
            for (due_us, frame) in path.take(frame, now_us, draw) {
                if due_us <= now_us {
                    now.push((*to, frame));
                } else if waiting.len() < WAITING_MAX {
                    *numbered += 1;
                    waiting.push(Reverse((due_us, *numbered, *to, frame)));
                }
            }
        }
        let next = waiting.peek().map(|Reverse((due_us, ..))| *due_us);
        drop(state);
        if next != earliest {
            self.sooner.notify_one();
        }
        for (to, frame) in now {
            self.send(to, &frame);
        }
    }

    fn send(&self, to: usize, frame: &[u8]) {
        // A full device loses frames, as a real one does.
        let _ = self.ports[to].get_ref().write(frame);
    }

    /// Takes what is due at `now_us`, each with its port; and when the next one is due.
    fn due(&self, now_us: u64) -> (Vec<(usize, Vec<u8>)>, Option<u64>) {
        let mut state = self.state.lock();
        let mut due = Vec::new();
        while let Some(Reverse((due_us, ..))) = state.waiting.peek() {
            if *due_us > now_us {
                return (due, Some(*due_us));
            }
            due.extend(state.waiting.pop().map(|Reverse((_, _, to, frame))| (to, frame)));
        }
        (due, None)
    }

    /// Gives away what is due, for as long as the switch works.
    async fn deliver(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            let now_us = self.now_us();
            let (due, next_us) = self.due(now_us);
            for (to, frame) in due {
                self.send(to, &frame);
            }
            let wait = next_us.map_or(IDLE, |due_us| Duration::from_micros(due_us - now_us));
            let _ = clock::timeout(wait.min(IDLE), self.sooner.notified()).await;
        }
    }
}

fn address(frame: &[u8], at: usize) -> Option<Address> {
    frame.get(at..at + ADDRESS_BYTES)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A switch of so many ports, and the other ends of their devices.
    fn switch(ports: usize) -> (Switch, Vec<tokio::net::UnixDatagram>) {
        let (mut devices, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..ports {
            let (device, end) = UnixDatagram::pair().unwrap();
            device.set_nonblocking(true).unwrap();
            end.set_nonblocking(true).unwrap();
            devices.push(OwnedFd::from(device));
            ends.push(tokio::net::UnixDatagram::from_std(end).unwrap());
        }
        (Switch::between(devices, 7).unwrap(), ends)
    }

    /// A frame from a port to another, whose addresses are their numbers, with a word.
    fn frame(from: u8, to: u8, word: u8) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[..6].fill(to);
        frame[6..12].fill(from);
        frame[12] = 8;
        frame[40] = word;
        frame
    }

    async fn comes(end: &tokio::net::UnixDatagram) -> u8 {
        let mut bytes = [0; 100];
        let length = clock::timeout(SOON, end.recv(&mut bytes)).await.unwrap().unwrap();
        assert_eq!(length, 60);
        bytes[40]
    }

    fn is_silent(end: &tokio::net::UnixDatagram) -> bool {
        end.try_recv(&mut [0; 100]).is_err()
    }

    #[tokio::test]
    async fn frames_go_where_their_addresses_were_seen() {
        let (_switch, ends) = switch(3);
        ends[0].send(&frame(0, 1, 5)).await.unwrap();
        assert_eq!(comes(&ends[1]).await, 5, "nobody knows who is where");
        assert_eq!(comes(&ends[2]).await, 5);
        ends[1].send(&frame(1, 0, 6)).await.unwrap();
        assert_eq!(comes(&ends[0]).await, 6);
        ends[0].send(&frame(0, 1, 7)).await.unwrap();
        assert_eq!(comes(&ends[1]).await, 7);
        assert!(is_silent(&ends[2]), "SWI-2");
    }

    #[tokio::test]
    async fn a_path_is_cut_in_one_direction_and_delayed_in_the_other() {
        let (switch, ends) = switch(2);
        switch.set(&[(0, 1)], Weather { cut: true, ..Weather::default() });
        switch.set(&[(1, 0)], Weather { delay_us: 30_000, ..Weather::default() });
        ends[0].send(&frame(0, 1, 5)).await.unwrap();
        let begun = Instant::now();
        ends[1].send(&frame(1, 0, 6)).await.unwrap();
        assert_eq!(comes(&ends[0]).await, 6);
        assert!(begun.elapsed() >= Duration::from_millis(30));
        assert!(is_silent(&ends[1]));
        assert_eq!(switch.counts(&[(0, 1), (1, 0)]), Counts { passed: 1, lost: 1, harmed: 1 });
        switch.clear();
        ends[0].send(&frame(0, 1, 8)).await.unwrap();
        assert_eq!(comes(&ends[1]).await, 8);
    }
}
