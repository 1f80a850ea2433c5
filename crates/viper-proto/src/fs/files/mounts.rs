//! Mounts, attributes with names, and the finer ways to make something durable.

use super::{DATA_BYTES, Files};
use crate::fs::{FileId, MountInfo, MountOptions, PathSent, Statistics, VolumeId};
use crate::names;
use alloc::string::String;
use alloc::vec::Vec;
use viper_rt::Error;

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What is known of it.
    pub info: MountInfo,
    /// Its device, such as `D1`.
    pub device: String,
    /// Where it is.
    pub path: String,
}

impl Files {
    /// The mount at `index`; `None` behind the last.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn mount_at(&mut self, names: &names::Client, index: u32) -> Result<Option<Mount>, Error> {
        match self.with(names, true, |s| s.client.mount_at(index)) {
            Ok((info, device, path)) => Ok(Some(Mount {
                info,
                device: device.as_str()?.into(),
                path: path.as_str()?.into(),
            })),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Mounts the volume of a device on a directory. `Some`: what is wrong with the device.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn mount(
        &mut self,
        names: &names::Client,
        device: &str,
        path: &str,
        options: MountOptions,
    ) -> Result<Option<String>, Error> {
        self.with(names, false, |s| {
            let path = s.path(path, 0)?;
            let refused = s.client.mount(options, device.as_bytes(), path)?;
            Ok((!refused.is_empty()).then_some(refused.as_str()?.into()))
        })
    }

    /// Ends a mount.
    ///
    /// # Errors
    /// Those of the file service: [`Error::Busy`] while something on it is in use.
    pub fn unmount(&mut self, names: &names::Client, path: &str, force: bool) -> Result<(), Error> {
        self.with(names, false, |s| s.client.unmount(force, s.path(path, 0)?))
    }

    /// Sets what the mount that a path is on may hold: bytes, and files and directories.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn set_quota(
        &mut self,
        names: &names::Client,
        path: &str,
        bytes: u64,
        inodes: u64,
    ) -> Result<(), Error> {
        self.with(names, true, |s| {
            s.client.set_quota(bytes, inodes, s.path(path, 0)?)
        })
    }

    /// Identity and name of the volume that a path is on.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn volume_at(
        &mut self,
        names: &names::Client,
        path: &str,
    ) -> Result<(VolumeId, String), Error> {
        self.with(names, true, |s| {
            let (volume, label) = s.client.volume_at(s.path(path, 0)?)?;
            Ok((volume, label.as_str()?.into()))
        })
    }

    /// What is known of the file system that a path is on.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn statistics_at(
        &mut self,
        names: &names::Client,
        path: &str,
    ) -> Result<Statistics, Error> {
        self.with(names, true, |s| s.client.statistics_at(s.path(path, 0)?))
    }

    /// Returns when a file's data is on stable storage, and what is needed to read it.
    ///
    /// # Errors
    /// As [`Files::sync_file`].
    pub fn sync_data(&mut self, names: &names::Client, file: FileId) -> Result<(), Error> {
        self.with_file(names, file, true, |s, remote| s.client.sync_data(remote))?;
        self.synced(file);
        Ok(())
    }

    /// Returns when everything of the volume that a file is on is on stable storage.
    ///
    /// # Errors
    /// As [`Files::sync_file`]. A loss of changes to other files is told by operations on them.
    pub fn sync_volume(&mut self, names: &names::Client, file: FileId) -> Result<(), Error> {
        self.with_file(names, file, true, |s, remote| s.client.sync_volume(remote))?;
        self.synced(file);
        Ok(())
    }

    fn synced(&mut self, file: FileId) {
        if let Some(Some(open)) = self.open.get_mut(file.0 as usize) {
            open.is_unsynced = false;
        }
    }

    /// The value of an attribute by its name; `flags` as in [`crate::fs::attribute`].
    ///
    /// # Errors
    /// Those of the file service; [`Error::NotFound`] also if there is no such attribute.
    pub fn attribute(
        &mut self,
        names: &names::Client,
        path: &str,
        name: &str,
        flags: u32,
    ) -> Result<Vec<u8>, Error> {
        self.fetch(names, |s| {
            let (path, name) = (s.path(path, 0)?, s.path(name, 1)?);
            s.client
                .attribute_get(flags, path, name, DATA_BYTES as u64, 0)
        })
    }

    /// The names of all attributes.
    ///
    /// # Errors
    /// Those of the file service; [`Error::Corrupt`] if one is not UTF-8.
    pub fn attributes(
        &mut self,
        names: &names::Client,
        path: &str,
        flags: u32,
    ) -> Result<Vec<String>, Error> {
        let bytes = self.fetch(names, |s| {
            let path = s.path(path, 0)?;
            s.client.attribute_list(flags, path, DATA_BYTES as u64, 0)
        })?;
        let whole = bytes
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty());
        whole
            .map(|name| String::from_utf8(name.into()).map_err(|_| Error::Corrupt))
            .collect()
    }

    /// What an operation left at the start of the session's memory.
    fn fetch(
        &mut self,
        names: &names::Client,
        operation: impl Fn(&super::Session) -> Result<u64, Error>,
    ) -> Result<Vec<u8>, Error> {
        self.touched();
        self.with(names, true, |s| {
            let size = usize::try_from(operation(s)?).map_err(|_| Error::BadMessage)?;
            if size > DATA_BYTES {
                return Err(Error::FileTooLarge);
            }
            let mut bytes = alloc::vec![0; size];
            s.memory.read(0, &mut bytes)?;
            Ok(bytes)
        })
    }

    /// Sets an attribute; `flags` as in [`crate::fs::attribute`].
    ///
    /// # Errors
    /// Those of the file service.
    pub fn set_attribute(
        &mut self,
        names: &names::Client,
        path: &str,
        name: &str,
        value: &[u8],
        flags: u32,
    ) -> Result<(), Error> {
        if value.len() > DATA_BYTES {
            return Err(Error::LimitReached);
        }
        self.touched();
        self.with_names(names, |s| {
            s.memory.write(0, value)?;
            let (path, name) = (s.path(path, 0)?, s.path(name, 1)?);
            let len = value.len() as u64;
            s.client.attribute_set(flags, path, name, len, 0)
        })
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn remove_attribute(
        &mut self,
        names: &names::Client,
        path: &str,
        name: &str,
        flags: u32,
    ) -> Result<(), Error> {
        self.with_names(names, |s| {
            let (path, name): (PathSent<'_>, PathSent<'_>) = (s.path(path, 0)?, s.path(name, 1)?);
            s.client.attribute_remove(flags, path, name)
        })
    }

    /// All of the session's memory is about to be used for something else than windows.
    fn touched(&mut self) {
        if let Some(session) = &mut self.session {
            session.windows.touched(DATA_BYTES);
        }
    }
}
