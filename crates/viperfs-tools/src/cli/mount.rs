//! `mount.viperfs`: mounts an image by FUSE.

use super::parse;
use crate::fuse::SharedVolume;
use crate::{ToolError, mount_image, mount_image_read_only};
use clap::Parser;
use fuser::{Config, MountOption, Session, SessionACL, SessionUnmounter};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Mount a viperfs image by FUSE.
///
/// Returns when the image is mounted; `umount DIR` ends it. Needs /dev/fuse, and root or the
/// fusermount3 program. What was written is durable after fsync, and every five seconds.
#[derive(Parser)]
#[command(name = "mount.viperfs", version)]
struct Args {
    /// The image, or a block device
    image: PathBuf,
    /// Where to mount it
    dir: PathBuf,
    /// Options: ro, rw, allow_other, dev, suid, noexec, sync; others of mount(8) as it gives them
    #[arg(short = 'o', value_delimiter = ',')]
    options: Vec<String>,
    /// Stay in the foreground; an interrupt unmounts
    #[arg(long)]
    foreground: bool,
    /// Passed on by mount(8), without effect
    #[arg(short = 't', hide = true)]
    kind: Option<String>,
    #[arg(short = 's', hide = true)]
    sloppy: bool,
    #[arg(short = 'n', hide = true)]
    no_mtab: bool,
    #[arg(short = 'v', hide = true)]
    verbose: bool,
    /// Tell when mounted on standard output
    #[arg(long, hide = true)]
    tell: bool,
}

/// Written by the process in the background when the image is mounted.
const MOUNTED: &str = "mounted";
/// What is acknowledged is durable this much later, at the latest.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// The whole program.
pub fn main() -> ExitCode {
    let args: Args = match parse(1) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let done = config(&args).and_then(|config| {
        if args.foreground {
            serve(&args, &config)
        } else {
            start_in_background(&args)
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mount.viperfs: {error}");
            // As mount(8): the mount failed.
            ExitCode::from(32)
        }
    }
}

fn is_read_only(args: &Args) -> bool {
    let last = args.options.iter().rfind(|o| *o == "ro" || *o == "rw");
    last.is_some_and(|o| o == "ro")
}

fn config(args: &Args) -> Result<Config, ToolError> {
    let name = args.image.display().to_string().replace(',', "_");
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(name),
        MountOption::Subtype("viperfs".into()),
        MountOption::DefaultPermissions,
    ];
    if is_read_only(args) {
        config.mount_options.push(MountOption::RO);
    }
    for option in &args.options {
        config.mount_options.push(match &option[..] {
            "allow_other" => {
                config.acl = SessionACL::All;
                continue;
            }
            "dev" => MountOption::Dev,
            "suid" => MountOption::Suid,
            "noexec" => MountOption::NoExec,
            "sync" => MountOption::Sync,
            "ro" | "rw" | "defaults" | "auto" | "noauto" | "nofail" | "user" | "users"
            | "nodev" | "nosuid" | "exec" | "async" | "atime" | "noatime" | "relatime" => continue,
            _ => return Err(ToolError::new(option, "unknown mount option")),
        });
    }
    Ok(config)
}

fn serve(args: &Args, config: &Config) -> Result<(), ToolError> {
    let at = |path: &Path| path.display().to_string();
    if !args.dir.is_dir() {
        return Err(ToolError::new(at(&args.dir), "not a directory"));
    }
    let volume = if is_read_only(args) {
        mount_image_read_only(&args.image)?
    } else {
        mount_image(&args.image)?
    };
    let shared = SharedVolume::new(volume);
    let host = |e| ToolError::host(&args.dir, e);
    let mut session = Session::new(shared.clone(), &args.dir, config).map_err(host)?;
    unmount_on_signal(session.unmount_callable()).map_err(host)?;
    sync_in_time(shared.clone());
    if args.tell {
        println!("{MOUNTED}");
        let _ = std::io::stdout().flush();
    }
    let run = session.run().map_err(host);
    let done = shared.finish();
    done.map_err(|e| ToolError::new(at(&args.image), e))?;
    run
}

fn unmount_on_signal(mut unmounter: SessionUnmounter) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            // A directory in use stays mounted; the next signal tries again.
            if let Err(error) = unmounter.unmount() {
                complain(&error);
            }
        }
    });
    Ok(())
}

/// Says so on standard error, which may be closed: nobody listens to a process in the background.
fn complain(error: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "mount.viperfs: {error}");
}

fn sync_in_time(shared: SharedVolume) {
    std::thread::spawn(move || {
        let mut failed = false;
        loop {
            std::thread::sleep(SYNC_EVERY);
            match shared.sync() {
                Err(error) if !failed => {
                    complain(&error);
                    failed = true;
                }
                _ => {}
            }
        }
    });
}

/// Starts this program again to serve, and waits until it has mounted or failed.
fn start_in_background(args: &Args) -> Result<(), ToolError> {
    let place = || args.image.display().to_string();
    let failed = |e: std::io::Error| ToolError::new(place(), e);
    // Started under whatever name: the first argument of its own says what to do.
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    std::os::unix::process::CommandExt::arg0(&mut command, "mount.viperfs");
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.args(["--foreground", "--tell"]);
    if !args.options.is_empty() {
        command.arg("-o").arg(args.options.join(","));
    }
    command.arg("--").arg(&args.image).arg(&args.dir);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line).map_err(failed)?;
    }
    if line.trim() == MOUNTED {
        return Ok(());
    }
    let mut reason = String::new();
    if let Some(mut err) = child.stderr.take() {
        err.read_to_string(&mut reason).map_err(failed)?;
    }
    let reason = reason.trim().trim_start_matches("mount.viperfs: ");
    Err(ToolError::whole(reason))
}
