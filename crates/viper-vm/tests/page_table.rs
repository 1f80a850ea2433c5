//! The page table against a map from pages to targets.

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use common::{Flushed, Frames, Memory};
use proptest::prelude::*;
use viper_vm::{
    BLOCK_SIZE, Frame, Invalidate, Mapped, MemType, PAGE_SIZE, PageRange, PageTable, Perms,
    PhysAddr, PhysMem, Space, Target, VirtAddr, VmError,
};

const KERNEL_BASE: u64 = 0xffff_ff80_0000_0000;

fn target(pa: u64, perms: Perms) -> Target {
    Target {
        pa: PhysAddr(pa),
        perms,
        mem_type: MemType::NormalWriteBack,
    }
}

fn pages(start: u64, len_pages: u64) -> PageRange {
    PageRange::new(VirtAddr(start), len_pages * PAGE_SIZE).unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    Map(u64, Target),
    Replace(u64, Target),
    Unmap(u64),
    Protect(u64, Perms),
    MapRange(u64, u64, Target),
    UnmapRange(u64, u64),
    ProtectRange(u64, u64, Perms),
}

fn perms() -> impl Strategy<Value = Perms> {
    prop_oneof![
        Just(Perms::Read),
        Just(Perms::ReadWrite),
        Just(Perms::ReadExecute)
    ]
}

fn any_target() -> impl Strategy<Value = Target> {
    let mem_type = prop_oneof![
        8 => Just(MemType::NormalWriteBack),
        1 => Just(MemType::NormalNonCacheable),
        1 => Just(MemType::DeviceNgnre),
    ];
    (
        prop_oneof![0..4u64, Just(512), Just(1024)],
        perms(),
        mem_type,
    )
        .prop_map(|(frame, perms, mem_type)| Target {
            pa: PhysAddr((4096 + frame) * PAGE_SIZE),
            perms,
            mem_type,
        })
}

/// Pages around the edges of tables, so that operations meet.
fn page() -> impl Strategy<Value = u64> {
    let edge = prop_oneof![
        Just(0u64),
        Just(512),
        Just(1024),
        Just(512 * 512),
        Just(512 * 512 * 512 - 1200)
    ];
    (edge, 0..6u64).prop_map(|(edge, near)| (edge + near).saturating_sub(2) * PAGE_SIZE)
}

fn op() -> impl Strategy<Value = Op> {
    let len = || prop_oneof![1..5u64, Just(512), 500..1100u64];
    prop_oneof![
        3 => (page(), any_target()).prop_map(|(va, target)| Op::Map(va, target)),
        2 => (page(), any_target()).prop_map(|(va, target)| Op::Replace(va, target)),
        2 => page().prop_map(Op::Unmap),
        1 => (page(), perms()).prop_map(|(va, perms)| Op::Protect(va, perms)),
        2 => (page(), len(), any_target()).prop_map(|(va, len, to)| Op::MapRange(va, len, to)),
        2 => (page(), len()).prop_map(|(va, len)| Op::UnmapRange(va, len)),
        1 => (page(), len(), perms()).prop_map(|(va, len, to)| Op::ProtectRange(va, len, to)),
    ]
}

type Model = BTreeMap<u64, Target>;

struct World {
    mem: Memory,
    frames: Frames,
    table: PageTable,
    base: u64,
    model: Model,
}

impl World {
    fn new(space: Space, limit: usize) -> Self {
        let (mut mem, mut frames) = (Memory::default(), Frames::new(limit));
        let table = PageTable::new(&mut mem, &mut frames, space).unwrap();
        let base = if space == Space::Kernel {
            KERNEL_BASE
        } else {
            0
        };
        Self {
            mem,
            frames,
            table,
            base,
            model: Model::new(),
        }
    }

    /// What each page of the model translates to, as found in the table.
    fn found(&self) -> Model {
        let mut found = Model::new();
        let all = PageRange::new(VirtAddr(self.base), (1 << 39) - PAGE_SIZE).unwrap();
        let end = self.table.walk(&self.mem, all, |leaf| {
            assert_eq!(leaf.va.0 % leaf.len_bytes, 0);
            for offset in (0..leaf.len_bytes).step_by(PAGE_SIZE as usize) {
                let pa = PhysAddr(leaf.target.pa.0 + offset);
                found.insert(leaf.va.0 + offset, Target { pa, ..leaf.target });
            }
            ControlFlow::Continue(())
        });
        assert_eq!(end, Ok(None));
        found
    }

