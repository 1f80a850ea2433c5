//! The name service, operation by operation.

use super::{CLIENT_DEPTH, Init, Managed, NameClient};
use crate::manifest::Role;
use crate::supervision::State;
use crate::world::World;
use viper_proto::names::{Serve, ServerStatus, rights, state};
use viper_rt::abi::Rights;
use viper_rt::handle::{Channel, Memory, Object, Process, System};
use viper_rt::message::Bytes;
use viper_rt::server::{Deferrable, Outcome};
use viper_rt::{Error, clock};

/// Bytes of a boot file that one message carries.
const BOOT_CHUNK: usize = 224;

impl<W: World> Serve for Init<W> {
    type Client = NameClient;

    fn connect(
        &mut self,
        client: &mut NameClient,
        call: Deferrable<Channel>,
        name: Bytes,
        deadline: u64,
    ) -> Outcome<Channel> {
        match name.as_str() {
            Ok(name) => self.connect_client(client, call, name, deadline),
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    fn duplicate(&mut self, client: &mut NameClient, rights: u64) -> Result<Channel, Error> {
        let (ours, theirs) = Channel::pair(CLIENT_DEPTH)?;
        let copy = NameClient {
            rights: client.rights & rights,
            ..client.clone()
        };
        self.sources.adopt(ours, copy);
        Ok(theirs)
    }

    fn duplicate_as(
        &mut self,
        client: &mut NameClient,
        rights: u64,
        user: u32,
        group: u32,
    ) -> Result<Channel, Error> {
        if client.user != 0 && (client.user, client.group) != (user, group) {
            return Err(Error::NoRight);
        }
        let mut other = NameClient {
            user,
            group,
            ..client.clone()
        };
        self.duplicate(&mut other, rights)
    }

    fn keep(&mut self, client: &mut NameClient, slot: u32, bytes: Bytes) -> Result<(), Error> {
        *self.kept_slot(client, slot)? = Some(bytes).filter(|bytes| !bytes.is_empty());
        Ok(())
    }

    fn kept(&mut self, client: &mut NameClient, slot: u32) -> Result<Bytes, Error> {
        Ok(self.kept_slot(client, slot)?.unwrap_or(Bytes::clip(&[])))
    }

    fn assign_set(
        &mut self,
        client: &mut NameClient,
        name: Bytes,
        path: Bytes,
    ) -> Result<(), Error> {
        require(client, rights::ASSIGN)?;
        self.assigns.set(name.as_str()?, path.as_str()?)
    }

    fn assign_remove(&mut self, client: &mut NameClient, name: Bytes) -> Result<(), Error> {
        require(client, rights::ASSIGN)?;
        self.assigns.remove(name.as_str()?)
    }

    fn assign_get(&mut self, _: &mut NameClient, name: Bytes) -> Result<Bytes, Error> {
        Bytes::new(self.assigns.find(name.as_str()?)?.as_bytes())
    }

    fn assign_at(&mut self, _: &mut NameClient, index: u32) -> Result<(Bytes, Bytes), Error> {
        let (name, path) = self.assigns.at(index as usize).ok_or(Error::NotFound)?;
        Ok((Bytes::new(name.as_bytes())?, Bytes::new(path.as_bytes())?))
    }

    fn server_at(
        &mut self,
        _: &mut NameClient,
        index: u32,
    ) -> Result<(Bytes, ServerStatus), Error> {
        let mut servers = self.managed.iter().filter(|m| m.entry.role == Role::Server);
        let managed = servers.nth(index as usize).ok_or(Error::NotFound)?;
        Ok((Bytes::new(managed.entry.name.as_bytes())?, status(managed)))
    }

    fn server_status(&mut self, _: &mut NameClient, name: Bytes) -> Result<ServerStatus, Error> {
        Ok(status(&self.managed[self.server(&name)?]))
    }

    fn server_kill(&mut self, client: &mut NameClient, name: Bytes) -> Result<(), Error> {
        require(client, rights::MANAGE)?;
        let index = self.server(&name)?;
        self.kill(index)
    }

    fn server_restart(&mut self, client: &mut NameClient, name: Bytes) -> Result<(), Error> {
        require(client, rights::MANAGE)?;
        let index = self.server(&name)?;
        self.managed[index].by_command = true;
        if self.managed[index].process.is_some() {
            self.kill(index)?;
            self.ended(index);
        }
        self.managed[index].supervision.wanted(clock::now());
        self.advance();
        Ok(())
    }

    fn server_stop(&mut self, client: &mut NameClient, name: Bytes) -> Result<(), Error> {
        require(client, rights::MANAGE)?;
        let index = self.server(&name)?;
        self.managed[index].by_command = true;
        self.managed[index].supervision.switched_off();
        if self.managed[index].process.is_some() {
            self.kill(index)?;
        }
        self.answer_waiters();
        Ok(())
    }

    fn system(&mut self, client: &mut NameClient) -> Result<System, Error> {
        require(client, rights::SYSTEM)?;
        let owner = self.managed.get(client.owner).ok_or(Error::NoRight)?;
        let given = super::system_rights(&owner.entry) | Rights::TRANSFER | Rights::DUPLICATE;
        self.world
            .system()
            .ok_or(Error::NoService)?
            .duplicate(given)
    }

    fn server_process(&mut self, client: &mut NameClient, name: Bytes) -> Result<Process, Error> {
        require(client, rights::MANAGE)?;
        let managed = &self.managed[self.server(&name)?];
        managed.process.as_ref().ok_or(Error::Ended)?.try_clone()
    }

    fn trace_ring(&mut self, client: &mut NameClient, name: Bytes) -> Result<Memory, Error> {
        require(client, rights::TRACE)?;
        let managed = &self.managed[self.server(&name)?];
        let given = Rights::READ | Rights::MAP | Rights::TRANSFER;
        managed
            .ring
            .as_ref()
            .ok_or(Error::NotFound)?
            .duplicate(given)
    }

    fn boot_file(
        &mut self,
        client: &mut NameClient,
        name: Bytes,
        offset: u64,
    ) -> Result<(u64, Bytes), Error> {
        require(client, rights::BOOT)?;
        let archive = self.archive.as_ref().ok_or(Error::NotFound)?;
        let member = archive.find(name.as_str()?)?;
        let mut part = [0; BOOT_CHUNK];
        let count = archive.read(member, offset, &mut part)?;
        Ok((member.len_bytes, Bytes::new(&part[..count])?))
    }

    fn boot_memory(
        &mut self,
        client: &mut NameClient,
        name: Bytes,
    ) -> Result<(u64, Memory), Error> {
        require(client, rights::BOOT)?;
        let archive = self.archive.as_ref().ok_or(Error::NotFound)?;
        let member = archive.find(name.as_str()?)?;
        let memory = Memory::new(member.len_bytes.max(1))?;
        let mut part = alloc::vec![0; 1 << 16];
        let mut done = 0;
        while done < member.len_bytes {
            let count = archive.read(member, done, &mut part)?;
            memory.write(done, &part[..count])?;
            done += count as u64;
        }
        Ok((member.len_bytes, memory))
    }

    fn boot_at(&mut self, client: &mut NameClient, index: u32) -> Result<(u64, Bytes), Error> {
        require(client, rights::BOOT)?;
        let archive = self.archive.as_ref().ok_or(Error::NotFound)?;
        let member = archive
            .members()
            .get(index as usize)
            .ok_or(Error::NotFound)?;
        Ok((member.len_bytes, Bytes::new(member.name.as_bytes())?))
    }

    fn wall_clock(&mut self, _: &mut NameClient) -> Result<u64, Error> {
        self.world.wall_clock_ns().ok_or(Error::NoService)
    }

    fn set_wall_clock(&mut self, client: &mut NameClient, boot_ns: u64) -> Result<(), Error> {
        require(client, rights::CLOCK)?;
        // File systems and the like count in signed nanoseconds.
        let latest = i64::MAX as u64;
        let now = boot_ns.checked_add(viper_rt::clock::now());
        now.filter(|now| *now <= latest)
            .ok_or(Error::InvalidArgument)?;
        self.world.set_wall_clock_ns(boot_ns);
        Ok(())
    }

    fn end_family(&mut self, client: &mut NameClient, process_id: u64) -> Result<(), Error> {
        let owner = self.managed.get(client.owner).ok_or(Error::NoRight)?;
        let system = self.world.system().ok_or(Error::NoService)?;
        super::orphans::end_family(system, process_id, owner.process_id)
    }
}

impl<W: World> Init<W> {
    /// The process of the manifest with this name, with or without the colon of its service.
    fn server(&self, name: &Bytes) -> Result<usize, Error> {
        let name = name.as_str()?;
        if name.is_empty() {
            // What offers no service has an empty name for it.
            return Err(Error::NotFound);
        }
        let matches = |m: &Managed| {
            m.entry.name.eq_ignore_ascii_case(name) || m.entry.service().eq_ignore_ascii_case(name)
        };
        self.managed.iter().position(matches).ok_or(Error::NotFound)
    }

    fn kept_slot(&mut self, client: &NameClient, slot: u32) -> Result<&mut Option<Bytes>, Error> {
        require(client, rights::KEEP)?;
        let owner = self.managed.get_mut(client.owner).ok_or(Error::NoRight)?;
        let place = owner.kept.get_mut(slot as usize);
        place.ok_or(Error::InvalidArgument)
    }

    fn kill(&mut self, index: usize) -> Result<(), Error> {
        self.managed[index]
            .process
            .as_ref()
            .ok_or(Error::Ended)?
            .kill(20)
    }
}

fn require(client: &NameClient, right: u64) -> Result<(), Error> {
    if client.rights & right == right {
        Ok(())
    } else {
        Err(Error::NoRight)
    }
}

fn status(managed: &Managed) -> ServerStatus {
    ServerStatus {
        process_id: managed.process_id,
        state: match managed.supervision.state() {
            State::Off => state::OFF,
            State::Pending | State::Starting => state::STARTING,
            State::Ready => state::READY,
            State::Waiting(_) => state::WAITING,
            State::Failed => state::FAILED,
        },
        starts: managed.supervision.starts(),
        started_ns: managed.supervision.started_ns(),
        exit_code: managed.exit_code,
    }
}
