//! What a bad wire does to the frames of one direction.

use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// What happens to frames, in per cent of them, and how long they take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    /// Frames that vanish.
    pub loss: f64,
    /// Frames that arrive twice.
    pub duplicate: f64,
    /// Frames of which one bit behind the Ethernet header changes.
    pub corrupt: f64,
    /// Frames that are held back until later ones have gone.
    pub reorder: f64,
    /// How long every frame takes.
    pub delay: Duration,
    /// By how much that varies.
    pub jitter: Duration,
}

/// What was done to the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames that the sender sent.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that vanished.
    pub lost: u64,
    /// Frames that were sent twice.
    pub duplicated: u64,
    /// Frames that were changed.
    pub corrupted: u64,
    /// Frames that were held back.
    pub reordered: u64,
    /// TCP segments with data that the sender had sent before.
    pub repeated: u64,
}

/// Numbers that are the same in every run with the same seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that begin at `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is not 0.
    pub const fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 33) as usize) % end
    }

    fn hits(&mut self, percent: f64) -> bool {
        percent > 0.0 && (self.next() >> 11) as f64 / (1_u64 << 53) as f64 * 100.0 < percent
    }
}

/// Frames on their way, and those that are due.
#[derive(Debug)]
pub struct Sky {
    weather: Weather,
    dice: Dice,
    waiting: BinaryHeap<Flying>,
    count: u64,
    /// What was done so far.
    pub tally: Tally,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    due: std::cmp::Reverse<(Instant, u64)>,
    frame: Vec<u8>,
}

impl Sky {
    /// Nothing on its way yet.
    pub fn new(weather: Weather, seed: u64) -> Self {
        Self {
            weather,
            dice: Dice::new(seed),
            waiting: BinaryHeap::new(),
            count: 0,
            tally: Tally::default(),
        }
    }

    /// Takes a frame that is sent at `now`.
    pub fn take(&mut self, now: Instant, mut frame: Vec<u8>) {
        self.tally.frames += 1;
        self.tally.bytes += frame.len() as u64;
        if self.dice.hits(self.weather.loss) {
            self.tally.lost += 1;
            return;
        }
        let is_checked = frame.len() > HEADER && frame[12..14] != ARP;
        if is_checked && self.dice.hits(self.weather.corrupt) {
            let at = HEADER + self.dice.below(frame.len() - HEADER);
            frame[at] ^= 1 << self.dice.below(8);
            self.tally.corrupted += 1;
        }
        if self.dice.hits(self.weather.duplicate) {
            self.tally.duplicated += 1;
            let due = now + self.time();
            self.put(due, frame.clone());
        }
        let mut due = now + self.time();
        if self.dice.hits(self.weather.reorder) {
            self.tally.reordered += 1;
            due += self.weather.delay.max(HELD_BACK);
        }
        self.put(due, frame);
    }

    /// A frame that is due at `now`.
    pub fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next()? > now {
            return None;
        }
        self.waiting.pop().map(|flying| flying.frame)
    }

    /// When the next frame is due.
    pub fn next(&self) -> Option<Instant> {
        self.waiting.peek().map(|flying| flying.due.0.0)
    }

    fn time(&mut self) -> Duration {
        let jitter = self.weather.jitter.as_micros() as usize;
        let extra = if jitter == 0 {
            0
        } else {
            self.dice.below(jitter)
        };
        self.weather.delay + Duration::from_micros(extra as u64)
    }

    fn put(&mut self, due: Instant, frame: Vec<u8>) {
        self.count += 1;
        let due = std::cmp::Reverse((due, self.count));
        self.waiting.push(Flying { due, frame });
    }
}

/// Messages that say who has which hardware address. They have no checksum of their own: only the
/// frame's keeps them right, which is before a card shows it to anybody.
const ARP: [u8; 2] = [8, 6];
/// The Ethernet header is never changed: a card throws away what is not for it.
const HEADER: usize = 14;
/// How long a frame is held back at least.
const HELD_BACK: Duration = Duration::from_millis(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn fly(weather: Weather, frames: usize) -> (Vec<Vec<u8>>, Tally) {
        let mut sky = Sky::new(weather, 7);
        let start = Instant::now();
        let mut out = Vec::new();
        for number in 0..frames {
            let now = start + Duration::from_micros(number as u64 * 100);
            let mut frame = vec![0; 60];
            frame[20..28].copy_from_slice(&number.to_le_bytes());
            sky.take(now, frame);
            while let Some(frame) = sky.due(now) {
                out.push(frame);
            }
        }
        while let Some(frame) = sky.due(start + Duration::from_secs(60)) {
            out.push(frame);
        }
        (out, sky.tally)
    }

    fn numbers(frames: &[Vec<u8>]) -> Vec<u64> {
        let number = |frame: &Vec<u8>| u64::from_le_bytes(frame[20..28].try_into().expect("8"));
        frames.iter().map(number).collect()
    }

    #[test]
    fn fair_weather_changes_nothing() {
        let (frames, tally) = fly(Weather::default(), 1000);
        assert_eq!(numbers(&frames), (0..1000).collect::<Vec<_>>());
        assert_eq!((tally.frames, tally.bytes, tally.lost), (1000, 60_000, 0));
    }

    #[test]
    fn every_kind_of_trouble_comes_about_as_often_as_asked() {
        let weather = Weather {
            loss: 10.0,
            duplicate: 5.0,
            corrupt: 5.0,
            reorder: 5.0,
            ..Weather::default()
        };
        let (frames, tally) = fly(weather, 10_000);
        assert!((900..1100).contains(&tally.lost), "{tally:?}");
        for count in [tally.duplicated, tally.corrupted, tally.reordered] {
            assert!((350..550).contains(&count), "{tally:?}");
        }
        let expected = 10_000 - tally.lost + tally.duplicated;
        assert_eq!(frames.len() as u64, expected);
        let plain = |frame: &&Vec<u8>| frame.iter().all(|byte| byte.count_ones() == 0);
        assert!(frames.iter().filter(plain).count() <= 1);
        let numbers = numbers(&frames);
        assert!(!numbers.is_sorted());
    }

    #[test]
    fn the_same_seed_makes_the_same_weather() {
        let weather = Weather {
            loss: 20.0,
            corrupt: 3.0,
            ..Weather::default()
        };
        assert_eq!(fly(weather, 500), fly(weather, 500));
    }

    #[test]
    fn delay_keeps_frames_back() {
        let weather = Weather {
            delay: Duration::from_millis(5),
            ..Weather::default()
        };
        let mut sky = Sky::new(weather, 1);
        let now = Instant::now();
        sky.take(now, vec![1; 20]);
        assert_eq!(sky.due(now), None);
        assert_eq!(sky.next(), Some(now + Duration::from_millis(5)));
        assert_eq!(sky.due(now + Duration::from_millis(5)), Some(vec![1; 20]));
    }
}
