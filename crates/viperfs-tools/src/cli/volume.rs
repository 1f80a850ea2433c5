//! `viperfs IMAGE COMMAND`: looks into images and changes them.

use super::parse;
use crate::copy::entries;
use crate::{
    CopyOptions, FileDevice, ToolError, get, get_file, make_dirs, mount_image,
    mount_image_read_only, now_ns, parse_uuid, put_file, random_uuid, remove_tree,
};
use clap::{Parser, Subcommand};
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use viperfs::{Attr, Error, FileKind, Fs, ROOT_INO};

/// Look into a viperfs image, and change it.
///
/// `viperfs install-links DIR` makes the links mkfs.viperfs, fsck.viperfs and mount.viperfs.
#[derive(Parser)]
#[command(name = "viperfs", version)]
struct Args {
    /// The image
    image: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List a directory, or show one file
    Ls {
        /// Show kind, mode, links, owner, size and time too
        #[arg(short)]
        long: bool,
        #[arg(default_value = "/")]
        path: String,
    },
    /// Write files to standard output
    Cat { paths: Vec<String> },
    /// Copy a file within the image
    Cp { from: String, to: String },
    /// Copy a host file or directory into the image
    Put { host: PathBuf, path: String },
    /// Copy a file or directory of the image to the host
    Get { path: String, host: PathBuf },
    /// Show everything known about a file
    Stat { path: String },
    /// Make directories
    Mkdir {
        /// Make missing parents; no error if it exists
        #[arg(short)]
        parents: bool,
        paths: Vec<String>,
    },
    /// Remove files
    Rm {
        /// Remove directories and all in them
        #[arg(short)]
        recursive: bool,
        paths: Vec<String>,
    },
    /// List everything in the image, with SHA-256 of contents
    Dump,
    /// Print the SHA-256 of a file, or of the whole tree
    Hash {
        #[arg(default_value = "/")]
        path: String,
    },
    /// Show label, uuid and free space
    Df,
    /// Change what the volume is called, or let an older one hold what newer code can write
    Tune {
        /// New name, at most 64 bytes
        #[arg(long, short = 'L')]
        label: Option<String>,
        /// New identity; "random" makes one up
        #[arg(long, value_parser = parse_identity)]
        uuid: Option<[u8; 16]>,
        /// Turn on all features; older code then refuses the volume
        #[arg(long)]
        upgrade: bool,
    },
}

fn parse_identity(text: &str) -> Result<[u8; 16], String> {
    if text == "random" {
        return Ok(random_uuid());
    }
    parse_uuid(text)
}

/// The whole program.
pub fn main() -> ExitCode {
    let args: Args = match parse(2) {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("viperfs: {error}");
            ExitCode::FAILURE
        }
    }
}

type Volume = Fs<FileDevice>;

fn run(args: &Args) -> Result<(), ToolError> {
    let out = &mut io::stdout().lock();
    match &args.command {
        Command::Ls { long, path } => read(args, |v| list(v, path, *long, out)),
        Command::Cat { paths } => read(args, |v| paths.iter().try_for_each(|p| get(v, p, out))),
        Command::Get { path, host } => read(args, |v| get_file(v, path, host)),
        Command::Stat { path } => read(args, |v| stat(v, path, out)),
        Command::Dump => read(args, |v| dump(v, out)),
        Command::Hash { path } => read(args, |v| hash(v, path, out)),
        Command::Df => read(args, |v| free(v, out)),
        Command::Cp { from, to } => change(args, |v| copy(v, from, to)),
        Command::Put { host, path } => change(args, |v| {
            let mut options = CopyOptions::at(now_ns());
            options.keep_times = std::env::var_os("SOURCE_DATE_EPOCH").is_none();
            put_file(v, host, path, &options)
        }),
        Command::Mkdir { parents, paths } => change(args, |v| {
            paths.iter().try_for_each(|p| make(v, p, *parents))
        }),
        Command::Tune {
            label,
            uuid,
            upgrade,
        } => change(args, |v| {
            let failed = |e| ToolError::new(args.image.display().to_string(), e);
            if let Some(label) = label {
                v.set_label(label).map_err(failed)?;
            }
            if let Some(uuid) = uuid {
                v.set_uuid(*uuid).map_err(failed)?;
            }
            if *upgrade {
                v.upgrade().map_err(failed)?;
            }
            Ok(())
        }),
        Command::Rm { recursive, paths } => change(args, |v| {
            paths.iter().try_for_each(|p| remove(v, p, *recursive))
        }),
    }
}

