//! What becomes of frames on their way from one port of the switch to another.
//!
//! Invariant: `SWI-1` what was done is counted, so that a fault can show that it took hold; only IPv4 frames count,
//! because the kernel sends others by itself.
//!
//! Not here: devices and time (`switch`).

use sim::workload::draw::Draw;

/// Bytes of an Ethernet header; its last two say what follows.
const HEADER_BYTES: usize = 14;
const IPV4: [u8; 2] = [8, 0];
/// The first byte that a flipped bit may hit: behind the headers of Ethernet and IP, so that the frame arrives and a
/// checksum must find it.
const PAYLOAD_AT: usize = 34;
/// Longest time for which frames wait for their turn on a slow path, microseconds; later ones are lost.
const QUEUE_US: u64 = 2_000_000;

/// What is done to frames; nothing by default. Of a thousand where it says `permille`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Nothing passes.
    pub cut: bool,
    /// Each frame takes this long, microseconds.
    pub delay_us: u64,
    /// And up to so much longer.
    pub jitter_us: u64,
    /// Frames that are lost.
    pub loss_permille: u64,
    /// Frames that come twice.
    pub duplicate_permille: u64,
    /// Frames that overtake those before them: they come without the delay.
    pub reorder_permille: u64,
    /// Frames of which one bit is flipped.
    pub corrupt_permille: u64,
    /// Most kilobits per second; 0 is no limit.
    pub rate_kbps: u64,
    /// Longer frames are lost; 0 is no limit.
    pub longest_bytes: usize,
}

/// What was done to IPv4 frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They went on, sooner or later.
    pub passed: u64,
    /// They were lost.
    pub lost: u64,
    /// They went on later than they came, twice, out of turn, or changed.
    pub harmed: u64,
}

/// One direction between two ports.
#[derive(Clone, Debug, Default)]
pub struct Path {
    weather: Weather,
    /// When the last frame is through, on a slow path.
    free_us: u64,
    counts: Counts,
}

