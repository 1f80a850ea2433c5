//! Pipes between programs: a small stream server on a thread of the shell, one for each pipe.

use alloc::collections::VecDeque;
use viper_proto::stream::{self, CHUNK_MAX, Client, Serve};
use viper_rt::abi::FOREVER;
use viper_rt::handle::Channel;
use viper_rt::message::{Bytes, Reader};
use viper_rt::server::{Answer, Deferrable, NewClient, Outcome, Pending, Server, Service};
use viper_rt::{Error, thread};

/// Bytes that wait in a pipe, at most, before its writers wait.
const PIPE_MAX: usize = 64 * 1024;
const DEPTH: u32 = 8;

/// The shell's ends of a pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: Option<Client>,
    writer: Option<Client>,
}

impl Pipe {
    /// Makes a pipe and starts the thread that serves it until both ends are gone.
    pub(super) fn new() -> Result<Pipe, Error> {
        let (reader, read_end) = Channel::pair(DEPTH)?;
        let (writer, write_end) = Channel::pair(DEPTH)?;
        let server = Server::<Middle>::supervised_by(None)?;
        let mut middle = Middle {
            readers: 1,
            writers: 1,
            ..Middle::default()
        };
        let sources = server.sources();
        sources.adopt(read_end, End::Read);
        sources.adopt(write_end, End::Write);
        drop(sources);
        thread::spawn(move || {
            let _ = server.run(&mut middle);
        })?;
        Ok(Pipe {
            reader: Some(Client::new(reader)),
            writer: Some(Client::new(writer)),
        })
    }

    /// The reading end, which goes over to a program.
    pub(super) fn take_reader(&mut self) -> Result<Channel, Error> {
        Ok(self.reader.take().ok_or(Error::BadHandle)?.into_channel())
    }

    /// A handle to the writing end, for a program.
    pub(super) fn writer(&self) -> Result<Channel, Error> {
        let writer = self.writer.as_ref().ok_or(Error::BadHandle)?;
        viper_rt::Object::try_clone(writer.connection().channel())
    }

    /// The shell itself writes no more.
    pub(super) fn close_writer(&mut self) {
        self.writer = None;
    }

    pub(super) fn read(&self, to: &mut [u8]) -> Result<usize, Error> {
        let reader = self.reader.as_ref().ok_or(Error::BadHandle)?;
        let bytes = reader.read(to.len().clamp(1, CHUNK_MAX) as u32, FOREVER)?;
        let count = bytes.len().min(to.len());
        to[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    pub(super) fn write(&self, bytes: &[u8]) -> Result<usize, Error> {
        let writer = self.writer.as_ref().ok_or(Error::BadHandle)?;
        writer
            .write(&bytes[..bytes.len().min(CHUNK_MAX)])
            .map(|n| n as usize)
    }
}

/// What a channel is an end of.
#[derive(Clone, Copy, Debug)]
enum End {
    Read,
    Write,
}

/// What is between the ends.
#[derive(Debug, Default)]
struct Middle {
    bytes: VecDeque<u8>,
    readers: usize,
    writers: usize,
    reads: VecDeque<(usize, Pending<Bytes>)>,
    writes: VecDeque<(Bytes, Pending<u32>)>,
}

impl Middle {
    fn pump(&mut self) {
        loop {
            if !self.bytes.is_empty()
                && let Some((max, pending)) = self.reads.pop_front()
            {
                let bytes = self.take(max);
                pending.answer(Ok(bytes));
            } else if self.bytes.len() < PIPE_MAX
                && let Some((bytes, pending)) = self.writes.pop_front()
            {
                self.bytes.extend(bytes.iter());
                pending.answer(Ok(bytes.len() as u32));
            } else {
                break;
            }
        }
        if self.writers == 0 {
            self.reads
                .drain(..)
                .for_each(|(_, p)| p.answer(Ok(Bytes::clip(&[]))));
        }
        if self.readers == 0 {
            self.bytes.clear();
            self.writes
                .drain(..)
                .for_each(|(_, p)| p.answer(Err(Error::PeerClosed)));
        }
    }

    fn take(&mut self, max: usize) -> Bytes {
        let mut part = [0; CHUNK_MAX];
        let count = self.bytes.len().min(max).min(CHUNK_MAX);
        for (place, byte) in part.iter_mut().zip(self.bytes.drain(..count)) {
            *place = byte;
        }
        Bytes::clip(&part[..count])
    }
}

impl Service for Middle {
    type Client = End;

    fn connect(&mut self, _: NewClient) -> Result<End, Error> {
        Err(Error::NotSupported)
    }

    fn request(&mut self, end: &mut End, request: Reader) -> Answer {
        stream::dispatch(self, end, request)
    }

    fn disconnect(&mut self, end: End) {
        match end {
            End::Read => self.readers -= 1,
            End::Write => self.writers -= 1,
        }
        self.pump();
    }

    fn is_finished(&self) -> bool {
        self.readers == 0 && self.writers == 0
    }
}

impl Serve for Middle {
    type Client = End;

    fn read(
        &mut self,
        end: &mut End,
        call: Deferrable<Bytes>,
        max: u32,
        _deadline: u64,
    ) -> Outcome<Bytes> {
        if !matches!(end, End::Read) {
            return Outcome::Now(Err(Error::NoRight));
        }
        match call.detach() {
            Ok(pending) => {
                self.reads.push_back((max as usize, pending));
                self.pump();
                Outcome::Later
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    fn write(&mut self, end: &mut End, call: Deferrable<u32>, bytes: Bytes) -> Outcome<u32> {
        if !matches!(end, End::Write) {
            return Outcome::Now(Err(Error::NoRight));
        }
        if self.readers == 0 {
            return Outcome::Now(Err(Error::PeerClosed));
        }
        match call.detach() {
            Ok(pending) => {
                self.writes.push_back((bytes, pending));
                self.pump();
                Outcome::Later
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_the_end_is_seen() {
        let mut pipe = Pipe::new().unwrap();
        let writer = Client::new(pipe.writer().unwrap());
        pipe.close_writer();
        let writing = thread::spawn(move || {
            for n in 0..1000u32 {
                // Far more than the pipe holds: the writer has to wait for the reader.
                assert_eq!(writer.write(&[n as u8; 200]), Ok(200));
            }
        })
        .unwrap();
        let mut total = 0usize;
        let mut part = [0; 300];
        loop {
            let count = pipe.read(&mut part).unwrap();
            if count == 0 {
                break;
            }
            for byte in &part[..count] {
                assert_eq!(*byte, (total / 200) as u8);
                total += 1;
            }
        }
        assert_eq!(total, 200_000);
        writing.join(FOREVER).unwrap();
    }

    #[test]
    fn a_writer_without_a_reader_hears_of_it() {
        let mut pipe = Pipe::new().unwrap();
        assert_eq!(pipe.write(b"lost"), Ok(4));
        drop(pipe.take_reader().unwrap());
        loop {
            match pipe.write(b"more") {
                Ok(_) => thread::yield_now(),
                Err(error) => break assert_eq!(error, Error::PeerClosed),
            }
        }
        assert_eq!(pipe.read(&mut [0]).err(), Some(Error::BadHandle));
    }
}
