//! Random operations on a space and on a slow, plain model of it, compared after each one.
//!
//! `VIPER_CAP_OPS` sets the number of operations, `VIPER_CAP_SEED` the sequence.

use std::collections::{BTreeMap, HashSet};

use viper_cap::{CapError, CapSpace, Handle, Limits, MOVE_MAX, Parked, Rights, TableId};

type Object = u64;

/// A capability of the model. Its name never changes, its place may.
#[derive(Clone, Debug)]
struct Cap {
    parent: Option<u64>,
    object: Object,
    rights: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Table(TableId, Handle),
    Message(u64),
}

/// Everything is found by looking through everything.
#[derive(Default)]
struct Model {
    caps: BTreeMap<u64, Cap>,
    next_name: u64,
}

impl Model {
    fn at(&self, table: TableId, handle: Handle) -> Option<u64> {
        let wanted = Place::Table(table, handle);
        self.caps
            .iter()
            .find(|(_, cap)| cap.place == wanted)
            .map(|(&name, _)| name)
    }

    fn count(&self, table: TableId) -> usize {
        let here = |cap: &&Cap| matches!(cap.place, Place::Table(id, _) if id == table);
        self.caps.values().filter(here).count()
    }

    fn insert(&mut self, parent: Option<u64>, object: Object, rights: u32, place: Place) {
        self.caps.insert(
            self.next_name,
            Cap {
                parent,
                object,
                rights,
                place,
            },
        );
        self.next_name += 1;
    }

    fn remove(&mut self, name: u64) -> Object {
        let gone = self
            .caps
            .remove(&name)
            .expect("the model removes what it has");
        for cap in self
            .caps
            .values_mut()
            .filter(|cap| cap.parent == Some(name))
        {
            cap.parent = gone.parent;
        }
        gone.object
    }

    fn descends_from(&self, name: u64, ancestor: u64) -> bool {
        let mut at = self.caps[&name].parent;
        while let Some(parent) = at {
            if parent == ancestor {
                return true;
            }
            at = self.caps[&parent].parent;
        }
        false
    }

