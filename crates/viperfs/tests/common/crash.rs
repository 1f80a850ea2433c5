//! Power cuts: record what a workload writes, then try what a cut could leave behind.
//!
//! Between two flushes a device may have done any subset of the writes, and one block may be
//! torn. Each state must check clean, mount, and show the volume exactly as it was after some
//! operation that was not before the last acknowledged sync: nothing acknowledged is missing,
//! nothing deleted is back, nothing is half done.

use super::common::{FAST, Model, Op, Rng, Snapshot, snapshot};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use viperfs::{
    BLOCK_SIZE, BlockDevice, CheckOptions, DeviceError, FormatOptions, Fs, MemoryDevice,
    MountOptions, Owner, ROOT_INO, RenameMode, Report, check, format,
};

type Data = Rc<[u8]>;

#[derive(Clone)]
enum Event {
    Write(u64, Data),
    Flush,
}

/// An image shared by many states, the blocks in which one differs, and what is written to it.
#[derive(Clone)]
struct Disk {
    base: Rc<Vec<u8>>,
    over: BTreeMap<u64, Data>,
    log: Rc<RefCell<Vec<Event>>>,
}

impl Disk {
    fn block(&self, block: u64) -> &[u8] {
        match self.over.get(&block) {
            Some(data) => data,
            None => &self.base[block as usize * BLOCK_SIZE..][..BLOCK_SIZE],
        }
    }

    fn state(base: &Rc<Vec<u8>>, over: BTreeMap<u64, Data>) -> Self {
        Self {
            base: base.clone(),
            over,
            log: Rc::default(),
        }
    }
}

impl BlockDevice for Disk {
    fn block_count(&self) -> u64 {
        (self.base.len() / BLOCK_SIZE) as u64
    }
    fn read(&mut self, block: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        for (i, out) in buf.chunks_mut(BLOCK_SIZE).enumerate() {
            out.copy_from_slice(self.block(block + i as u64));
        }
        Ok(())
    }
    fn write(&mut self, block: u64, buf: &[u8]) -> Result<(), DeviceError> {
        for (i, data) in buf.chunks(BLOCK_SIZE).enumerate() {
            let data: Data = data.into();
            self.over.insert(block + i as u64, data.clone());
            self.log
                .borrow_mut()
                .push(Event::Write(block + i as u64, data));
        }
        Ok(())
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.log.borrow_mut().push(Event::Flush);
        Ok(())
    }
}

/// Eight bytes a step; the states to tell apart are few, and not hostile.
#[derive(Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, n: u64) {
        let wide = u128::from(self.0 ^ n ^ 0x243F_6A88_85A3_08D3) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (wide as u64 ^ (wide >> 64) as u64).rotate_left(7);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

fn digest(s: &Snapshot) -> u64 {
    let mut hasher = Fold::default();
    for (path, shown) in s {
        (path, shown.kind, shown.nlink, shown.mode, &shown.content).hash(&mut hasher);
        shown.xattrs.hash(&mut hasher);
    }
    hasher.finish()
}

/// The volume after one operation of a workload.
struct Step {
    /// Events recorded when it returned.
    at: usize,
    digest: u64,
    /// It was a sync that succeeded.
    synced: bool,
    what: String,
}

/// What was tried.
#[derive(Default, Debug, Clone, Copy)]
pub struct Tally {
    pub workloads: u64,
    /// Of the sequences of two and three operations: how many were tried (from seed 0 on).
    pub sequences: u64,
    pub states: u64,
    pub torn: u64,
    pub in_recovery: u64,
    pub replayed: u64,
}

fn mount(disk: Disk) -> Fs<Disk> {
    let options = MountOptions {
        crc32c: FAST,
        ..MountOptions::default()
    };
    Fs::mount(disk, options).expect("mounts")
}

fn checked(disk: &mut Disk) -> Report {
    let options = CheckOptions {
        crc32c: FAST,
        ..CheckOptions::default()
    };
    check(disk, &options, |_| {})
}

