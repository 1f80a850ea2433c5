//! The service: clients' requests to the device's queue and back.

use crate::disk::Disk;
use crate::jobs::{Job, Jobs, Session};
use crate::plan::{self, SEGMENTS_MAX, Vectors};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use viper_proto::block::{self, DiskInfo, Serve, VECTORS_MAX, Vector};
use viper_rt::abi::{FOREVER, Rights, Signals};
use viper_rt::handle::{Channel, Interrupt, Memory};
use viper_rt::message::{List, Reader};
use viper_rt::server::{Answer, Deferrable, NewClient, Outcome, Service, Sources};
use viper_rt::trace::{self, TraceEvent};
use viper_rt::{Error, Object, clock, eprintln, program};
use viper_virtio::{Completion, DmaSegment, DmaWindow, Error as DriverError};
use viper_virtio::{Request, RequestKind, Status};

/// A device that has requests and says nothing for this long is reset.
pub const SILENCE_MAX_NS: u64 = 5 * clock::SECOND;
/// How many times as long it may take for what is replayed: it may only be slow.
const PATIENCE: u64 = 4;
/// A device that could not be started is tried again no earlier than this.
const RETRY_NS: u64 = clock::SECOND;
/// Sessions a client may have.
const SESSIONS_MAX: usize = 8;
/// Requests of all clients under way; more are refused as busy.
const JOBS_MAX: usize = 256;
const INTERRUPT_KEY: u32 = 0;
/// Messages that wait at the end of a channel to a part of the disk.
const PART_DEPTH: u32 = 8;

/// Opens a client's memory to the device.
pub type OpenWindow = dyn Fn(&Memory) -> Result<DmaWindow, Error>;

/// A disk with what comes with it.
pub struct Hardware<D> {
    /// The driver.
    pub disk: D,
    /// Its interrupt line.
    pub interrupt: Interrupt,
    /// Opens a client's memory to the device.
    pub open: Box<OpenWindow>,
    /// Tells this disk from others, the same after a restart.
    pub serial: u64,
}

/// What the server keeps for a client: its sessions.
#[derive(Debug, Default)]
pub struct Client {
    sessions: [Option<Rc<Session>>; SESSIONS_MAX],
    /// The part of the disk that it has; `None`: all of it.
    part: Option<Part>,
}

/// A part of the disk, in sectors.
#[derive(Clone, Copy, Debug)]
struct Part {
    first: u64,
    count: u64,
}

impl Part {
    /// Checked vectors, where they are on the disk.
    fn placed(self, vectors: &Vectors) -> Result<Vectors, Error> {
        let mut placed = [Vector::default(); VECTORS_MAX];
        for (to, from) in placed.iter_mut().zip(vectors.iter()) {
            let sector = self.first.checked_add(from.sector);
            *to = Vector {
                sector: sector.ok_or(Error::InvalidArgument)?,
                ..*from
            };
        }
        List::new(placed.get(..vectors.len()).unwrap_or(&[]))
    }
}

impl Client {
    /// The size of what it has of a disk of so many sectors.
    fn sectors(&self, capacity: u64) -> u64 {
        self.part.map_or(capacity, |part| part.count)
    }

    fn session(&self, id: u32) -> Result<&Rc<Session>, Error> {
        let session = self.sessions.get(id as usize).and_then(Option::as_ref);
        session.ok_or(Error::NotFound)
    }
}

/// The block server.
pub struct Blkd<D> {
    sources: Sources<Client>,
    /// `None`: this machine has no disk.
    hardware: Option<Hardware<D>>,
    jobs: Jobs,
    /// Jobs that the device's queue had no room for, wholly or in part.
    waiting: VecDeque<u64>,
    /// When the device last gave a sign of life, or was given work after a rest.
    heard_ns: u64,
    /// The device could not be started; when that was tried last.
    broken_ns: Option<u64>,
    /// How long the device may be silent,
    patience_ns: u64,
    /// and how long now.
    silence_max_ns: u64,
    /// This problem has been reported.
    is_reported: bool,
}

impl<D: Disk> Blkd<D> {
    /// A server of this disk, or of none: then each request is `NotFound`.
    ///
    /// # Errors
    /// Those of the poll set.
    pub fn new(hardware: Option<Hardware<D>>, sources: &Sources<Client>) -> Result<Self, Error> {
        if let Some(hardware) = &hardware {
            sources.watch(&hardware.interrupt, INTERRUPT_KEY, Signals::INTERRUPT)?;
        }
        Ok(Blkd {
            sources: sources.clone(),
            hardware,
            jobs: Jobs::default(),
            waiting: VecDeque::new(),
            heard_ns: 0,
            broken_ns: None,
            patience_ns: SILENCE_MAX_NS,
            silence_max_ns: SILENCE_MAX_NS,
            is_reported: false,
        })
    }