    fn descendants(&self, ancestor: u64) -> Vec<u64> {
        self.caps
            .keys()
            .copied()
            .filter(|&name| self.descends_from(name, ancestor))
            .collect()
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

struct Message {
    name: u64,
    parked: Parked,
    /// The model's names, also of caps that were revoked since.
    caps: Vec<u64>,
}

/// Both sides, and what can be named.
struct World {
    space: CapSpace<Object>,
    model: Model,
    random: Random,
    tables: Vec<TableId>,
    gone_tables: Vec<TableId>,
    messages: Vec<Message>,
    /// Handles that were valid once; each must never resolve again.
    stale: Vec<(TableId, Handle)>,
    issued: HashSet<(TableId, Handle)>,
    objects_made: u64,
}

const LIVE_MAX: u32 = 12;
const LIMITS: Limits = Limits {
    live_max: LIVE_MAX,
    slots_max: 40,
};

impl World {
    fn new(seed: u64) -> Self {
        Self {
            space: CapSpace::new().unwrap(),
            model: Model::default(),
            random: Random(seed | 1),
            tables: Vec::new(),
            gone_tables: Vec::new(),
            messages: Vec::new(),
            stale: Vec::new(),
            issued: HashSet::new(),
            objects_made: 0,
        }
    }

    fn step(&mut self) {
        if self.tables.len() < 2 {
            return self.create_table();
        }
        match self.random.below(100) {
            0..16 => self.insert_root(),
            16..36 => self.mint(),
            36..46 => self.transfer(),
            46..52 if self.messages.len() < 8 => self.park(),
            52..62 => self.end_message(),
            62..84 => self.close(),
            84..90 => self.revoke(),
            90..92 => self.create_table(),
            92 if self.random.below(64) == 0 => self.destroy_table(),
            _ => self.probe(),
        }
    }

    fn table(&mut self) -> TableId {
        let at = self.random.below(self.tables.len());
        self.tables[at]
    }

    /// Mostly a live capability; sometimes a stale or made-up handle.
    fn name(&mut self) -> (TableId, Handle) {
        match self.random.below(16) {
            0 => (self.table(), Handle::from_raw(self.random.next() as u32)),
            1 => (
                self.table(),
                Handle::from_raw(self.random.next() as u32 & 0x0300_000F),
            ),
            2 if !self.stale.is_empty() => self.stale[self.random.below(self.stale.len())],
            _ => self
                .live_name()
                .unwrap_or((self.tables[0], Handle::INVALID)),
        }
    }

    fn live_name(&mut self) -> Option<(TableId, Handle)> {
        let table = self.table();
        let handles: Vec<_> = self.space.table(table).unwrap().iter().collect();
        let (handle, _) = *handles.get(self.random.below(handles.len().max(1)))?;
        Some((table, handle))
    }

    /// A handle was issued: it must be a new one.
    fn note_issued(&mut self, table: TableId, handle: Handle) {
        assert_ne!(handle.raw(), 0);
        assert_ne!(handle, Handle::INVALID);
        assert!(
            self.issued.insert((table, handle)),
            "{handle:?} was issued before"
        );
    }

    fn note_stale(&mut self, table: TableId, handle: Handle) {
        match self.stale.len() {
            0..1000 => self.stale.push((table, handle)),
            _ => {
                let at = self.random.below(1000);
                self.stale[at] = (table, handle);
            }
        }
    }

    fn forget(&mut self, name: u64) -> Object {
        if let Place::Table(table, handle) = self.model.caps[&name].place {
            self.note_stale(table, handle);
        }
        self.model.remove(name)
    }

    fn is_full(&self, table: TableId, needed: usize) -> bool {
        self.model.count(table) + needed > LIVE_MAX as usize
    }

    /// A refusal for want of room: right if full, or if the slots are used up.
    fn accept_full(&self, table: TableId, needed: usize) {
        let held = self.space.table(table).unwrap();
        let spent = held.retired() + held.len() + needed > LIMITS.slots_max as usize;
        assert!(self.is_full(table, needed) || spent);
    }

    fn insert_root(&mut self) {
        let table = self.table();
        let rights = self.random.next() as u32;
        self.objects_made += 1;
        let object = self.objects_made;
        match self
            .space
            .insert_root(table, object, Rights::from_bits(rights))
        {
            Ok(handle) => {
                assert!(!self.is_full(table, 1));
                self.note_issued(table, handle);
                self.model
                    .insert(None, object, rights, Place::Table(table, handle));
            }
            Err(error) => {
                assert_eq!(error, CapError::TableFull);
                self.accept_full(table, 1);
            }
        }
    }

    fn mint(&mut self) {
        let (src, handle) = self.name();
        let dst = if self.random.below(2) == 0 {
            src
        } else {
            self.table()
        };
        let parent = self.model.at(src, handle);
        let held = parent.map_or(u32::MAX, |name| self.model.caps[&name].rights);
        let mask = self.random.next() as u32;
        let rights = if self.random.below(8) == 0 {
            mask
        } else {
            held & mask
        };
        let wanted = Rights::from_bits(rights);
        self.objects_made += 1;
        let mut object = self.objects_made;
        let how = self.random.below(4);
        let result = match how {
            0 => self.space.mint(src, handle, dst, object, wanted),
            1 => self.space.insert_under(src, handle, dst, object, wanted),
            _ => {
                object = parent.map_or(0, |name| self.model.caps[&name].object);
                self.space.copy(src, handle, dst, wanted)
            }
        };
        let is_allowed = how == 1 || rights & !held == 0;
        match result {
            Ok(new) => {
                assert!(parent.is_some() && is_allowed && !self.is_full(dst, 1));
                self.note_issued(dst, new);
                self.model
                    .insert(parent, object, rights, Place::Table(dst, new));
            }
            Err(CapError::BadTable) => assert!(self.gone_tables.contains(&src)),
            Err(CapError::BadHandle) => assert!(parent.is_none()),
            Err(CapError::RightsExceeded) => assert!(!is_allowed),
            Err(error) => {
                assert_eq!(error, CapError::TableFull);
                self.accept_full(dst, 1);
            }
        }
    }

    /// Handles to move out of one table, now and then with a fault among them.
    fn handles_to_move(&mut self) -> (TableId, Vec<Handle>) {
        let (src, first) = self.name();
        let mut handles = vec![first];
        while self.random.below(3) > 0 && handles.len() <= MOVE_MAX {
            let live = self
                .space
                .table(src)
                .map(|table| table.iter().map(|(h, _)| h).collect());
            let live: Vec<Handle> = live.unwrap_or_default();
            let at = self.random.below(live.len().max(1));
            let more = live.get(at).copied().unwrap_or(Handle::INVALID);
            if self.random.below(8) == 0 || !handles.contains(&more) {
                handles.push(more);
            }
        }
        (src, handles)
    }

    fn check_refused(&self, src: TableId, handles: &[Handle], error: CapError) {
        let distinct: HashSet<_> = handles.iter().collect();
        match error {
            CapError::TooManyHandles => assert!(handles.len() > MOVE_MAX),
            CapError::DuplicateHandle => assert!(distinct.len() < handles.len()),
            CapError::BadHandle => {
                assert!(
                    handles
                        .iter()
                        .any(|&handle| self.model.at(src, handle).is_none())
                );
            }
            CapError::BadTable => assert!(self.gone_tables.contains(&src)),
            _ => panic!("{error}"),
        }
    }

    fn transfer(&mut self) {
        let (src, handles) = self.handles_to_move();
        let dst = self.table();
        match self.space.transfer_many(src, &handles, dst) {
            Ok(moved) => {
                let names: Vec<_> = handles.iter().map(|&h| self.model.at(src, h)).collect();
                for (at, name) in names.into_iter().enumerate() {
                    self.note_stale(src, handles[at]);
                    self.note_issued(dst, moved[at]);
                    let cap = self.model.caps.get_mut(&name.expect("it moved")).unwrap();
                    cap.place = Place::Table(dst, moved[at]);
                }
                assert!(moved[handles.len()..].iter().all(|&h| h == Handle::INVALID));
            }
            Err(CapError::TableFull) => self.accept_full(dst, handles.len()),
            Err(error) => self.check_refused(src, &handles, error),
        }
    }

    fn park(&mut self) {
        let (src, handles) = self.handles_to_move();
        match self.space.park(src, &handles) {
            Ok(parked) => {
                let name = self.model.next_name;
                self.model.next_name += 1;
                let mut caps = Vec::new();
                for &handle in &handles {
                    let cap = self.model.at(src, handle).expect("it moved");
                    self.note_stale(src, handle);
                    self.model.caps.get_mut(&cap).unwrap().place = Place::Message(name);
                    caps.push(cap);
                }
                self.messages.push(Message { name, parked, caps });
            }
            Err(error) => self.check_refused(src, &handles, error),
        }
    }

    fn end_message(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        let at = self.random.below(self.messages.len());
        let mut message = self.messages.swap_remove(at);
        self.check_message(&message);
        let Message { name, caps, .. } = &message;
        let live: Vec<u64> = caps
            .iter()
            .copied()
            .filter(|cap| self.model.caps.contains_key(cap))
            .collect();
        assert!(
            live.iter()
                .all(|cap| self.model.caps[cap].place == Place::Message(*name))
        );
        if self.random.below(3) == 0 {
            let mut ended = Vec::new();
            self.space
                .drop_parked(message.parked, |object| ended.push(object));
            let expected: Vec<_> = live.into_iter().map(|cap| self.forget(cap)).collect();
            assert_eq!(ended, expected);
            return;
        }
        let dst = self.table();
        match self.space.unpark(&mut message.parked, dst) {
            Ok(moved) => {
                assert_eq!(message.parked, Parked::EMPTY);
                for (at, cap) in message.caps.iter().enumerate() {
                    let Some(cap) = self.model.caps.get_mut(cap) else {
                        assert_eq!(moved[at], Handle::INVALID);
                        continue;
                    };
                    cap.place = Place::Table(dst, moved[at]);
                    self.note_issued(dst, moved[at]);
                }
            }
            Err(error) => {
                assert_eq!(error, CapError::TableFull);
                self.accept_full(dst, live.len());
                self.check_message(&message);
                self.messages.push(message);
            }
        }
    }

    fn check_message(&self, message: &Message) {
        for (at, cap) in message.caps.iter().enumerate() {
            let found = self
                .space
                .parked(&message.parked, at)
                .map(|entry| entry.object);
            assert_eq!(found, self.model.caps.get(cap).map(|cap| cap.object));
        }
    }

    fn close(&mut self) {
        let (table, handle) = self.name();
        let expected = self.model.at(table, handle);
        match self.space.close(table, handle) {
            Ok(object) => {
                let name = expected.expect("the model has it too");
                assert_eq!(object, self.forget(name));
            }
            Err(_) => assert!(expected.is_none()),
        }
    }

    fn revoke(&mut self) {
        let (table, handle) = self.name();
        let mut ended = Vec::new();
        let max = if self.random.below(2) == 0 {
            usize::MAX
        } else {
            self.random.below(6)
        };
        let result = self
            .space
            .revoke_step(table, handle, max, |object| ended.push(object));
        let Some(name) = self.model.at(table, handle) else {
            assert!(result.is_err() && ended.is_empty());
            return;
        };
        let step = result.unwrap();
        let descendants = self.model.descendants(name);
        assert_eq!(step.count, ended.len());
        assert_eq!(step.count, descendants.len().min(max));
        assert_eq!(step.is_done, step.count == descendants.len());
        assert_eq!(self.space.has_descendants(table, handle), Ok(!step.is_done));
        let mut expected = Vec::new();
        for cap in descendants {
            if step.is_done || self.is_gone(cap) {
                expected.push(self.forget(cap));
            }
        }
        ended.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ended, expected);
    }

    fn is_gone(&self, cap: u64) -> bool {
        match self.model.caps[&cap].place {
            Place::Table(table, handle) => self.space.query(table, handle).is_err(),
            Place::Message(name) => {
                let message = self
                    .messages
                    .iter()
                    .find(|message| message.name == name)
                    .unwrap();
                let at = message.caps.iter().position(|&other| other == cap).unwrap();
                self.space.parked(&message.parked, at).is_none()
            }
        }
    }

    fn create_table(&mut self) {
        if self.tables.len() < 6 {
            let table = self.space.create_table(LIMITS).unwrap();
            assert!(!self.tables.contains(&table) && !self.gone_tables.contains(&table));
            self.tables.push(table);
        }
    }

    fn destroy_table(&mut self) {
        let at = self.random.below(self.tables.len());
        let table = self.tables.swap_remove(at);
        let max = 1 + self.random.below(10);
        let mut ended = Vec::new();
        loop {
            let sink = |object| ended.push(object);
            let step = self.space.destroy_table_step(table, max, sink).unwrap();
            assert!(self.space.table(table).is_err());
            assert!(step.count <= max);
            if step.is_done {
                break;
            }
        }
        assert!(self.space.destroy_table(table, |_| ()).is_err());
        self.gone_tables.push(table);
        let in_it = |cap: &Cap| matches!(cap.place, Place::Table(id, _) if id == table);
        let names: Vec<u64> = self
            .model
            .caps
            .iter()
            .filter(|(_, cap)| in_it(cap))
            .map(|(&name, _)| name)
            .collect();
        let mut expected: Vec<_> = names.into_iter().map(|name| self.forget(name)).collect();
        ended.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ended, expected);
    }