/// A volume with something on it, unmounted.
fn base_image(rng: &mut Rng) -> (Rc<Vec<u8>>, Model) {
    let (blocks, journal) = [(256, 48), (512, 64), (1024, 200)][rng.below(3) as usize];
    let mut dev = MemoryDevice::new(blocks);
    let options = FormatOptions {
        uuid: *b"crash enumerator",
        journal_blocks: Some(journal),
        ..FormatOptions::default()
    };
    format(&mut dev, &options).unwrap();
    let mut fs = Fs::mount(dev, MountOptions::default()).unwrap();
    let mut model = Model::new();
    for op in [
        Op::Create(ROOT_INO, b"n0".to_vec(), 0o644),
        Op::Create(ROOT_INO, b"n1".to_vec(), 0o644),
        Op::Mkdir(ROOT_INO, b"n2".to_vec()),
        Op::Write(2, 0, vec![1; 10_000]),
        Op::Write(3, 5_000, vec![2; 5_000]),
    ] {
        model.apply(&mut fs, &op).unwrap();
    }
    // Enough items for a tree of several leaves, so that splits and merges are cut, too.
    for i in 10..30 {
        let name = format!("n{i}").into_bytes();
        model
            .apply(&mut fs, &Op::Create(ROOT_INO, name.clone(), 0o644))
            .unwrap();
        let ino = fs.lookup(ROOT_INO, &name).unwrap();
        model
            .apply(&mut fs, &Op::SetXattr(ino, name, vec![i as u8; 600]))
            .unwrap();
    }
    // A nearly full volume uses freed blocks again at once.
    if blocks == 256 && rng.below(4) == 0 {
        let room = fs.statfs().available_blocks.saturating_sub(24);
        model
            .apply(&mut fs, &Op::Create(ROOT_INO, b"filler".to_vec(), 0o644))
            .unwrap();
        let ino = fs.lookup(ROOT_INO, b"filler").unwrap();
        model
            .apply(
                &mut fs,
                &Op::Write(ino, 0, vec![5; room as usize * BLOCK_SIZE]),
            )
            .unwrap();
    }
    (Rc::new(fs.unmount().unwrap().into_bytes()), model)
}

/// Operations whose sequences are tried exhaustively. Inodes: 2 is `n0`, 3 is `n1`, 4 is `n2/`.
fn templates() -> Vec<Op> {
    let n = |s: &str| s.as_bytes().to_vec();
    vec![
        Op::Create(ROOT_INO, n("new"), 0o600),
        Op::Mkdir(4, n("sub")),
        Op::Symlink(ROOT_INO, n("sym"), vec![b't'; 1500]),
        Op::Link(2, 4, n("hard")),
        Op::Unlink(ROOT_INO, n("n0")),
        Op::Unlink(ROOT_INO, n("n1")),
        Op::Rmdir(ROOT_INO, n("n2")),
        Op::Rename(ROOT_INO, n("n0"), ROOT_INO, n("n1"), RenameMode::Replace),
        Op::Rename(ROOT_INO, n("n0"), 4, n("moved"), RenameMode::Replace),
        Op::Rename(ROOT_INO, n("n0"), ROOT_INO, n("n2"), RenameMode::Exchange),
        Op::Write(2, 0, vec![7; 4096]),
        Op::Write(2, 9_000, vec![8; 9_000]),
        Op::Write(3, 100, vec![9; 20]),
        Op::Truncate(2, 0),
        Op::Truncate(2, 5_000),
        Op::Truncate(3, 50_000),
        Op::Allocate(2, 6_000, 20_000, true),
        Op::Allocate(3, 0, 30_000, false),
        Op::Punch(2, 1_000, 8_000),
        Op::Write(3, 11_000, vec![6; 6_000]),
        Op::SetXattr(2, n("user.x"), vec![3; 900]),
        Op::RemoveXattr(2, n("user.x")),
        Op::Fsync(2),
        Op::Sync,
    ]
}