fn read(
    args: &Args,
    f: impl FnOnce(&mut Volume) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    f(&mut mount_image_read_only(&args.image)?)
}

/// Runs a change and makes it durable; a change that fails leaves the image as it was, unless it
/// was larger than what the engine holds back in memory.
fn change(
    args: &Args,
    f: impl FnOnce(&mut Volume) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    let mut volume = mount_image(&args.image)?;
    f(&mut volume)?;
    volume
        .unmount()
        .map_err(|e| ToolError::new(args.image.display().to_string(), e))?;
    Ok(())
}

fn guest(path: &str) -> impl Fn(Error) -> ToolError + '_ {
    move |e| ToolError::new(path, e)
}

fn output(e: io::Error) -> ToolError {
    ToolError::new("standard output", e)
}

fn find(v: &mut Volume, path: &str, follow: bool) -> Result<Attr, ToolError> {
    let ino = v
        .walk(ROOT_INO, path.as_bytes(), follow)
        .map_err(guest(path))?;
    v.getattr(ino).map_err(guest(path))
}

fn list(v: &mut Volume, path: &str, long: bool, out: &mut impl Write) -> Result<(), ToolError> {
    let attr = find(v, path, true)?;
    if attr.kind != FileKind::Directory {
        return line(v, path.as_bytes(), &attr, long, out);
    }
    for (name, ino) in entries(v, attr.ino).map_err(guest(path))? {
        let attr = v.getattr(ino).map_err(guest(path))?;
        line(v, &name, &attr, long, out)?;
    }
    Ok(())
}

fn line(
    v: &mut Volume,
    name: &[u8],
    attr: &Attr,
    long: bool,
    out: &mut impl Write,
) -> Result<(), ToolError> {
    let name = String::from_utf8_lossy(name);
    if !long {
        let slash = if attr.kind == FileKind::Directory {
            "/"
        } else {
            ""
        };
        return writeln!(out, "{name}{slash}").map_err(output);
    }
    let mut arrow = String::new();
    if attr.kind == FileKind::Symlink {
        let target = v
            .readlink(attr.ino)
            .map_err(|e| ToolError::new(name.as_ref(), e))?;
        arrow = format!(" -> {}", String::from_utf8_lossy(&target));
    }
    writeln!(
        out,
        "{}{:04o} {:>3} {:>5} {:>5} {:>10} {:>10} {name}{arrow}",
        letter(attr.kind),
        attr.mode,
        attr.nlink,
        attr.uid,
        attr.gid,
        attr.size,
        attr.mtime_ns.div_euclid(1_000_000_000),
    )
    .map_err(output)
}

fn letter(kind: FileKind) -> char {
    match kind {
        FileKind::File => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
        FileKind::CharDevice => 'c',
        FileKind::BlockDevice => 'b',
        _ => '?',
    }
}

fn stat(v: &mut Volume, path: &str, out: &mut impl Write) -> Result<(), ToolError> {
    let a = find(v, path, false)?;
    let mut text = format!(
        "inode {}\nkind {:?}\nmode {:04o}\nlinks {}\nuid {}\ngid {}\nsize {}\nblocks {}\n\
         atime_ns {}\nmtime_ns {}\nctime_ns {}\nbtime_ns {}\n",
        a.ino,
        a.kind,
        a.mode,
        a.nlink,
        a.uid,
        a.gid,
        a.size,
        a.blocks,
        a.atime_ns,
        a.mtime_ns,
        a.ctime_ns,
        a.btime_ns,
    );
    let mut names = Vec::new();
    v.list_xattrs(a.ino, |n| {
        names.push(n.to_vec());
        true
    })
    .map_err(guest(path))?;
    for name in names {
        let value = v.xattr(a.ino, &name).map_err(guest(path))?;
        text += &format!(
            "xattr {} {}\n",
            String::from_utf8_lossy(&name),
            value.escape_ascii()
        );
    }
    out.write_all(text.as_bytes()).map_err(output)
}

