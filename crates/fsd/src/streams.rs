//! Files as streams: read or written in turn, for programs whose standard input or output they are.

use crate::clients::StreamClient;
use crate::service::Fsd;
use crate::world::World;
use viper_proto::fs::flags;
use viper_proto::stream::{CHUNK_MAX, Serve};
use viper_rt::Error;
use viper_rt::message::Bytes;
use viper_rt::server::{Deferrable, Outcome};

impl<W: World> Serve for Fsd<W> {
    type Client = StreamClient;

    fn read(
        &mut self,
        client: &mut StreamClient,
        _: Deferrable<Bytes>,
        max: u32,
        _deadline: u64,
    ) -> Outcome<Bytes> {
        Outcome::Now(self.stream_read(client, max))
    }

    fn write(
        &mut self,
        client: &mut StreamClient,
        _: Deferrable<u32>,
        bytes: Bytes,
    ) -> Outcome<u32> {
        Outcome::Now(self.stream_write(client, &bytes))
    }
}

impl<W: World> Fsd<W> {
    fn stream_read(&mut self, client: &mut StreamClient, max: u32) -> Result<Bytes, Error> {
        if client.file.flags & flags::READ == 0 {
            return Err(Error::NoRight);
        }
        if max == 0 {
            return Err(Error::InvalidArgument);
        }
        let mut buffer = [0; CHUNK_MAX];
        let part = &mut buffer[..(max as usize).min(CHUNK_MAX)];
        let node = client.file.node;
        let volume = self.mounts.of(node)?;
        let result = volume.fs()?.read(node.inode(), client.position, part);
        let count = volume.settle(result)?;
        client.position += count as u64;
        Bytes::new(&part[..count])
    }

    fn stream_write(&mut self, client: &mut StreamClient, bytes: &[u8]) -> Result<u32, Error> {
        if client.file.flags & flags::WRITE == 0 {
            return Err(Error::NoRight);
        }
        let volume = self.mounts.of(client.file.node)?;
        let (fs, now) = volume.changing()?;
        let inode = client.file.node.inode();
        let at = match client.file.flags & flags::APPEND {
            0 => Ok(client.position),
            _ => fs.getattr(inode).map(|attr| attr.size),
        };
        let result = at.and_then(|at| Ok((at, fs.write(inode, at, bytes, now)?)));
        let (at, count) = volume.settle(result)?;
        self.wrote(client.file)?;
        client.position = at + count as u64;
        Ok(count as u32)
    }
}