    fn probe(&mut self) {
        let (table, handle) = self.name();
        let expected = self.model.at(table, handle).map(|name| {
            let cap = &self.model.caps[&name];
            (cap.object, cap.rights)
        });
        let found = self.space.query(table, handle).ok();
        assert_eq!(
            found.map(|entry| (entry.object, entry.rights.bits())),
            expected
        );
    }

    /// Everything, compared in full.
    fn check(&self) {
        assert!(self.space.is_consistent());
        assert_eq!(self.space.len(), self.model.caps.len());
        for cap in self.model.caps.values() {
            if let Place::Table(table, handle) = cap.place {
                let entry = self.space.query(table, handle).unwrap();
                assert_eq!(
                    (entry.object, entry.rights.bits()),
                    (cap.object, cap.rights)
                );
            }
            let parent = cap.parent.map(|name| &self.model.caps[&name]);
            if let Some(parent) = parent.filter(|parent| parent.object == cap.object) {
                assert_eq!(cap.rights & !parent.rights, 0);
            }
        }
        for &table in &self.tables {
            assert_eq!(
                self.space.table(table).unwrap().len(),
                self.model.count(table)
            );
        }
        for &(table, handle) in &self.stale {
            assert!(
                self.space.query(table, handle).is_err(),
                "{handle:?} resolves again"
            );
        }
    }
}

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

#[test]
fn random_operations_agree_with_the_model() {
    let ops = from_env("VIPER_CAP_OPS", 1_000_000);
    let mut world = World::new(from_env("VIPER_CAP_SEED", 0x5EED_CAFE));
    for op in 0..ops {
        world.step();
        if op % 256 == 0 {
            world.check();
        }
    }
    world.check();
    let space = &world.space;
    let retired: usize = world
        .tables
        .iter()
        .map(|&t| space.table(t).unwrap().retired())
        .sum();
    println!(
        "{ops} operations, {} live at the end, {retired} slots retired",
        space.len()
    );
}