/// Workload number `seed`: the even ones are all sequences of two templates, then all of three,
/// each then synced; the odd ones are random.
fn workload(seed: u64, rng: &mut Rng, model: &Model, done: usize) -> Option<Op> {
    let all = templates();
    let n = all.len() as u64;
    let number = seed / 2;
    if seed.is_multiple_of(2) && number < n * n + n * n * n {
        let (len, code) = match number.checked_sub(n * n) {
            None => (2, number),
            Some(code) => (3, code),
        };
        return match done {
            0..3 if done < len => Some(all[(code / n.pow(done as u32) % n) as usize].clone()),
            _ if done == len => Some(Op::Sync),
            _ => None,
        };
    }
    // Some have few names, so that they meet; some delete much, so that the tree shrinks.
    let names = [6, 30][(seed / 2 % 2) as usize];
    (done < 16).then(|| match rng.below(8) {
        0 | 1 => Op::Sync,
        2 | 3 if names == 30 => {
            Op::Unlink(ROOT_INO, format!("n{}", 10 + rng.below(20)).into_bytes())
        }
        _ => model.random_op(rng, names, 9_000),
    })
}

/// Runs one workload and tries up to `limit` states of it.
pub fn run_workload(seed: u64, limit: u64, tally: &mut Tally) {
    let mut rng = Rng::new(seed + 1);
    let (base, mut model) = base_image(&mut rng);
    let disk = Disk::state(&base, BTreeMap::new());
    let log = disk.log.clone();
    let mut fs = mount(disk);
    let mut steps = vec![Step {
        at: 0,
        digest: digest(&model.snapshot()),
        synced: true,
        what: "start".into(),
    }];
    let mut done = 0;
    while let Some(op) = workload(seed, &mut rng, &model, done) {
        let result = model.apply(&mut fs, &op);
        steps.push(Step {
            at: log.borrow().len(),
            digest: digest(&model.snapshot()),
            synced: result.is_ok() && matches!(op, Op::Sync | Op::Fsync(_)),
            what: format!("{op:?}").chars().take(80).collect(),
        });
        done += 1;
    }
    assert_eq!(
        fs.counters().partial_commits,
        0,
        "workloads are meant to fit their journal"
    );
    drop(fs);
    tally.workloads += 1;
    let events = log.borrow().clone();
    let trial = Trial { seed, base, steps };
    trial.enumerate(&events, &mut rng, limit, tally);
}

struct Trial {
    seed: u64,
    base: Rc<Vec<u8>>,
    steps: Vec<Step>,
}

impl Trial {
    fn enumerate(&self, events: &[Event], rng: &mut Rng, limit: u64, tally: &mut Tally) {
        let stop = tally.states + limit;
        let mut settled = BTreeMap::new();
        let mut start = 0;
        for (i, event) in events.iter().enumerate() {
            if !matches!(event, Event::Flush) && i + 1 < events.len() {
                continue;
            }
            let epoch: Vec<(u64, Data)> = events[start..=i].iter().filter_map(write_of).collect();
            // Every prefix, the empty one included.
            let mut over = settled.clone();
            self.verify(over.clone(), start, i, rng, tally);
            for (n, (block, data)) in epoch.iter().enumerate() {
                let torn = tear(self.old(&over, *block), data, rng);
                let mut half = over.clone();
                half.insert(*block, torn);
                self.verify(half, start, i, rng, tally);
                tally.torn += 1;
                over.insert(*block, data.clone());
                self.verify(over.clone(), start + n + 1, i, rng, tally);
            }
            // Random subsets: writes that overtook others.
            for _ in 0..epoch.len().min(12) {
                let mut subset = settled.clone();
                for (block, data) in &epoch {
                    match rng.below(9) {
                        0..4 => {}
                        8 => {
                            let torn = tear(self.old(&subset, *block), data, rng);
                            subset.insert(*block, torn);
                        }
                        _ => {
                            subset.insert(*block, data.clone());
                        }
                    }
                }
                self.verify(subset, start, i, rng, tally);
            }
            settled = over;
            start = i + 1;
            if tally.states >= stop {
                return;
            }
        }
    }

    fn old<'a>(&'a self, over: &'a BTreeMap<u64, Data>, block: u64) -> &'a [u8] {
        match over.get(&block) {
            Some(data) => data,
            None => &self.base[block as usize * BLOCK_SIZE..][..BLOCK_SIZE],
        }
    }

