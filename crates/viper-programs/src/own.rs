//! A program's own executable, started again as a child with a role.

use alloc::format;
use alloc::vec::Vec;
use viper_proto::fs::{FileId, Files, flags};
use viper_proto::names;
use viper_rt::abi::{FOREVER, Handle, ProcessInfo, Rights, Signals, Slot};
use viper_rt::handle::{Channel, Process, Quota};
use viper_rt::spawn::{Program, Start};
use viper_rt::{Error, Object, clock, program};

/// What a program that starts children of itself has.
#[derive(Debug)]
pub struct Own {
    /// The name service.
    pub names: names::Client,
    /// Files, in a session of their own.
    pub files: Files,
    /// The account of this program.
    pub quota: Quota,
    /// The executable.
    pub image: Program,
}

impl Own {
    /// Takes names and quota, and loads the executable: the first argument, else `C:` + `name`.
    ///
    /// # Errors
    /// [`Error::NoService`] without names, [`Error::NotFound`] without the executable.
    pub fn new(name: &str) -> Result<Own, Error> {
        let channel: Channel = program::take(Slot::NAMES)
            .ok_or(Error::NoService)?
            .into_object();
        let names = names::Client::new(channel);
        let quota = program::take(Slot::QUOTA)
            .ok_or(Error::NoRight)?
            .into_object();
        let mut files = Files::new();
        let first = program::arguments().next().unwrap_or_default();
        let image = load(&names, &mut files, first)
            .or_else(|_| load(&names, &mut files, &format!("/c/{first}")))
            .or_else(|_| load(&names, &mut files, &format!("/c/{name}")))?;
        Ok(Own {
            names,
            files,
            quota,
            image,
        })
    }

    /// Waits for the end of `devtest`, if somebody has started it, and tells its exit code.
    ///
    /// # Errors
    /// [`Error::NotFound`] if nobody has, [`Error::TimedOut`], those of the name service.
    pub fn devtest(&self) -> Result<i64, Error> {
        let deadline = clock::after(60 * clock::SECOND);
        loop {
            let status = self.names.server_status(b"devtest")?;
            match (status.starts, status.process_id) {
                (0, _) => return Err(Error::NotFound),
                (_, 0) => return Ok(status.exit_code),
                _ if clock::now() > deadline => return Err(Error::TimedOut),
                _ => clock::sleep(10 * clock::MILLISECOND),
            }
        }
    }

    /// Starts a child with this quota in bytes; `words` are its arguments behind the name.
    ///
    /// # Errors
    /// Those of making a process.
    pub fn child(
        &self,
        limit_bytes: u64,
        words: &[&str],
        handles: &[(Slot, Handle, Rights)],
    ) -> Result<(Process, Quota), Error> {
        let quota = self.quota.carve(limit_bytes)?;
        let mut arguments: Vec<&[u8]> = Vec::from([b"child".as_slice()]);
        arguments.extend(words.iter().map(|word| word.as_bytes()));
        let mut all = Vec::from([(Slot::QUOTA, quota.raw(), Rights::ALL)]);
        all.extend_from_slice(handles);
        let process = self.image.start(&Start {
            name: "child",
            quota: &quota,
            priority: 3,
            arguments: &arguments,
            environment: &[],
            handles: &all,
        })?;
        Ok((process, quota))
    }
}

/// Loads an executable from a file.
///
/// # Errors
/// Those of the file service, [`Error::NotExecutable`].
pub fn load(names: &names::Client, files: &mut Files, path: &str) -> Result<Program, Error> {
    let (file, attributes) = files.open(names, path, flags::READ, 0)?;
    let program = load_open(names, files, file, attributes.size_bytes);
    let _ = files.close(file);
    program
}

/// Loads an executable of `len_bytes` bytes from an open file.
///
/// # Errors
/// Those of the file service, [`Error::NotExecutable`].
pub fn load_open(
    names: &names::Client,
    files: &mut Files,
    file: FileId,
    len_bytes: u64,
) -> Result<Program, Error> {
    Program::load(len_bytes, |offset, to| {
        let mut done = 0;
        while done < to.len() {
            match files.read(names, file, offset + done as u64, &mut to[done..])? {
                0 => return Err(Error::NotExecutable),
                count => done += count,
            }
        }
        Ok(())
    })
}

/// Waits for the end of a process, at most until the deadline, and tells how it was.
///
/// # Errors
/// [`Error::TimedOut`]: it was killed then.
pub fn end_of(process: &Process, deadline: u64) -> Result<ProcessInfo, Error> {
    if let Err(error) = process.wait(Signals::ENDED, deadline) {
        let _ = process.kill(-9);
        let _ = process.wait(Signals::ENDED, FOREVER);
        return Err(error);
    }
    process.info()
}