    fn apply(&mut self, op: Op) {
        let before = self.model.clone();
        let mut tlb = Flushed::default();
        let result = self.try_apply(op.clone(), &mut tlb);
        if result.is_err() {
            self.model = before.clone();
        }
        let found = self.found();
        assert!(found == self.model, "{op:?} gave {result:?}");
        for (va, old) in &before {
            let loosened = self.model.get(va);
            let unchanged = loosened == Some(old);
            let block = va & !(BLOCK_SIZE - 1);
            let flushed = tlb.covers(*va)
                || tlb
                    .batched
                    .range(block..=block + (BLOCK_SIZE - 1))
                    .next()
                    .is_some();
            assert!(unchanged || flushed, "{op:?}: {va:#x} was changed silently");
            // A new address or type needs a completed invalidation in between.
            if let Some(new) = loosened
                && (new.pa, new.mem_type) != (old.pa, old.mem_type)
            {
                assert!(
                    tlb.now.contains(va),
                    "{op:?}: {va:#x} without break-before-make"
                );
            }
        }
    }

    fn try_apply(&mut self, op: Op, tlb: &mut Flushed) -> Result<(), VmError> {
        let Self {
            mem,
            frames,
            table,
            base,
            model,
        } = self;
        match op {
            Op::Map(va, to) => {
                let va = va + *base;
                let mapped = table.map(mem, frames, VirtAddr(va), to)?;
                let old = model.insert(va, to);
                assert!(old.is_none() || old == Some(to));
                assert_eq!(mapped == Mapped::Unchanged, old.is_some());
            }
            Op::Replace(va, to) => {
                let va = va + *base;
                let leaf = table.replace(mem, tlb, VirtAddr(va), to)?;
                assert_eq!(model.insert(va, to), Some(leaf.target));
            }
            Op::Unmap(va) => {
                let va = va + *base;
                let leaf = table.unmap(mem, tlb, VirtAddr(va))?;
                assert_eq!(model.remove(&va), Some(leaf.target));
            }
            Op::Protect(va, perms) => {
                let va = va + *base;
                table.protect(mem, tlb, VirtAddr(va), perms)?;
                model.get_mut(&va).unwrap().perms = perms;
            }
            Op::MapRange(va, len, to) => {
                let range = pages(va + *base, len);
                table.map_range(mem, frames, tlb, range, to)?;
                for page in 0..len {
                    let pa = PhysAddr(to.pa.0 + page * PAGE_SIZE);
                    let old = model.insert(va + *base + page * PAGE_SIZE, Target { pa, ..to });
                    assert!(old.is_none());
                }
            }
            Op::UnmapRange(va, len) => {
                let range = pages(va + *base, len);
                let mut bytes = 0;
                table.unmap_range(mem, frames, tlb, range, |leaf| bytes += leaf.len_bytes)?;
                let before = model.len();
                model.retain(|&va, _| !range.contains(VirtAddr(va)));
                assert_eq!(bytes, (before - model.len()) as u64 * PAGE_SIZE);
            }
            Op::ProtectRange(va, len, perms) => {
                let range = pages(va + *base, len);
                table.protect_range(mem, frames, tlb, range, perms)?;
                let range = range.start().0..range.end().0;
                model
                    .range_mut(range)
                    .for_each(|(_, target)| target.perms = perms);
            }
        }
        Ok(())
    }

    /// Destroys the table in small steps and expects all frames back.
    fn finish(mut self) {
        let mut teardown = self.table.destroy();
        let mut steps = 0;
        while !teardown.step(&self.mem, &mut self.frames, 10) {
            steps += 1;
            assert!(steps < 30_000);
        }
        assert!(self.frames.out.is_empty(), "tables leaked");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: ProptestConfig::default().cases / 4, ..Default::default()
    })]

    #[test]
    fn agrees_with_a_map(
        ops in prop::collection::vec(op(), 0..25),
        limit in 1..14usize,
        kernel in any::<bool>(),
    ) {
        let space = if kernel { Space::Kernel } else { Space::User };
        let mut world = World::new(space, limit);
        ops.into_iter().for_each(|op| world.apply(op));
        world.finish();
    }
}

/// With each possible number of free frames, a failing operation gives all of them back.
#[test]
fn exhaustion_leaks_nothing() {
    let run = |limit| {
        let mut world = World::new(Space::User, limit);
        let room = world.frames.left;
        let range = pages(BLOCK_SIZE - 2 * PAGE_SIZE, 1 + 2 + 512 * 3);
        let mut tlb = Flushed::default();
        let World {
            mem, frames, table, ..
        } = &mut world;
        let to = target(BLOCK_SIZE * 9 - 2 * PAGE_SIZE, Perms::ReadWrite);
        let result = table.map_range(mem, frames, &mut tlb, range, to);
        if result.is_err() {
            assert_eq!(frames.left, room);
            assert!(world.found().is_empty());
        }
        world.finish();
        result
    };
    assert!((1..4).all(|limit| run(limit) == Err(VmError::OutOfFrames)));
    // Root, level 2, pages before, pages after; three blocks need none.
    assert_eq!(run(4), Ok(()));
}