    /// Checks one state, cut after event `from` at the earliest and `to` at the latest.
    fn verify(
        &self,
        over: BTreeMap<u64, Data>,
        from: usize,
        to: usize,
        rng: &mut Rng,
        tally: &mut Tally,
    ) {
        tally.states += 1;
        let acked = self
            .steps
            .iter()
            .rposition(|s| s.synced && s.at <= from)
            .unwrap_or(0);
        let begun = self
            .steps
            .iter()
            .rposition(|s| s.at <= to.max(from))
            .unwrap_or(0)
            + 1;
        let allowed = &self.steps[acked..=begun.min(self.steps.len() - 1)];
        let context = || {
            let all: Vec<&str> = self.steps.iter().map(|s| &s.what[..]).collect();
            format!("seed {} cut in {from}..={to} of {all:?}", self.seed)
        };
        let disk = Disk::state(&self.base, over.clone());
        self.recover(disk.clone(), allowed, &context, tally);
        if rng.below(8) == 0 {
            tally.in_recovery += 1;
            tally.states += 1;
            self.cut_recovery(disk, allowed, &context, rng, tally);
        }
    }

    fn recover(
        &self,
        mut disk: Disk,
        allowed: &[Step],
        context: &dyn Fn() -> String,
        tally: &mut Tally,
    ) -> Vec<Event> {
        let report = checked(&mut disk);
        assert!(report.is_clean(), "{}: {:?}", context(), report.problems);
        let mut fs = mount(disk);
        tally.replayed += u64::from(fs.counters().replayed > 0);
        let seen = digest(&snapshot(&mut fs).expect("reads"));
        assert!(
            allowed.iter().any(|s| s.digest == seen),
            "{}: state matches no operation in {:?}",
            context(),
            allowed.iter().map(|s| &s.what).collect::<Vec<_>>()
        );
        if tally.states.is_multiple_of(8) {
            fs.create(ROOT_INO, b"after", 0o644, Owner::default(), 1)
                .expect("can go on");
            let mut disk = fs.unmount().expect("unmounts");
            let report = checked(&mut disk);
            assert!(
                report.is_clean(),
                "{} after: {:?}",
                context(),
                report.problems
            );
            return disk.log.take();
        }
        fs.abandon().log.take()
    }

    /// A second power cut, while the first is being recovered from.
    fn cut_recovery(
        &self,
        disk: Disk,
        allowed: &[Step],
        context: &dyn Fn() -> String,
        rng: &mut Rng,
        tally: &mut Tally,
    ) {
        let fresh = Disk::state(&disk.base, disk.over.clone());
        let events = mount(fresh).abandon().log.take();
        let flushes = events.iter().filter(|e| matches!(e, Event::Flush)).count() as u64;
        let cut = rng.below(flushes + 1);
        let mut over = disk.over.clone();
        let mut epoch = 0;
        for event in &events {
            match event {
                Event::Flush => epoch += 1,
                Event::Write(block, data) => {
                    if epoch < cut || (epoch == cut && rng.below(2) == 0) {
                        over.insert(*block, data.clone());
                    }
                }
            }
        }
        self.recover(Disk::state(&disk.base, over), allowed, context, tally);
    }
}

fn write_of(event: &Event) -> Option<(u64, Data)> {
    match event {
        Event::Write(block, data) => Some((*block, data.clone())),
        Event::Flush => None,
    }
}

/// Some sectors of 512 bytes new, the others old.
fn tear(old: &[u8], new: &[u8], rng: &mut Rng) -> Data {
    let mut torn = old.to_vec();
    let mask = rng.next();
    for (i, sector) in torn.chunks_mut(512).enumerate() {
        if mask >> (i + 8) & 1 == 1 {
            sector.copy_from_slice(&new[i * 512..][..512]);
        }
    }
    torn.into()
}

/// Workloads from `first_seed` on until `states` states have been tried.
pub fn run(states: u64, first_seed: u64) -> Tally {
    let mut tally = Tally::default();
    for seed in first_seed.. {
        if tally.states >= states {
            break;
        }
        run_workload(seed, 400, &mut tally);
        tally.sequences = (seed / 2 + 1).min(sequences());
    }
    tally
}

/// All sequences of two and of three templates.
pub fn sequences() -> u64 {
    let n = templates().len() as u64;
    n * n + n * n * n
}