    /// Changes how long the device may be silent from [`SILENCE_MAX_NS`].
    #[must_use]
    pub const fn with_patience(mut self, patience_ns: u64) -> Self {
        self.patience_ns = patience_ns;
        self.silence_max_ns = patience_ns;
        self
    }

    /// The hardware, working as far as is known.
    fn hardware(&mut self) -> Result<&mut Hardware<D>, Error> {
        if let Some(since) = self.broken_ns {
            if clock::now() < since.saturating_add(RETRY_NS) {
                return Err(Error::Io);
            }
            self.restart();
        }
        if self.broken_ns.is_some() {
            return Err(Error::Io);
        }
        self.hardware.as_mut().ok_or(Error::NotFound)
    }

    fn transfer(
        &mut self,
        client: &Client,
        call: Deferrable<()>,
        kind: RequestKind,
        session: u32,
        vectors: Vectors,
    ) -> Outcome<()> {
        let session = match self.check(client, kind, session, &vectors) {
            Ok(session) => Some(session),
            Err(error) => return Outcome::Now(Err(error)),
        };
        let Some(part) = client.part else {
            return self.begin(call, kind, session, &vectors);
        };
        match part.placed(&vectors) {
            Ok(vectors) => self.begin(call, kind, session, &vectors),
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    fn check(
        &mut self,
        client: &Client,
        kind: RequestKind,
        session: u32,
        vectors: &Vectors,
    ) -> Result<Rc<Session>, Error> {
        let mut info = self.hardware()?.disk.info();
        info.capacity_sectors = client.sectors(info.capacity_sectors);
        let session = client.session(session)?;
        plan::check(vectors, &info, session.window.len())?;
        if kind == RequestKind::Write && info.is_read_only {
            return Err(Error::ReadOnly);
        }
        Ok(session.clone())
    }

    fn begin(
        &mut self,
        call: Deferrable<()>,
        kind: RequestKind,
        session: Option<Rc<Session>>,
        vectors: &Vectors,
    ) -> Outcome<()> {
        if self.jobs.len() >= JOBS_MAX {
            return Outcome::Now(Err(Error::Busy));
        }
        let pending = match call.detach() {
            Ok(pending) => pending,
            Err(error) => return Outcome::Now(Err(error)),
        };
        let token = self.jobs.insert(pending, kind, session, vectors);
        self.waiting.push_back(token);
        self.pump();
        Outcome::Later
    }

    /// Gives the device as much of what waits as it takes.
    fn pump(&mut self) {
        if self.feed().is_err() {
            self.restart();
        }
    }

    /// Submits what waits until the queue is full, and tells the device once.
    fn feed(&mut self) -> Result<(), DriverError> {
        let Some(hardware) = &mut self.hardware else {
            return Ok(());
        };
        if hardware.disk.in_flight() == 0 {
            self.heard_ns = clock::now();
        }
        let mut outcome = Ok(());
        let mut finished = Vec::new();
        while let Some(&token) = self.waiting.front() {
            let is_flush = self
                .jobs
                .find(token)
                .is_some_and(|j| j.kind == RequestKind::Flush);
            if is_flush && self.jobs.are_writing() {
                // It covers completed writes only: these complete first, and what comes waits.
                break;
            }
            if let Some(job) = self.jobs.find(token) {
                outcome = submit(&mut hardware.disk, token, job);
                if outcome.is_err() {
                    break;
                }
                if job.is_finished() {
                    finished.push(token);
                }
            }
            self.waiting.pop_front();
        }
        let kicked = hardware.disk.kick();
        finished.into_iter().for_each(|token| self.finish(token));
        match outcome {
            Err(DriverError::Full) => kicked,
            outcome => outcome.and(kicked),
        }
    }

    /// Takes completions until there are none.
    fn drain(&mut self) -> Result<(), DriverError> {
        loop {
            let Some(hardware) = &mut self.hardware else {
                return Ok(());
            };
            match hardware.disk.poll_completion()? {
                Some(completion) => self.complete(&completion),
                None => return Ok(()),
            }
        }
    }

    fn complete(&mut self, completion: &Completion) {
        self.heard_ns = clock::now();
        // What a reset took away is not known any more.
        let Some(job) = self.jobs.find(completion.token) else {
            return;
        };
        let before = trace::set_current(job.pending.trace_id());
        trace::note(TraceEvent::COMPLETE, u64::from(completion.bytes));
        trace::set_current(before);
        job.in_flight = job.in_flight.saturating_sub(1);
        match completion.status {
            Status::Ok => {
                self.is_reported = false;
                self.silence_max_ns = self.patience_ns;
            }
            Status::Unsupported => job.status = Err(Error::NotSupported),
            _ => job.status = Err(Error::Io),
        }
        if job.is_finished() {
            self.finish(completion.token);
        }
    }

    fn finish(&mut self, token: u64) {
        if let Some(job) = self.jobs.remove(token) {
            job.pending.answer(job.status);
        }
    }

    /// Resets the device. What it had starts over once, and fails if that happened already.
    fn restart(&mut self) {
        let Some(hardware) = &mut self.hardware else {
            return;
        };
        let mut cancelled = Vec::new();
        let outcome = hardware.disk.restart(&mut |token| cancelled.push(token));
        self.heard_ns = clock::now();
        self.report(outcome.err());
        if let Err(error) = outcome {
            self.broken_ns = Some(self.heard_ns);
            return self.fail_all(error == DriverError::ResetTimeout);
        }
        self.broken_ns = None;
        self.silence_max_ns = self.patience_ns.saturating_mul(PATIENCE);
        if let Some(hardware) = &self.hardware {
            let _ = hardware.interrupt.acknowledge();
        }
        cancelled.sort_unstable();
        cancelled.dedup();
        for token in cancelled {
            let Some(job) = self.jobs.find(token) else {
                continue;
            };
            if job.is_replayed {
                job.status = Err(Error::Io);
                job.in_flight = 0;
                self.finish(token);
                continue;
            }
            job.rewind();
            if !self.waiting.contains(&token) {
                self.waiting.push_back(token);
            }
        }
        if self.feed().is_err() {
            self.broken_ns = Some(clock::now());
            self.fail_all(true);
        }
    }

    /// Ends every job. Memory that the device may still use is never given back.
    fn fail_all(&mut self, is_running: bool) {
        self.waiting.clear();
        for token in self.jobs.tokens() {
            if let Some(job) = self.jobs.remove(token) {
                if is_running && job.in_flight > 0 {
                    core::mem::forget(job.session);
                }
                job.pending.answer(Err(Error::Io));
            }
        }
    }

    /// One line a problem: until a request succeeds it is the same one.
    fn report(&mut self, error: Option<DriverError>) {
        if !core::mem::replace(&mut self.is_reported, true) {
            // Each disk has a server of its own.
            let name = program::arguments().next().unwrap_or("blkd");
            match error {
                Some(error) => eprintln!("{name}: the disk failed: {error}"),
                None => eprintln!("{name}: the disk stopped and was reset"),
            }
        }
    }

    fn make_session(&mut self, client: &mut Client, memory: Memory) -> Result<u32, Error> {
        let hardware = self.hardware()?;
        let needed = Rights::READ | Rights::WRITE | Rights::MAP;
        if !memory.owned().info()?.rights.contains(needed) {
            return Err(Error::NoRight);
        }
        let window = (hardware.open)(&memory)?;
        let free = client.sessions.iter().position(Option::is_none);
        let free = free.ok_or(Error::LimitReached)?;
        client.sessions[free] = Some(Rc::new(Session::new(memory, window)));
        Ok(free as u32)
    }
}

/// Gives the device what is left of a job.
fn submit(disk: &mut impl Disk, token: u64, job: &mut Job) -> Result<(), DriverError> {
    let before = trace::set_current(job.pending.trace_id());
    let outcome = match job.session.clone() {
        Some(session) => submit_data(disk, token, job, &session.window),
        None => submit_one(disk, token, job, 0, &[]),
    };
    trace::set_current(before);
    match outcome {
        Ok(()) => job.is_submitted = true,
        Err(DriverError::Invalid | DriverError::OutOfRange) => {
            // Checked before; but the disk may have changed since.
            job.status = Err(Error::InvalidArgument);
        }
        Err(DriverError::ReadOnly) => job.status = Err(Error::ReadOnly),
        Err(error) => return Err(error),
    }
    Ok(())
}

fn submit_data(
    disk: &mut impl Disk,
    token: u64,
    job: &mut Job,
    window: &DmaWindow,
) -> Result<(), DriverError> {
    let info = disk.info();
    let mut segments: [DmaSegment; SEGMENTS_MAX] = [window.segment(0, 0)?; SEGMENTS_MAX];
    while !job.cursor.is_done(&job.vectors) && job.status.is_ok() {
        let mut cursor = job.cursor;
        let Some(chunk) = cursor.next(&job.vectors, &info) else {
            break;
        };
        let pieces = chunk.pieces();
        for (segment, &(offset, len)) in segments.iter_mut().zip(pieces) {
            *segment = window.segment(offset, len)?;
        }
        let segments = segments.get(..pieces.len()).unwrap_or(&[]);
        submit_one(disk, token, job, chunk.sector, segments)?;
        job.cursor = cursor;
    }
    Ok(())
}

fn submit_one(
    disk: &mut impl Disk,
    token: u64,
    job: &mut Job,
    sector: u64,
    segments: &[DmaSegment],
) -> Result<(), DriverError> {
    disk.submit(&Request {
        kind: job.kind,
        sector,
        segments,
        token,
    })?;
    job.in_flight += 1;
    trace::note(TraceEvent::DEVICE, sector);
    Ok(())
}

impl<D: Disk> Serve for Blkd<D> {
    type Client = Client;

    fn narrow(&mut self, client: &mut Client, first: u64, count: u64) -> Result<Channel, Error> {
        let info = self.hardware()?.disk.info();
        let block_sectors = u64::from(info.block_len) / block::SECTOR_BYTES;
        let have = client.sectors(info.capacity_sectors);
        let end = first.checked_add(count);
        let fits = count > 0
            && first.is_multiple_of(block_sectors)
            && count.is_multiple_of(block_sectors)
            && end.is_some_and(|end| end <= have);
        if !fits {
            return Err(Error::InvalidArgument);
        }
        // Within what it has, which is within the disk: no overflow.
        let first = client.part.map_or(0, |part| part.first) + first;
        let (ours, theirs) = Channel::pair(PART_DEPTH)?;
        let part = Client {
            part: Some(Part { first, count }),
            ..Client::default()
        };
        self.sources.adopt(ours, part);
        Ok(theirs)
    }

    fn info(&mut self, client: &mut Client) -> Result<DiskInfo, Error> {
        let hardware = self.hardware()?;
        let info = hardware.disk.info();
        Ok(DiskInfo {
            sectors: client.sectors(info.capacity_sectors),
            read_only: info.is_read_only,
            write_cache: info.has_flush,
            queue_depth: u32::from(info.depth),
            serial: hardware.serial,
        })
    }

    fn session(&mut self, client: &mut Client, memory: Memory) -> Result<u32, Error> {
        self.make_session(client, memory)
    }

    fn session_close(
        &mut self,
        client: &mut Client,
        call: Deferrable<()>,
        session: u32,
    ) -> Outcome<()> {
        let place = client.sessions.get_mut(session as usize);
        let Some(session) = place.and_then(Option::take) else {
            return Outcome::Now(Err(Error::NotFound));
        };
        match call.detach() {
            // Answered when the last request lets go of the session, which may be now.
            Ok(pending) => {
                session.closing.replace(Some(pending));
                Outcome::Later
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    fn read(
        &mut self,
        client: &mut Client,
        call: Deferrable<()>,
        session: u32,
        vectors: Vectors,
    ) -> Outcome<()> {
        self.transfer(client, call, RequestKind::Read, session, vectors)
    }

    fn write(
        &mut self,
        client: &mut Client,
        call: Deferrable<()>,
        session: u32,
        vectors: Vectors,
    ) -> Outcome<()> {
        self.transfer(client, call, RequestKind::Write, session, vectors)
    }

    fn flush(&mut self, _: &mut Client, call: Deferrable<()>) -> Outcome<()> {
        match self
            .hardware()
            .map(|hardware| hardware.disk.info().has_flush)
        {
            Ok(true) => {}
            // Without a cache a completed write is durable.
            Ok(false) => return Outcome::Now(Ok(())),
            Err(error) => return Outcome::Now(Err(error)),
        }
        match List::new(&[]) {
            Ok(none) => self.begin(call, RequestKind::Flush, None, &none),
            Err(error) => Outcome::Now(Err(error)),
        }
    }
}

impl<D: Disk> Service for Blkd<D> {
    type Client = Client;

    fn connect(&mut self, _: NewClient) -> Result<Client, Error> {
        Ok(Client::default())
    }

    fn request(&mut self, client: &mut Client, request: Reader) -> Answer {
        block::dispatch(self, client, request)
    }

    fn signal(&mut self, _: u32, _: Signals) {
        let Some(hardware) = &mut self.hardware else {
            return;
        };
        if self.broken_ns.is_some() {
            // Stays masked until the device works again.
            return;
        }
        // The device first: its line is down before it is unmasked.
        let acknowledged = hardware.disk.on_interrupt();
        let drained = self.drain();
        if acknowledged.is_err() || drained.is_err() {
            return self.restart();
        }
        if let Some(hardware) = &self.hardware {
            let _ = hardware.interrupt.acknowledge();
        }
        if !self.waiting.is_empty() {
            self.pump();
        }
    }

    fn deadline(&self) -> u64 {
        match &self.hardware {
            Some(hardware) if self.broken_ns.is_none() && hardware.disk.in_flight() > 0 => {
                self.heard_ns.saturating_add(self.silence_max_ns)
            }
            _ => FOREVER,
        }
    }

    fn timeout(&mut self) {
        // An interrupt may have been lost: then the answers are there.
        let heard_ns = self.heard_ns;
        if self.drain().is_err() || self.heard_ns == heard_ns {
            self.restart();
        } else if !self.waiting.is_empty() {
            self.pump();
        }
    }
}
