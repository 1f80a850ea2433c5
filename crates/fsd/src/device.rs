//! What users call disks and partitions by.

use core::fmt;

/// Disks there may be.
pub(crate) const DISKS_MAX: u32 = 4;

/// A disk, or a partition of it: `D1`, `D1.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// The disk, from 0.
    pub(crate) disk: u32,
    /// The partition, from 1; `None`: the volume on the whole disk, or else the first partition
    /// that has one.
    pub(crate) partition: Option<u32>,
}

impl Device {
    /// What the machine was started from.
    pub(crate) const FIRST: Device = Device {
        disk: 0,
        partition: None,
    };

    /// The device of this name, in any case of letters, perhaps with a colon behind it.
    pub(crate) fn parse(name: &str) -> Option<Device> {
        let name = name.strip_suffix(':').unwrap_or(name);
        let rest = name.strip_prefix(['D', 'd'])?;
        let (disk, partition) = match rest.split_once('.') {
            Some((disk, partition)) => (disk, Some(number(partition).filter(|&n| n > 0)?)),
            None => (rest, None),
        };
        let disk = number(disk).filter(|&n| n < DISKS_MAX)?;
        Some(Device { disk, partition })
    }

    /// The disk that it is (on).
    pub(crate) const fn whole(self) -> Device {
        Device {
            partition: None,
            ..self
        }
    }
}

fn number(text: &str) -> Option<u32> {
    let is_plain =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "D{}", self.disk)?;
        match self.partition {
            Some(partition) => write!(f, ".{partition}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (text, disk, partition) in [
            ("D0", 0, None),
            ("d1", 1, None),
            ("D3:", 3, None),
            ("D1.2", 1, Some(2)),
            ("d2.128:", 2, Some(128)),
        ] {
            let device = Device::parse(text).unwrap();
            assert_eq!((device.disk, device.partition), (disk, partition), "{text}");
            assert_eq!(Device::parse(&device.to_string()), Some(device));
        }
        for text in [
            "",
            "D",
            "D4",
            "1",
            "D-1",
            "D1.",
            "D1.0",
            "D1.x",
            "D01",
            "D+1",
            "D1.01",
            "D1::",
            "SYS",
            "D99999999999",
            "D1.99999999999",
        ] {
            assert_eq!(Device::parse(text), None, "{text}");
        }
    }
}
