//! The files of a server: SFTP over a channel of the link, one thing at a time.

use crate::failure::{About, Result, fail};
use crate::link::Link;
use crate::local::Local;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use viper_ssh::sftp::{
    Attributes, Download, Entry, Handle, RequestId, Response, SftpClient, SftpEvent, Status, Upload,
};
use viper_ssh::{ChannelId, Error, Event, Request};

/// Told how many bytes of how many were moved.
pub type Progress<'a> = &'a mut dyn FnMut(u64, Option<u64>);

/// The server's files.
pub struct Remote {
    link: Link,
    channel: ChannelId,
    sftp: SftpClient,
    answers: VecDeque<(RequestId, Response)>,
    unread: Vec<u8>,
    start: usize,
    can_replace: bool,
}

impl Remote {
    /// Starts SFTP.
    ///
    /// # Errors
    /// A sentence if the server has no SFTP.
    pub fn start(mut link: Link) -> Result<Remote> {
        let channel = link.session.open_session()?;
        loop {
            match link.next_event()? {
                Event::ChannelOpened(_) => {
                    let request = Request::Subsystem("sftp".into());
                    link.session.request(channel, &request, true)?;
                }
                Event::Reply { success: true, .. } => break,
                Event::Reply { .. } | Event::ChannelRefused { .. } => {
                    return fail("the server has no SFTP");
                }
                _ => {}
            }
        }
        let mut remote = Remote {
            link,
            channel,
            sftp: SftpClient::new(),
            answers: VecDeque::new(),
            unread: Vec::new(),
            start: 0,
            can_replace: false,
        };
        loop {
            remote.step()?;
            if let Some(SftpEvent::Ready { extensions }) = remote.sftp.poll_event() {
                let mut names = extensions.iter();
                remote.can_replace = names.any(|name| name == "posix-rename@openssh.com");
                return Ok(remote);
            }
        }
    }

    /// Ends the session.
    pub fn close(self) {
        self.link.close();
    }

    /// Moves bytes until something moved.
    fn step(&mut self) -> Result<()> {
        loop {
            let mut moved = self.link.pump()?;
            while let Some(event) = self.link.event()? {
                if matches!(event, Event::Closed(_) | Event::Eof(_)) {
                    return fail("the server ended SFTP");
                }
                moved = true;
            }
            moved |= self.pump()?;
            if moved {
                return Ok(());
            }
            self.link.wait()?;
        }
    }

    fn pump(&mut self) -> Result<bool> {
        let session = &mut self.link.session;
        let mut moved = false;
        while !self.sftp.poll_output().is_empty() {
            let sent = session.write(self.channel, self.sftp.poll_output())?;
            if sent == 0 {
                break;
            }
            self.sftp.output_sent(sent);
            moved = true;
        }
        if self.start == self.unread.len() {
            let space = &mut self.link.space;
            let count = session.read(self.channel, space)?;
            self.unread.clear();
            self.unread.extend_from_slice(&space[..count]);
            self.start = 0;
        }
        let taken = self.sftp.handle_input(&self.unread[self.start..])?;
        self.start += taken;
        Ok(moved || taken > 0)
    }

