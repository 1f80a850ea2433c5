//! Mounting, and what is known of mounts.

use crate::clients::FileClient;
use crate::contents;
use crate::convert::volume_of;
use crate::device::Device;
use crate::node::Node;
use crate::service::Fsd;
use crate::user::User;
use crate::volume::How;
use crate::world::World;
use alloc::string::ToString;
use viper_proto::fs::{MountInfo, MountOptions, VolumeId};
use viper_rt::Error;
use viper_rt::message::Bytes;
use viperfs::{FileKind, Quota};

impl<W: World> Fsd<W> {
    pub(crate) fn try_mount_at(&mut self, index: u32) -> Result<(MountInfo, Bytes, Bytes), Error> {
        // Files that rest are not open.
        self.names_go();
        let (volume, path) = self.mounts.at(index).ok_or(Error::NotFound)?;
        let info = MountInfo {
            state: volume.mount_state(),
            open_files: volume.open_files,
            quota_bytes: volume.how.quota.bytes,
            quota_inodes: volume.how.quota.inodes,
            inodes: volume.inodes().unwrap_or(0),
        };
        let device = volume.device.to_string();
        Ok((info, Bytes::new(device.as_bytes())?, Bytes::new(&path)?))
    }

    pub(crate) fn try_mount(
        &mut self,
        who: User,
        options: &MountOptions,
        device: &str,
        path: &[u8],
    ) -> Result<Bytes, Error> {
        who.administers()?;
        let place = self.mounts.place(who, path, true)?;
        if self.mounts.attr(place.node)?.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        // The engine may have walked, which tells no path.
        let path = match place.path.as_slice() {
            [] => self.mounts.real_path(path)?,
            _ => place.path,
        };
        let Some(device) = Device::parse(device) else {
            return Ok(Bytes::clip(
                b"devices are D0 to D3, and D1.2 for the second partition of D1",
            ));
        };
        self.contents.forget();
        if !contents::has_room(contents::VOLUME_BYTES) {
            return Ok(Bytes::clip(
                b"there is not enough memory for another volume",
            ));
        }
        let how = How {
            read_only: options.read_only,
            quota: Quota {
                bytes: options.quota_bytes,
                inodes: options.quota_inodes,
            },
        };
        let refused = self.mounts.mount(device, &path, how)?;
        self.names_go();
        Ok(Bytes::clip(refused.unwrap_or_default().as_bytes()))
    }

    pub(crate) fn try_unmount(&mut self, who: User, path: &[u8], force: bool) -> Result<(), Error> {
        who.administers()?;
        if self.mounts.is_single() {
            // It says whether the path is there at all.
            let place = self.mounts.place(who, path, true)?;
            let is_root = place.node == Node::ROOT;
            return Err(if is_root {
                Error::Busy
            } else {
                Error::NotFound
            });
        }
        let place = self.mounts.place(who, path, true)?;
        self.contents.forget();
        // What rests there is closed.
        self.names_go();
        self.mounts.unmount(&place.path, force)
    }

    pub(crate) fn volume_of_node(&mut self, node: Node) -> Result<(VolumeId, Bytes), Error> {
        let stat = self.mounts.of(node)?.fs()?.statfs();
        Ok((volume_of(&stat), Bytes::new(stat.label.as_bytes())?))
    }

    /// One commit makes everything of a volume durable.
    pub(crate) fn sync_volume_of(&mut self, client: &FileClient, file: u32) -> Result<(), Error> {
        let node = client.file(file)?.node;
        self.mounts.of(node)?.sync()
    }
}