fn copy(v: &mut Volume, from: &str, to: &str) -> Result<(), ToolError> {
    let attr = find(v, from, true)?;
    if attr.kind != FileKind::File {
        return Err(ToolError::new(from, "not a file"));
    }
    let is_dir = matches!(find(v, to, true), Ok(a) if a.kind == FileKind::Directory);
    let name = from.rsplit('/').next().unwrap_or(from);
    let to = if is_dir {
        format!("{to}/{name}")
    } else {
        to.to_string()
    };
    if matches!(find(v, &to, true), Ok(a) if a.ino == attr.ino) {
        return Err(ToolError::new(to, "is the same file"));
    }
    let bytes = crate::read_file(v, from)?;
    crate::put_bytes(v, &to, &bytes, attr.mode, &CopyOptions::at(now_ns()))
}

fn make(v: &mut Volume, path: &str, parents: bool) -> Result<(), ToolError> {
    let options = CopyOptions::at(now_ns());
    if parents {
        return make_dirs(v, path, &options).map(|_| ());
    }
    let (dir, name) = v
        .walk_parent(ROOT_INO, path.as_bytes())
        .map_err(guest(path))?;
    v.mkdir(dir, name, 0o755, options.owner, options.now_ns)
        .map_err(guest(path))?;
    Ok(())
}

fn remove(v: &mut Volume, path: &str, recursive: bool) -> Result<(), ToolError> {
    let (dir, name) = v
        .walk_parent(ROOT_INO, path.as_bytes())
        .map_err(guest(path))?;
    let now = now_ns();
    let result = if recursive {
        remove_tree(v, dir, name, now)
    } else {
        v.unlink(dir, name, now)
    };
    result.map_err(guest(path))
}

fn digest(v: &mut Volume, path: &str) -> Result<String, ToolError> {
    let mut writer = HashWriter(Sha256::new());
    get(v, path, &mut writer)?;
    Ok(hex(&writer.0.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

struct HashWriter(Sha256);

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One line per object, in path order: the same tree gives the same text.
fn describe(v: &mut Volume, path: &str, all: &mut String) -> Result<(), ToolError> {
    let attr = find(v, path, false)?;
    let detail = match attr.kind {
        FileKind::File => digest(v, path)?,
        FileKind::Symlink => {
            let target = v.readlink(attr.ino).map_err(guest(path))?;
            String::from_utf8_lossy(&target).into_owned()
        }
        _ => String::new(),
    };
    *all += &format!(
        "{}{:04o} {} {}:{} {} {path} {detail}\n",
        letter(attr.kind),
        attr.mode,
        attr.nlink,
        attr.uid,
        attr.gid,
        attr.size
    );
    if attr.kind == FileKind::Directory {
        for (name, _) in entries(v, attr.ino).map_err(guest(path))? {
            let name = String::from_utf8_lossy(&name);
            describe(v, &format!("{}/{name}", path.trim_end_matches('/')), all)?;
        }
    }
    Ok(())
}

fn dump(v: &mut Volume, out: &mut impl Write) -> Result<(), ToolError> {
    free(v, out)?;
    let mut all = String::new();
    describe(v, "/", &mut all)?;
    out.write_all(all.as_bytes()).map_err(output)
}

fn hash(v: &mut Volume, path: &str, out: &mut impl Write) -> Result<(), ToolError> {
    let sum = if find(v, path, true)?.kind == FileKind::Directory {
        let mut all = String::new();
        describe(v, path, &mut all)?;
        hex(&Sha256::digest(all.as_bytes()))
    } else {
        digest(v, path)?
    };
    writeln!(out, "{sum}  {path}").map_err(output)
}

fn free(v: &mut Volume, out: &mut impl Write) -> Result<(), ToolError> {
    let s = v.statfs();
    writeln!(
        out,
        "label {}\nuuid {}\nblock_size {}\nblocks {}\nfree {}\navailable {}",
        s.label,
        hex(&s.uuid),
        s.block_size,
        s.total_blocks,
        s.free_blocks,
        s.available_blocks
    )
    .map_err(output)
}