#[test]
fn single_pages_leak_nothing_either() {
    for limit in 1..4 {
        let mut world = World::new(Space::User, limit);
        let World {
            mem, frames, table, ..
        } = &mut world;
        let room = frames.left;
        let mapped = table.map(mem, frames, VirtAddr(0x1000), target(0x9000, Perms::Read));
        assert_eq!(mapped.is_ok(), limit == 3);
        assert_eq!(frames.left, if limit == 3 { 0 } else { room });
        world.finish();
    }
}

#[test]
fn large_ranges_use_blocks_that_split_when_cut() {
    let mut world = World::new(Space::User, 100);
    let mut tlb = Flushed::default();
    let World {
        mem, frames, table, ..
    } = &mut world;
    let range = pages(4 * BLOCK_SIZE, 512 * 4);
    let to = target(16 * BLOCK_SIZE, Perms::ReadWrite);
    table.map_range(mem, frames, &mut tlb, range, to).unwrap();
    assert_eq!(frames.out.len(), 2, "root and one table for all blocks");
    let leaf = table.lookup(mem, VirtAddr(5 * BLOCK_SIZE + 12345)).unwrap();
    assert_eq!((leaf.va.0, leaf.len_bytes), (5 * BLOCK_SIZE, BLOCK_SIZE));
    let at = |va| table.translate(mem, VirtAddr(va)).map(|pa| pa.0);
    assert_eq!(at(5 * BLOCK_SIZE + 12345), Some(17 * BLOCK_SIZE + 12345));
    assert_eq!(at(8 * BLOCK_SIZE), None);
    let inside = VirtAddr(5 * BLOCK_SIZE + PAGE_SIZE);
    assert_eq!(table.unmap(mem, &mut tlb, inside), Err(VmError::BadRange));
    let hole = pages(inside.0, 1);
    table
        .unmap_range(mem, frames, &mut tlb, hole, |_| {})
        .unwrap();
    assert!(
        tlb.now.contains(&inside.0),
        "a table took the block's place by break-before-make"
    );
    assert_eq!(frames.out.len(), 3);
    assert_eq!(table.translate(mem, inside), None);
    assert_eq!(
        table
            .lookup(mem, VirtAddr(inside.0 + PAGE_SIZE))
            .unwrap()
            .len_bytes,
        PAGE_SIZE
    );
    table
        .unmap_range(mem, frames, &mut tlb, pages(0, 512 * 512), |_| {})
        .unwrap();
    assert_eq!(frames.out.len(), 1, "only the root is left");
    world.finish();
}

#[test]
fn walks_can_pause() {
    let mut world = World::new(Space::User, 100);
    let World {
        mem, frames, table, ..
    } = &mut world;
    for page in [3, 4, 700] {
        table
            .map(
                mem,
                frames,
                VirtAddr(page * PAGE_SIZE),
                target(0, Perms::Read),
            )
            .unwrap();
    }
    let mut seen = Vec::new();
    let mut from = Some(VirtAddr(0));
    while let Some(start) = from {
        let range = PageRange::between(start, VirtAddr(1 << 30)).unwrap();
        from = table
            .walk(mem, range, |leaf| {
                seen.push(leaf.va.0 / PAGE_SIZE);
                ControlFlow::Break(())
            })
            .unwrap();
    }
    assert_eq!(seen, [3, 4, 700]);
}

