//! Whole files, with many requests under way at once.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Attributes, Handle, OpenFlags, RequestId, Response, SftpClient, Status};
use crate::Error;

/// Data of one request. Every server takes this much.
const CHUNK_LEN: u32 = 32 * 1024;
/// Requests of one transfer that may be unanswered.
const DEPTH: usize = 32;

/// A piece of a file that arrived. Pieces may come in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where it belongs.
    pub offset: u64,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// Fetches a file: give it every response, write what it gives back.
pub struct Download {
    stage: Stage,
    pending: BTreeMap<RequestId, (u64, u32)>,
    next: u64,
    /// The file ends at, or before, this.
    end: Option<u64>,
    failure: Option<Status>,
}

enum Stage {
    Opening(RequestId),
    Open(Handle),
    Closing(RequestId),
    Done,
}

impl Download {
    /// Starts to fetch a file.
    ///
    /// # Errors
    /// As [`SftpClient::open`].
    pub fn start(client: &mut SftpClient, path: &str) -> Result<Self, Error> {
        Self::start_at(client, path, 0)
    }

    /// Starts to fetch what a file has from `offset` on.
    ///
    /// # Errors
    /// As [`SftpClient::open`].
    pub fn start_at(client: &mut SftpClient, path: &str, offset: u64) -> Result<Self, Error> {
        let id = client.open(path, OpenFlags::READ, &Attributes::default())?;
        Ok(Download {
            stage: Stage::Opening(id),
            pending: BTreeMap::new(),
            next: offset,
            end: None,
            failure: None,
        })
    }

    /// Takes a response; one of another request changes nothing.
    ///
    /// # Errors
    /// As [`SftpClient::read`].
    pub fn handle(
        &mut self,
        client: &mut SftpClient,
        id: RequestId,
        response: &Response,
    ) -> Result<Option<Chunk>, Error> {
        let chunk = match &self.stage {
            Stage::Opening(asked) if *asked == id => {
                match response {
                    Response::Handle(handle) => self.stage = Stage::Open(handle.clone()),
                    other => self.end_with(other),
                }
                None
            }
            Stage::Closing(asked) if *asked == id => {
                self.stage = Stage::Done;
                None
            }
            Stage::Open(handle) => {
                let handle = handle.clone();
                self.handle_data(client, &handle, id, response)?
            }
            _ => None,
        };
        self.go_on(client)?;
        Ok(chunk)
    }

    /// Whether it is over, and how it ended.
    pub fn result(&self) -> Option<Result<(), Status>> {
        match self.stage {
            Stage::Done => Some(self.failure.map_or(Ok(()), Err)),
            _ => None,
        }
    }

    fn end_with(&mut self, response: &Response) {
        self.failure = Some(failure_of(response));
        self.stage = Stage::Done;
    }

    fn handle_data(
        &mut self,
        client: &mut SftpClient,
        handle: &Handle,
        id: RequestId,
        response: &Response,
    ) -> Result<Option<Chunk>, Error> {
        let Some((offset, len)) = self.pending.remove(&id) else {
            return Ok(None);
        };
        match response {
            Response::Data(data) if !data.is_empty() && data.len() <= len as usize => {
                let got = data.len() as u32;
                let after = offset.saturating_add(got.into());
                if got < len && self.end.is_none_or(|end| after < end) {
                    // A short read is not the end: ask for what is missing.
                    let id = client.read(handle, after, len - got)?;
                    self.pending.insert(id, (after, len - got));
                }
                Ok(Some(Chunk {
                    offset,
                    data: data.clone(),
                }))
            }
            Response::Status {
                status: Status::Eof,
                ..
            } => {
                self.end = Some(self.end.map_or(offset, |end| end.min(offset)));
                Ok(None)
            }
            other => {
                self.failure.get_or_insert(failure_of(other));
                Ok(None)
            }
        }
    }

    fn go_on(&mut self, client: &mut SftpClient) -> Result<(), Error> {
        let Stage::Open(handle) = &self.stage else {
            return Ok(());
        };
        if self.end.is_none() && self.failure.is_none() {
            while self.pending.len() < DEPTH {
                let id = client.read(handle, self.next, CHUNK_LEN)?;
                self.pending.insert(id, (self.next, CHUNK_LEN));
                self.next = self.next.saturating_add(CHUNK_LEN.into());
            }
        } else if self.pending.is_empty() {
            self.stage = Stage::Closing(client.close(handle)?);
        }
        Ok(())
    }
}