    /// The next answer to any request.
    fn next(&mut self) -> Result<(RequestId, Response)> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(answer);
            }
            while let Some(event) = self.sftp.poll_event() {
                if let SftpEvent::Response { id, response } = event {
                    self.answers.push_back((id, response));
                }
            }
            if self.answers.is_empty() {
                self.step()?;
            }
        }
    }

    fn ask(
        &mut self,
        request: impl FnOnce(&mut SftpClient) -> core::result::Result<RequestId, Error>,
    ) -> Result<Response> {
        let wanted = request(&mut self.sftp)?;
        loop {
            let (id, response) = self.next()?;
            if id == wanted {
                return Ok(response);
            }
        }
    }

    /// Asks for something that is only done or not.
    fn act(
        &mut self,
        what: &str,
        request: impl FnOnce(&mut SftpClient) -> core::result::Result<RequestId, Error>,
    ) -> Result<()> {
        match self.ask(request)? {
            Response::Status {
                status: Status::Ok, ..
            } => Ok(()),
            other => Err(refusal(what, &other)),
        }
    }

    /// The absolute path.
    ///
    /// # Errors
    /// A sentence about why not, as for all that follow.
    pub fn real_path(&mut self, path: &str) -> Result<String> {
        match self.ask(|s| s.real_path(path))? {
            Response::Names(names) if !names.is_empty() => Ok(names[0].name.clone()),
            other => Err(refusal(path, &other)),
        }
    }

    /// What is known of a file.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn attributes(&mut self, path: &str) -> Result<Attributes> {
        match self.ask(|s| s.attributes(path, true))? {
            Response::Attributes(attributes) => Ok(attributes),
            other => Err(refusal(path, &other)),
        }
    }

    /// Whether there is a directory.
    pub fn is_directory(&mut self, path: &str) -> bool {
        let known = self.attributes(path).ok().and_then(|a| a.kind());
        known == Some(viper_ssh::sftp::FileKind::Directory)
    }

    /// What is in a directory, in order.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn list(&mut self, path: &str) -> Result<Vec<Entry>> {
        let handle: Handle = match self.ask(|s| s.open_directory(path))? {
            Response::Handle(handle) => handle,
            other => return Err(refusal(path, &other)),
        };
        let mut entries = Vec::new();
        loop {
            match self.ask(|s| s.read_directory(&handle))? {
                Response::Names(names) => entries.extend(names),
                Response::Status {
                    status: Status::Eof,
                    ..
                } => break,
                other => return Err(refusal(path, &other)),
            }
        }
        self.act(path, |s| s.close(&handle))?;
        entries.retain(|entry| entry.name != "." && entry.name != "..");
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn make_directory(&mut self, path: &str) -> Result<()> {
        self.act(path, |s| s.make_directory(path, &Attributes::default()))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn remove_directory(&mut self, path: &str) -> Result<()> {
        self.act(path, |s| s.remove_directory(path))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn remove(&mut self, path: &str) -> Result<()> {
        self.act(path, |s| s.remove(path))
    }

    /// Renames; replaces what is there if the server can.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let can_replace = self.can_replace;
        self.act(from, |s| match can_replace {
            true => s.replace(from, to),
            false => s.rename(from, to),
        })
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn symlink(&mut self, target: &str, path: &str) -> Result<()> {
        self.act(path, |s| s.symlink(target, path))
    }

    /// Changes the permissions of a file.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn set_mode(&mut self, path: &str, mode: u32) -> Result<()> {
        let set = Attributes {
            permissions: Some(mode),
            ..Attributes::default()
        };
        self.set_attributes(path, &set)
    }

    /// Changes what is given of the attributes of a file.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn set_attributes(&mut self, path: &str, set: &Attributes) -> Result<()> {
        self.act(path, |s| s.set_attributes(path, set))
    }

    /// Fetches a file; with `resume` only what comes after what is there of it.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn get(
        &mut self,
        from: &str,
        local: &mut Local,
        to: &str,
        resume: bool,
        progress: Progress<'_>,
    ) -> Result<()> {
        let size = self.attributes(from)?.size;
        let (file, done) = match resume && local.stat(to).is_ok() {
            true => local.open_again(to)?,
            false => (local.create(to)?, 0),
        };
        let result = match size {
            Some(size) if size < done => fail(format!("{to} is longer than {from}")),
            _ => self.download(from, local, (to, file, done), size, progress),
        };
        let closed = local.close(file).about(to);
        result.and(closed)
    }

    fn download(
        &mut self,
        from: &str,
        local: &mut Local,
        (to, file, mut done): (&str, viper_proto::fs::FileId, u64),
        size: Option<u64>,
        progress: Progress<'_>,
    ) -> Result<()> {
        let mut download = Download::start_at(&mut self.sftp, from, done)?;
        loop {
            if let Some(result) = download.result() {
                return result.about(from);
            }
            let (id, response) = self.next()?;
            if let Some(chunk) = download.handle(&mut self.sftp, id, &response)? {
                local.write(file, chunk.offset, &chunk.data).about(to)?;
                done += chunk.data.len() as u64;
                progress(done, size);
            }
        }
    }

    /// Stores a file; with `resume` only what comes after what the server has of it.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn put(
        &mut self,
        local: &mut Local,
        from: &str,
        to: &str,
        resume: bool,
        progress: Progress<'_>,
    ) -> Result<()> {
        let (file, known) = local.open(from)?;
        let there = match resume {
            true => self.attributes(to).ok().and_then(|known| known.size),
            false => None,
        };
        let attributes = Attributes {
            permissions: Some(known.mode & 0o777),
            ..Attributes::default()
        };
        let size = known.size_bytes;
        let upload = match there {
            Some(there) if there > size => fail(format!("{to} is longer than {from}")),
            Some(there) => Upload::start_at(&mut self.sftp, to, there).about(to),
            None => Upload::start(&mut self.sftp, to, &attributes).about(to),
        };
        let done = there.unwrap_or(0);
        let result = upload
            .and_then(|upload| self.upload(local, (from, file, done, size), to, upload, progress));
        let closed = local.close(file).about(from);
        result.and(closed)
    }

    fn upload(
        &mut self,
        local: &mut Local,
        (from, file, mut done, size): (&str, viper_proto::fs::FileId, u64, u64),
        to: &str,
        mut upload: Upload,
        progress: Progress<'_>,
    ) -> Result<()> {
        let mut piece = alloc::vec![0; 32 * 1024];
        loop {
            if let Some(result) = upload.result() {
                return result.about(to);
            }
            let wanted = upload.wants().min(piece.len());
            if wanted > 0 {
                let count = local.read(file, done, &mut piece[..wanted]).about(from)?;
                upload.feed(&mut self.sftp, &piece[..count])?;
                done += count as u64;
                progress(done, Some(size));
                self.pump()?;
                continue;
            }
            let (id, response) = self.next()?;
            upload.handle(&mut self.sftp, id, &response)?;
        }
    }
}

fn refusal(what: &str, response: &Response) -> crate::failure::Failure {
    let text = match response {
        Response::Status { status, message } if message.is_empty() => format!("{what}: {status}"),
        Response::Status { message, .. } => format!("{what}: {message}"),
        _ => format!("{what}: the server gave another answer than was asked for"),
    };
    crate::failure::Failure(text)
}