#[test]
fn refuses_what_is_out_of_bounds() {
    let mut world = World::new(Space::User, 100);
    let mut tlb = Flushed::default();
    let World {
        mem, frames, table, ..
    } = &mut world;
    let to = target(0x1000, Perms::Read);
    for va in [1, 0xfff, 1 << 39, KERNEL_BASE, u64::MAX, u64::MAX << 12] {
        assert_eq!(
            table.map(mem, frames, VirtAddr(va), to),
            Err(VmError::BadRange),
            "{va:#x}"
        );
        assert_eq!(
            table.unmap(mem, &mut tlb, VirtAddr(va)),
            Err(VmError::BadRange)
        );
    }
    for va in [1 << 39, KERNEL_BASE, u64::MAX] {
        assert_eq!(table.translate(mem, VirtAddr(va)), None);
    }
    for pa in [1, 1 << 44, u64::MAX << 12] {
        let mapped = table.map(mem, frames, VirtAddr(0), target(pa, Perms::Read));
        assert_eq!(mapped, Err(VmError::BadRange));
    }
    let too_high = target((1 << 44) - PAGE_SIZE, Perms::Read);
    let mapped = table.map_range(mem, frames, &mut tlb, pages(0, 2), too_high);
    assert_eq!(mapped, Err(VmError::BadRange));
    let registers = Target {
        mem_type: MemType::DeviceNgnre,
        ..target(0, Perms::ReadExecute)
    };
    assert_eq!(
        table.map(mem, frames, VirtAddr(0), registers),
        Err(VmError::Refused)
    );
    let across = PageRange::new(VirtAddr((1 << 39) - PAGE_SIZE), 2 * PAGE_SIZE).unwrap();
    let unmapped = table.unmap_range(mem, frames, &mut tlb, across, |_| {});
    assert_eq!(unmapped, Err(VmError::BadRange));
    assert_eq!(frames.out.len(), 1);
}

#[test]
fn write_and_execute_exclude_each_other() {
    let all = [false, true];
    for (read, write, execute) in all
        .iter()
        .flat_map(|r| all.iter().flat_map(move |w| all.map(|x| (*r, *w, x))))
    {
        let perms = Perms::from_flags(read, write, execute);
        let none = (write && execute) || !(read || write || execute);
        assert_eq!(perms.is_none(), none);
        assert!(
            perms.is_none_or(|perms| {
                perms.can_write() == write && perms.can_execute() == execute
            })
        );
    }
}

#[test]
fn blocks_of_1_gib_built_by_others_are_respected() {
    let mut world = World::new(Space::Kernel, 100);
    let mut tlb = Flushed::default();
    let World {
        mem, frames, table, ..
    } = &mut world;
    let root = table.root();
    mem.write_u64(PhysAddr(root.addr().0 + 8), 0x4000_0705);
    let gib = KERNEL_BASE + (1 << 30);
    let leaf = table.lookup(mem, VirtAddr(gib + 5)).unwrap();
    assert_eq!(
        (leaf.va.0, leaf.len_bytes, leaf.target.pa.0),
        (gib, 1 << 30, 0x4000_0000)
    );
    let cut = pages(gib + PAGE_SIZE, 1);
    let unmapped = table.unmap_range(mem, frames, &mut tlb, cut, |_| {});
    assert_eq!(unmapped, Err(VmError::BadRange));
    table
        .unmap_range(mem, frames, &mut tlb, pages(gib, 1 << 18), |_| {})
        .unwrap();
    assert_eq!(table.lookup(mem, VirtAddr(gib + 5)), None);
    assert_eq!(Frame(0).addr(), PhysAddr(0));
}

/// Memory and translation caches behind one object.
#[derive(Default)]
struct Machine {
    mem: Memory,
    flushed: Vec<(u16, u64)>,
}

struct Asid(u16);

impl PhysMem for Machine {
    fn read_u64(&self, pa: PhysAddr) -> u64 {
        self.mem.read_u64(pa)
    }
    fn write_u64(&mut self, pa: PhysAddr, value: u64) {
        self.mem.write_u64(pa, value);
    }
    fn zero_frame(&mut self, frame: Frame) {
        self.mem.zero_frame(frame);
    }
    fn copy_frame(&mut self, dst: Frame, src: Frame) {
        self.mem.copy_frame(dst, src);
    }
}

impl Invalidate<Machine> for Asid {
    fn invalidate_in(&mut self, machine: &mut Machine, va: VirtAddr) {
        machine.flushed.push((self.0, va.0));
    }
    fn invalidate_now_in(&mut self, machine: &mut Machine, va: VirtAddr) {
        machine.flushed.push((self.0, va.0));
    }
}

#[test]
fn memory_and_translation_caches_may_be_one_object() {
    let (mut machine, mut frames) = (Machine::default(), Frames::new(10));
    let mut table = PageTable::new(&mut machine, &mut frames, Space::User).unwrap();
    let va = VirtAddr(0x5000);
    table
        .map(&mut machine, &mut frames, va, target(0x1000, Perms::Read))
        .unwrap();
    table
        .replace(
            &mut machine,
            &mut Asid(7),
            va,
            target(0x2000, Perms::ReadWrite),
        )
        .unwrap();
    assert_eq!(machine.flushed, [(7, 0x5000)]);
    let all = pages(0, 512);
    table
        .unmap_range(&mut machine, &mut frames, &mut Asid(7), all, |_| {})
        .unwrap();
    assert_eq!(frames.out.len(), 1);
}
