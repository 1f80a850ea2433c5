//! Info, Mount, Unmount.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Arguments, Spec};
use crate::context::{About, Context, Ended, Stop, fail};
use crate::error::Error;
use crate::path;
use crate::shell::OK;
use crate::system::{MountOptions, VolumeInfo};
use crate::text::{self, Table};

pub(super) static COMMANDS: &[Spec] = &[
    Spec::new("Info", &["df"], "Info [ALL]", "shows the volumes", info)
        .details("ALL (-a) also tells identities, limits, and how many files are open."),
    Spec::new(
        "Mount",
        &[],
        "Mount [device path [READONLY] [QUOTA bytes] [FILES number]]",
        "shows and makes mounts",
        mount,
    )
    .details(
        "`Mount` lists what is mounted. `Mount D1 SYS:work` shows the volume of the second disk in \
         that directory, `Mount D1.2 SYS:work` that of its second partition. READONLY (-r) never \
         writes to it. QUOTA limits the bytes in use (512K, 16M, 2G), FILES the files and \
         directories.",
    ),
    Spec::new(
        "Unmount",
        &["umount", "dismount"],
        "Unmount path [FORCE]",
        "ends a mount",
        unmount,
    )
    .details(
        "Everything is on the disk then. A volume whose files are open stays. FORCE (-f) gives up \
         what a disk that failed does not take.",
    ),
];

fn info(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let args = Arguments::parse(arguments, &[("ALL", "a"), ("IGNORED", "hHkT")])?;
    args.nothing_else()?;
    let volumes = c.sys.volumes()?;
    let mut table = Table::new(&[
        "Device", "Volume", "Root", "Format", ">Size", ">Used", ">Free", ">Full", "State",
    ]);
    for volume in &volumes {
        let used = volume.total.saturating_sub(volume.free);
        let full = (u128::from(used) * 100).div_ceil(u128::from(volume.total.max(1)));
        table.row(Vec::from([
            volume.device.clone(),
            volume.name.clone(),
            path::shown(&volume.root),
            volume.format.clone(),
            text::size(volume.total),
            text::size(used),
            text::size(volume.free),
            format!("{full}%"),
            state(volume),
        ]));
    }
    c.out(&table.text())?;
    if args.has("ALL") {
        c.line("")?;
        let mut table = Table::new(&["Volume", "Identity", ">Open", ">Quota", ">Files"]);
        let limit = |limit: Option<String>| limit.unwrap_or_else(|| String::from("none"));
        for volume in volumes {
            table.row(Vec::from([
                volume.name,
                volume.identity,
                volume.open_files.to_string(),
                limit(volume.limit_bytes.map(text::size)),
                limit(volume.limit_files.map(text::grouped)),
            ]));
        }
        c.out(&table.text())?;
    }
    Ok(OK)
}

fn state(volume: &VolumeInfo) -> String {
    let state = match volume.read_only {
        true => "read-only",
        false => "read/write",
    };
    match volume.note.as_str() {
        "" => state.to_string(),
        note => format!("{state}, {note}"),
    }
}

fn mount(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let keywords = [("READONLY", "r"), ("QUOTA=", ""), ("FILES=", "")];
    let args = Arguments::parse(arguments, &keywords)?;
    let (device, typed) = match args.rest.as_slice() {
        [] if arguments.is_empty() => return list(c),
        [device, typed] => (device, typed),
        [device, on, typed] if on.eq_ignore_ascii_case("ON") => (device, typed),
        _ => return Err(Stop::Usage),
    };
    let options = MountOptions {
        read_only: args.has("READONLY"),
        limit_bytes: args.value("QUOTA=").map(bytes).transpose()?,
        limit_files: args.number("FILES=")?,
    };
    let path = c.locate(typed)?;
    match c.sys.mount(device, &path, &options) {
        Ok(None) => Ok(OK),
        Ok(Some(refused)) => fail(refused),
        Err(Error::AlreadyExists) => fail(format!("{typed}: something is mounted there already")),
        Err(Error::Exhausted) => fail("no more volumes can be mounted"),
        Err(error) => Err(error).about(typed),
    }
}

fn list(c: &mut Context<'_>) -> Ended {
    let mut table = Table::new(&["Device", "Path", "Volume", "State"]);
    for volume in c.sys.volumes()? {
        let state = state(&volume);
        table.row(Vec::from([
            volume.device,
            path::shown(&volume.root),
            volume.name,
            state,
        ]));
    }
    c.out(&table.text())?;
    Ok(OK)
}

fn unmount(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let args = Arguments::parse(arguments, &[("FORCE", "f")])?;
    let [typed] = args.rest.as_slice() else {
        return Err(Stop::Usage);
    };
    let path = c.locate(typed)?;
    let below = |inner: &str| inner.strip_prefix(path.as_str()).is_some_and(is_end);
    if path != "/" && below(&c.shell.state.cwd) {
        return fail(format!("{typed} is in use: the current directory is there"));
    }
    match c.sys.unmount(&path, args.has("FORCE")) {
        Ok(()) => Ok(OK),
        Err(Error::Busy) => fail(why_busy(c, typed, &path)),
        Err(Error::NotFound) => fail(format!("{typed}: nothing is mounted there")),
        Err(error @ (Error::Io | Error::ReadOnly)) => fail(format!(
            "{typed}: {error}: what was written last is not on the disk; FORCE gives it up"
        )),
        Err(error) => Err(error).about(typed),
    }
}

/// What is left of a path behind a directory that holds it, or is it.
fn is_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

/// A sentence about a volume that stays mounted.
fn why_busy(c: &mut Context<'_>, typed: &str, path: &str) -> String {
    if path == "/" {
        return format!("{typed} is what everything else is on");
    }
    let volumes = c.sys.volumes().unwrap_or_default();
    let inner = volumes.iter().find(|volume| {
        let rest = volume.root.strip_prefix(path);
        rest.is_some_and(|rest| rest.starts_with('/'))
    });
    if let Some(inner) = inner {
        let root = path::shown(&inner.root);
        return format!("{typed} is in use: {root} is mounted below");
    }
    let open = volumes.iter().find(|volume| volume.root == path);
    match open.map_or(0, |volume| volume.open_files) {
        0 => format!("{typed} is in use"),
        1 => format!("{typed} is in use: 1 file is open there"),
        count => format!("{typed} is in use: {count} files are open there"),
    }
}

/// A number of bytes: `4096`, `512K`, `16M`, `2G`.
fn bytes(text: &str) -> Result<u64, Stop> {
    let unit = text.chars().next_back().map(|c| c.to_ascii_uppercase());
    let shift = match unit {
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        Some('T') => 40,
        _ => 0,
    };
    let digits = match shift {
        0 => text,
        _ => &text[..text.len() - 1],
    };
    let number = super::number(digits)?;
    number.checked_mul(1 << shift).ok_or(Stop::Usage)
}