/// Stores a file: give it every response, and data while it wants some.
pub struct Upload {
    stage: Stage,
    pending: Vec<RequestId>,
    next: u64,
    ended: bool,
    failure: Option<Status>,
}

impl Upload {
    /// Starts to store a file, which is made or emptied.
    ///
    /// # Errors
    /// As [`SftpClient::open`].
    pub fn start(
        client: &mut SftpClient,
        path: &str,
        attributes: &Attributes,
    ) -> Result<Self, Error> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let id = client.open(path, flags, attributes)?;
        Ok(Self::opening(id, 0))
    }

    /// Starts to store what a file, which must be there, is to have from `offset` on.
    ///
    /// # Errors
    /// As [`SftpClient::open`].
    pub fn start_at(client: &mut SftpClient, path: &str, offset: u64) -> Result<Self, Error> {
        let id = client.open(path, OpenFlags::WRITE, &Attributes::default())?;
        Ok(Self::opening(id, offset))
    }

    fn opening(id: RequestId, next: u64) -> Self {
        Upload {
            stage: Stage::Opening(id),
            pending: Vec::new(),
            next,
            ended: false,
            failure: None,
        }
    }

    /// How much data [`feed`](Self::feed) takes now.
    pub fn wants(&self) -> usize {
        let open = matches!(self.stage, Stage::Open(_)) && !self.ended && self.failure.is_none();
        if open && self.pending.len() < DEPTH {
            CHUNK_LEN as usize
        } else {
            0
        }
    }

    /// Takes the next bytes of the file, at most as many as [`wants`](Self::wants) says; none
    /// means that the file ends.
    ///
    /// # Errors
    /// [`Error::WrongState`] for more than it wants; as [`SftpClient::write`].
    pub fn feed(&mut self, client: &mut SftpClient, data: &[u8]) -> Result<(), Error> {
        let Stage::Open(handle) = &self.stage else {
            return Err(Error::WrongState);
        };
        if data.len() > self.wants() {
            return Err(Error::WrongState);
        }
        if data.is_empty() {
            self.ended = true;
            return self.go_on(client);
        }
        self.pending.push(client.write(handle, self.next, data)?);
        self.next = self.next.saturating_add(data.len() as u64);
        Ok(())
    }

    /// Takes a response; one of another request changes nothing.
    ///
    /// # Errors
    /// As [`SftpClient::close`].
    pub fn handle(
        &mut self,
        client: &mut SftpClient,
        id: RequestId,
        response: &Response,
    ) -> Result<(), Error> {
        let ok = matches!(
            response,
            Response::Status {
                status: Status::Ok,
                ..
            }
        );
        match &self.stage {
            Stage::Opening(asked) if *asked == id => match response {
                Response::Handle(handle) => self.stage = Stage::Open(handle.clone()),
                other => {
                    self.failure = Some(failure_of(other));
                    self.stage = Stage::Done;
                }
            },
            Stage::Closing(asked) if *asked == id => {
                if !ok {
                    self.failure.get_or_insert(failure_of(response));
                }
                self.stage = Stage::Done;
            }
            Stage::Open(_) => {
                if let Some(index) = self.pending.iter().position(|asked| *asked == id) {
                    self.pending.swap_remove(index);
                    if !ok {
                        self.failure.get_or_insert(failure_of(response));
                    }
                }
            }
            _ => {}
        }
        self.go_on(client)
    }

    /// Whether it is over, and how it ended.
    pub fn result(&self) -> Option<Result<(), Status>> {
        match self.stage {
            Stage::Done => Some(self.failure.map_or(Ok(()), Err)),
            _ => None,
        }
    }

    fn go_on(&mut self, client: &mut SftpClient) -> Result<(), Error> {
        if let Stage::Open(handle) = &self.stage
            && (self.ended || self.failure.is_some())
            && self.pending.is_empty()
        {
            self.stage = Stage::Closing(client.close(handle)?);
        }
        Ok(())
    }
}

/// What went wrong, when a response is not the one hoped for.
fn failure_of(response: &Response) -> Status {
    match response {
        Response::Status { status, .. } if *status != Status::Ok => *status,
        _ => Status::BadMessage,
    }
}
