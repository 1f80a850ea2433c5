//! Requests of clients that are under way, by a token that never means another one.

use crate::plan::{Cursor, Vectors};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use viper_rt::Error;
use viper_rt::handle::Memory;
use viper_rt::server::Pending;
use viper_virtio::{DmaWindow, RequestKind};

/// Memory that a client shares. Requests in flight keep it, whatever becomes of the client.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) window: DmaWindow,
    /// Who wants to hear that it is over.
    pub(crate) closing: RefCell<Option<Pending<()>>>,
    /// Keeps the memory in being.
    _memory: Memory,
}

impl Session {
    pub(crate) fn new(memory: Memory, window: DmaWindow) -> Session {
        Session {
            window,
            closing: RefCell::new(None),
            _memory: memory,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(closing) = self.closing.take() {
            closing.answer(Ok(()));
        }
    }
}

/// One message of a client.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) pending: Pending<()>,
    pub(crate) kind: RequestKind,
    /// `None` for a flush.
    pub(crate) session: Option<Rc<Session>>,
    pub(crate) vectors: Vectors,
    pub(crate) cursor: Cursor,
    /// Requests of it that the device has.
    pub(crate) in_flight: u32,
    /// The first thing that went wrong.
    pub(crate) status: Result<(), Error>,
    /// Whether everything of it was given to the device.
    pub(crate) is_submitted: bool,
    /// Whether a reset of the device made it start over.
    pub(crate) is_replayed: bool,
}

impl Job {
    /// Starts over: everything it does can be done twice.
    pub(crate) fn rewind(&mut self) {
        self.cursor = Cursor::default();
        self.in_flight = 0;
        self.status = Ok(());
        self.is_submitted = false;
        self.is_replayed = true;
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.in_flight == 0 && (self.is_submitted || self.status.is_err())
    }
}

/// A job that is taken away.
pub(crate) struct Ended {
    pub(crate) pending: Pending<()>,
    pub(crate) status: Result<(), Error>,
    pub(crate) session: Option<Rc<Session>>,
    pub(crate) in_flight: u32,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    job: Option<Job>,
}

/// The jobs: a slab whose places have generations.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Jobs {
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Adds a job that is to be begun, and tells its token.
    pub(crate) fn insert(
        &mut self,
        pending: Pending<()>,
        kind: RequestKind,
        session: Option<Rc<Session>>,
        vectors: &Vectors,
    ) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        // Made in its place: it is large.
        place.job = Some(Job {
            pending,
            kind,
            session,
            vectors: *vectors,
            cursor: Cursor::default(),
            in_flight: 0,
            status: Ok(()),
            is_submitted: false,
            is_replayed: false,
        });
        u64::from(place.generation) << 32 | u64::from(index)
    }

    pub(crate) fn find(&mut self, token: u64) -> Option<&mut Job> {
        let place = self.places.get_mut(token as u32 as usize)?;
        if u64::from(place.generation) != token >> 32 {
            return None;
        }
        place.job.as_mut()
    }

    /// Takes a job away, and tells what is needed to end it.
    pub(crate) fn remove(&mut self, token: u64) -> Option<Ended> {
        let index = token as u32;
        let place = self.places.get_mut(index as usize)?;
        if u64::from(place.generation) != token >> 32 {
            return None;
        }
        let Job {
            pending,
            status,
            session,
            in_flight,
            ..
        } = place.job.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
        Some(Ended {
            pending,
            status,
            session,
            in_flight,
        })
    }

    /// Whether the device has writes.
    pub(crate) fn are_writing(&self) -> bool {
        let mut jobs = self.places.iter().filter_map(|place| place.job.as_ref());
        jobs.any(|job| job.kind == RequestKind::Write && job.in_flight > 0)
    }

    /// The tokens of all jobs.
    pub(crate) fn tokens(&self) -> Vec<u64> {
        let live = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.job.is_some());
        live.map(|(index, place)| u64::from(place.generation) << 32 | index as u64)
            .collect()
    }
}