impl Path {
    /// Changes what is done from now on.
    pub fn set(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a frame at `now_us`; what comes out, and when.
    pub fn take(&mut self, frame: &[u8], now_us: u64, draw: &mut Draw) -> Vec<(u64, Vec<u8>)> {
        let weather = self.weather;
        let due_us = self.due_us(frame, now_us, draw);
        let counted = frame.get(HEADER_BYTES - 2..HEADER_BYTES) == Some(&IPV4[..]);
        let Some(due_us) = due_us else {
            self.counts.lost += u64::from(counted);
            return Vec::new();
        };
        let mut frame = frame.to_vec();
        let corrupted = permille(draw, weather.corrupt_permille) && flip(&mut frame, draw);
        let doubled = permille(draw, weather.duplicate_permille);
        self.counts.passed += u64::from(counted);
        self.counts.harmed += u64::from(counted && (due_us > now_us || corrupted || doubled));
        match doubled {
            true => vec![(due_us, frame.clone()), (due_us, frame)],
            false => vec![(due_us, frame)],
        }
    }

    /// When a frame arrives; `None` if it is lost.
    fn due_us(&mut self, frame: &[u8], now_us: u64, draw: &mut Draw) -> Option<u64> {
        let weather = self.weather;
        let too_long = weather.longest_bytes > 0 && frame.len() > weather.longest_bytes;
        if weather.cut || too_long || permille(draw, weather.loss_permille) {
            return None;
        }
        if permille(draw, weather.reorder_permille) {
            return Some(now_us);
        }
        let mut due_us = now_us + weather.delay_us + draw.between((0, weather.jitter_us));
        if let Some(takes_us) = (frame.len() as u64 * 8000).checked_div(weather.rate_kbps) {
            let free_us = self.free_us.max(now_us) + takes_us;
            if free_us > now_us + QUEUE_US {
                return None;
            }
            self.free_us = free_us;
            due_us = due_us.max(free_us);
        }
        Some(due_us)
    }
}

fn permille(draw: &mut Draw, permille: u64) -> bool {
    // Nothing is drawn in fine weather, which most of it is.
    permille > 0 && draw.below(1000) < permille
}

/// Flips a bit of the payload; whether there was one.
fn flip(frame: &mut [u8], draw: &mut Draw) -> bool {
    let Some(payload) = frame.get_mut(PAYLOAD_AT..).filter(|payload| !payload.is_empty()) else {
        return false;
    };
    payload[draw.place(payload.len())] ^= 1 << draw.below(8);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 frame of so many bytes.
    fn frame(bytes: usize) -> Vec<u8> {
        let mut frame = vec![0; bytes];
        frame[HEADER_BYTES - 2..HEADER_BYTES].copy_from_slice(&IPV4);
        frame
    }

    fn sent(weather: Weather, frames: u64) -> (Vec<(u64, Vec<u8>)>, Counts) {
        let (mut path, mut draw) = (Path::default(), Draw::new(7));
        path.set(weather);
        let come = (0..frames).flat_map(|at| path.take(&frame(100), at, &mut draw)).collect();
        (come, path.counts())
    }

    #[test]
    fn in_fine_weather_everything_passes_at_once() {
        let (come, counts) = sent(Weather::default(), 3);
        assert_eq!(come, [(0, frame(100)), (1, frame(100)), (2, frame(100))]);
        assert_eq!(counts, Counts { passed: 3, ..Counts::default() });
    }

    #[test]
    fn what_is_done_is_counted() {
        let none = Weather::default();
        let (come, counts) = sent(Weather { cut: true, ..none }, 5);
        assert_eq!((come.len(), counts.lost), (0, 5), "SWI-1");
        let (come, counts) = sent(Weather { loss_permille: 300, ..none }, 1000);
        assert!((200..400).contains(&counts.lost), "{counts:?}");
        assert_eq!(come.len() as u64, counts.passed);
        let (come, counts) = sent(Weather { duplicate_permille: 200, ..none }, 1000);
        assert_eq!(come.len() as u64, 1000 + counts.harmed);
        assert!(counts.harmed > 100);
        let (come, counts) = sent(Weather { corrupt_permille: 1000, ..none }, 10);
        assert_eq!(counts.harmed, 10);
        for (_, frame) in come {
            let flipped: u32 = frame.iter().map(|byte| byte.count_ones()).sum();
            assert!(flipped == 2 || flipped == 0, "one bit beside the one of the header");
            assert_eq!(frame[..PAYLOAD_AT].iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        }
        let (come, counts) = sent(Weather { longest_bytes: 99, ..none }, 4);
        assert_eq!((come.len(), counts.lost), (0, 4));
    }

    #[test]
    fn time_passes_on_slow_paths_and_some_frames_overtake() {
        let none = Weather::default();
        let (come, counts) = sent(Weather { delay_us: 50, jitter_us: 10, ..none }, 100);
        for (at, (due_us, _)) in come.iter().enumerate() {
            let at = at as u64;
            assert!((at + 50..=at + 60).contains(due_us));
        }
        assert_eq!(counts.harmed, 100);
        // 100 bytes at 100 kbit/s take 8 ms.
        let (come, counts) = sent(Weather { rate_kbps: 100, ..none }, 300);
        assert_eq!(come[1].0 - come[0].0, 8000);
        assert_eq!(come.len(), 250, "two seconds of frames wait");
        assert_eq!(counts.lost, 50);
        let weather = Weather { delay_us: 1000, reorder_permille: 300, ..none };
        let (come, _) = sent(weather, 100);
        assert!(come.windows(2).any(|pair| pair[1].0 < pair[0].0));
    }

    #[test]
    fn what_the_kernel_sends_by_itself_is_not_counted() {
        let (mut path, mut draw) = (Path::default(), Draw::new(7));
        let mut neighbour = frame(60);
        neighbour[HEADER_BYTES - 2..HEADER_BYTES].copy_from_slice(&[8, 6]);
        assert_eq!(path.take(&neighbour, 0, &mut draw).len(), 1);
        assert_eq!(path.counts(), Counts::default());
    }
}
