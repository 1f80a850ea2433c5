//! A client with an open file goes on when the file server dies and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use viper_proto::fs::{Attributes, Files, PathText, flags};
use viper_proto::names;
use viper_rt::abi::Slot;
use viper_rt::handle::{Channel, Memory, OwnedHandle};
use viper_rt::message::{Bytes, Reader, Take};
use viper_rt::server::{Answer, NewClient, Server, Service};
use viper_rt::{Error, Mapping, Object, client, host, program};

const CONTENT: &[u8] = b"what stands in the file";

/// One file, of which each start of the server opens numbers of its own. Dies at the reads and
/// writes whose turn it is.
struct FakeFs {
    start: u32,
    dies: Arc<AtomicU32>,
    memory: Option<Mapping>,
    opened: u32,
}

impl FakeFs {
    fn file(&self) -> u32 {
        self.start * 100
    }

    fn serve(&mut self, mut r: Reader) -> Result<Answer, Error> {
        Ok(match r.label() as u16 {
            1 => {
                self.memory = Some(Mapping::whole(&Memory::take(&mut r)?)?);
                Answer::from_result(Ok(()))
            }
            2 => {
                let (_, _, path) = <(u32, u32, PathText)>::take(&mut r)?;
                assert!(matches!(path, PathText::Inline(p) if &*p == b"/file"));
                self.opened += 1;
                Answer::from_result(Ok((self.file(), Attributes::default())))
            }
            3 => Answer::from_result(Ok(())),
            4 | 5 => {
                if self.dies.load(Ordering::SeqCst) > 0 {
                    self.dies.fetch_sub(1, Ordering::SeqCst);
                    program::exit(1);
                }
                let label = r.label();
                let (file, position, len, offset) = <(u32, u64, u64, u64)>::take(&mut r)?;
                if file != self.file() {
                    return Err(Error::BadHandle);
                }
                if label as u16 == 5 {
                    return Ok(Answer::from_result(Ok((len, len))));
                }
                let part = CONTENT.get(position as usize..).unwrap_or(&[]);
                let part = &part[..part.len().min(len as usize)];
                let memory = self.memory.as_ref().ok_or(Error::InvalidArgument)?;
                memory.write(offset as usize, part)?;
                Answer::from_result(Ok(part.len() as u64))
            }
            _ => Answer::error(Error::NotSupported),
        })
    }
}

impl Service for FakeFs {
    type Client = ();
    fn connect(&mut self, _: NewClient) -> Result<(), Error> {
        Ok(())
    }
    fn request(&mut self, (): &mut (), request: Reader) -> Answer {
        self.serve(request).unwrap_or_else(Answer::error)
    }
}

/// Names that start a new file server for each connection, as init does for a dead one.
struct FakeNames {
    starts: u32,
    dies: Arc<AtomicU32>,
    keep: Vec<Channel>,
}

impl FakeNames {
    fn connect_client(&mut self) -> Result<Channel, Error> {
        self.starts += 1;
        let (start, dies) = (self.starts, self.dies.clone());
        let (_, up) = host::spawn_with_channel("fsd", Slot::SUPERVISOR, move || {
            let mut fs = FakeFs {
                start,
                dies,
                memory: None,
                opened: 0,
            };
            Server::new().unwrap().run(&mut fs).map_or(1, |()| 0)
        })?;
        let (ours, theirs) = Channel::pair(4)?;
        let to = viper_rt::server::supervisor::NEW_CLIENT;
        client::send(&up, to, (1u64, 0u64, theirs), viper_rt::abi::FOREVER)?;
        self.keep.push(up);
        Ok(ours)
    }
}

impl Service for FakeNames {
    type Client = ();
    fn connect(&mut self, _: NewClient) -> Result<(), Error> {
        Ok(())
    }
    fn request(&mut self, (): &mut (), mut request: Reader) -> Answer {
        match <(Bytes, u64)>::take(&mut request) {
            Ok((name, _)) if &*name == b"FSD:" => Answer::from_result(self.connect_client()),
            _ => Answer::error(Error::NotFound),
        }
    }
}

/// A client of names whose file servers die at the next so many reads or writes.
fn rig(dies: &Arc<AtomicU32>) -> names::Client {
    let (ours, theirs) = Channel::pair(4).unwrap();
    let dies = dies.clone();
    let handles = vec![(Slot::CHANNEL, theirs.into_owned())];
    host::spawn_process("names", handles, &["names"], move || {
        let end: Channel = program::take(Slot::CHANNEL)
            .map(OwnedHandle::into_object)
            .unwrap();
        let server = Server::supervised_by(None).unwrap();
        server.sources().adopt(end, ());
        let mut names = FakeNames {
            starts: 0,
            dies,
            keep: Vec::new(),
        };
        server.run(&mut names).map_or(1, |()| 0)
    })
    .unwrap();
    names::Client::new(ours)
}

#[test]
fn reads_are_repeated_on_the_next_server() {
    let dies = Arc::new(AtomicU32::new(0));
    let names = rig(&dies);
    let mut files = Files::new();
    let (file, _) = files.open(&names, "/file", flags::READ, 0).unwrap();
    let mut part = [0; 8];
    assert_eq!(files.read(&names, file, 0, &mut part), Ok(8));
    assert_eq!(&part, &CONTENT[..8]);
    dies.store(1, Ordering::SeqCst);
    assert_eq!(files.read(&names, file, 8, &mut part), Ok(8));
    assert_eq!(&part, &CONTENT[8..16]);
    dies.store(2, Ordering::SeqCst);
    assert_eq!(files.read(&names, file, 16, &mut part), Ok(7));
    assert_eq!(&part[..7], &CONTENT[16..]);
    assert_eq!(files.close(file), Ok(()));
    assert_eq!(files.close(file), Err(Error::BadHandle));
}

#[test]
fn a_server_that_always_dies_is_an_error_and_not_a_loop() {
    let dies = Arc::new(AtomicU32::new(1000));
    let names = rig(&dies);
    let mut files = Files::new();
    let (file, _) = files.open(&names, "/file", flags::READ, 0).unwrap();
    assert_eq!(
        files.read(&names, file, 0, &mut [0; 4]),
        Err(Error::ServerDied)
    );
}

#[test]
fn what_may_not_be_repeated_is_not() {
    let dies = Arc::new(AtomicU32::new(0));
    let names = rig(&dies);
    let mut files = Files::new();
    let wanted = flags::WRITE | flags::APPEND;
    let (log, _) = files.open(&names, "/file", wanted, 0).unwrap();
    let (file, _) = files.open(&names, "/file", flags::WRITE, 0).unwrap();
    dies.store(1, Ordering::SeqCst);
    assert_eq!(files.write(&names, log, 0, b"line"), Err(Error::ServerDied));
    assert_eq!(
        files.write(&names, log, 0, b"line"),
        Ok(4),
        "but the next one goes through"
    );
    dies.store(1, Ordering::SeqCst);
    assert_eq!(
        files.write(&names, file, 3, b"line"),
        Ok(4),
        "at a position it is the same twice"
    );
}
