//! Honest models: a disk in memory, a source of counted bytes, a network card, a
//! keyboard.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::device::Model;
use super::rings::Chain;

/// A disk in memory.
#[derive(Clone, Debug)]
pub struct FakeDisk {
    /// Its contents; the length is a multiple of 512.
    pub data: Vec<u8>,
    /// Whether it refuses writes, as a feature bit and in fact.
    pub is_read_only: bool,
    /// Bytes in a logical block.
    pub block_len: u32,
    /// Segments in a request at most.
    pub segments_max: u32,
    /// Answer requests for this sector with an error.
    pub bad_sector: Option<u64>,
    /// How many flushes were asked for.
    pub flushes: u32,
}

impl FakeDisk {
    /// A disk of zeroes with blocks of 512 bytes.
    #[must_use]
    pub fn new(sectors: usize) -> Self {
        Self {
            data: alloc::vec![0; sectors * 512],
            is_read_only: false,
            block_len: 512,
            segments_max: 128,
            bad_sector: None,
            flushes: 0,
        }
    }

    /// The answer to a request: data to return, or a status other than 0.
    fn answer(&mut self, kind: u32, sector: u64, data: &[u8], wanted: usize) -> Result<&[u8], u8> {
        let start = usize::try_from(sector)
            .ok()
            .and_then(|s| s.checked_mul(512))
            .ok_or(IO_ERROR)?;
        if self.bad_sector == Some(sector) {
            return Err(IO_ERROR);
        }
        match kind {
            0 if wanted.is_multiple_of(512) => {
                let end = start.checked_add(wanted).ok_or(IO_ERROR)?;
                self.data.get(start..end).ok_or(IO_ERROR)
            }
            1 if !self.is_read_only && data.len().is_multiple_of(512) => {
                let end = start.checked_add(data.len()).ok_or(IO_ERROR)?;
                self.data
                    .get_mut(start..end)
                    .ok_or(IO_ERROR)?
                    .copy_from_slice(data);
                Ok(&[])
            }
            4 => {
                self.flushes += 1;
                Ok(&[])
            }
            0 | 1 => Err(IO_ERROR),
            _ => Err(UNSUPPORTED),
        }
    }
}

impl Model for FakeDisk {
    const ID: u32 = 2;
    const QUEUES: u16 = 1;

    fn features(&self) -> u64 {
        // SEG_MAX, BLK_SIZE, FLUSH; RO if so.
        1 << 2 | 1 << 6 | 1 << 9 | u64::from(self.is_read_only) << 5
    }

    fn config(&self) -> Vec<u8> {
        let mut config = alloc::vec![0; 0x24];
        let mut put = |at: usize, bytes: &[u8]| {
            config.splice(at..at + bytes.len(), bytes.iter().copied());
        };
        put(0x00, &(self.data.len() as u64 / 512).to_le_bytes());
        put(0x0c, &self.segments_max.to_le_bytes());
        put(0x14, &self.block_len.to_le_bytes());
        config
    }

    fn handle(&mut self, _queue: u16, chain: &mut Chain) -> bool {
        let Some((header, data)) = chain.input.split_at_checked(16) else {
            return true;
        };
        let mut words = header.chunks_exact(8).map(|word| {
            word.iter()
                .rev()
                .fold(0, |value: u64, byte| value << 8 | u64::from(*byte))
        });
        let (kind, sector) = (words.next().unwrap_or(0) as u32, words.next().unwrap_or(0));
        let wanted = chain.room().saturating_sub(1);
        let answer = self.answer(kind, sector, data, wanted).map(<[u8]>::to_vec);
        match answer {
            Ok(data) => {
                chain.write(&data);
                chain.write(&[0]);
            }
            Err(status) => {
                chain.skip(wanted);
                chain.write(&[status]);
            }
        }
        true
    }
}

/// A source whose bytes count up: easy to recognise, and not random at all.
#[derive(Clone, Debug)]
pub struct FakeRng {
    /// The next byte.
    pub next: u8,
    /// Bytes in an answer at most.
    pub answer_len_max: usize,
}

impl Model for FakeRng {
    const ID: u32 = 4;
    const QUEUES: u16 = 1;

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> Vec<u8> {
        Vec::new()
    }

    fn handle(&mut self, _queue: u16, chain: &mut Chain) -> bool {
        for _ in 0..chain.room().min(self.answer_len_max) {
            chain.write(&[self.next]);
            self.next = self.next.wrapping_add(1);
        }
        true
    }
}

/// A network card: what it is sent piles up, what it receives comes from the test.
#[derive(Clone, Debug)]
pub struct FakeNet {
    /// Its address.
    pub mac: [u8; 6],
    /// The largest payload it announces.
    pub mtu: u16,
    /// Whether its link is up.
    pub is_link_up: bool,
    /// Frames to be received, each after its 12-byte virtio header.
    pub inbox: VecDeque<Vec<u8>>,
    /// Frames sent, each after its 12-byte virtio header.
    pub outbox: Vec<Vec<u8>>,
}

impl FakeNet {
    /// A card with a link and nothing on it.
    #[must_use]
    pub fn new(mac: [u8; 6]) -> Self {
        Self {
            mac,
            mtu: 1500,
            is_link_up: true,
            inbox: VecDeque::new(),
            outbox: Vec::new(),
        }
    }
}

impl Model for FakeNet {
    const ID: u32 = 1;
    const QUEUES: u16 = 2;

    fn features(&self) -> u64 {
        // CSUM, GUEST_CSUM, MTU, MAC, MRG_RXBUF, STATUS.
        1 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 15 | 1 << 16
    }

    fn config(&self) -> Vec<u8> {
        let mut config = self.mac.to_vec();
        config.extend(u16::from(self.is_link_up).to_le_bytes());
        config.extend(1u16.to_le_bytes());
        config.extend(self.mtu.to_le_bytes());
        config
    }

    fn handle(&mut self, queue: u16, chain: &mut Chain) -> bool {
        if queue == 1 {
            self.outbox.push(core::mem::take(&mut chain.input));
            return true;
        }
        let frame = self.inbox.pop_front();
        frame.iter().for_each(|frame| chain.write(frame));
        frame.is_some()
    }
}

/// A keyboard on which the test types.
#[derive(Clone, Debug, Default)]
pub struct FakeInput {
    /// Events to come: kind, code, value.
    pub events: VecDeque<(u16, u16, u32)>,
}

impl Model for FakeInput {
    const ID: u32 = 18;
    const QUEUES: u16 = 2;

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> Vec<u8> {
        // As if select 1, the name, had been asked for.
        let mut config = alloc::vec![1, 0, 4, 0, 0, 0, 0, 0];
        config.extend(b"keys");
        config
    }

    fn handle(&mut self, _queue: u16, chain: &mut Chain) -> bool {
        let Some((kind, code, value)) = self.events.pop_front() else {
            return false;
        };
        chain.write(&kind.to_le_bytes());
        chain.write(&code.to_le_bytes());
        chain.write(&value.to_le_bytes());
        true
    }
}

const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;
