//! `fsck.viperfs`: checks an image, and repairs it. Exit codes as of fsck(8).

use super::parse;
use crate::{FileDevice, now_ns};
use clap::Parser;
use std::io::{IsTerminal, Write, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use viperfs::{CheckOptions, MountError, Progress, Report, check, repair};

/// Check a viperfs image, and repair it with -y.
///
/// Exit codes: 0 nothing wrong, 1 everything was repaired, 4 something is wrong still,
/// 8 the image cannot be read or is no viperfs, 16 the command line is wrong.
#[derive(Parser)]
#[command(name = "fsck.viperfs", version)]
struct Args {
    /// The image, or a block device; it must not be mounted
    image: PathBuf,
    /// Change nothing; the default
    #[arg(short = 'n', long, conflicts_with = "yes")]
    dry_run: bool,
    /// Repair what is wrong, and write home what the journal holds
    #[arg(short = 'y', long)]
    yes: bool,
    /// Do not read the contents of files
    #[arg(long)]
    no_data: bool,
    /// Print the sums even when nothing is wrong
    #[arg(short, long)]
    verbose: bool,
}

const REPAIRED: u8 = 1;
const UNREPAIRED: u8 = 4;
const FAILED: u8 = 8;
const USAGE: u8 = 16;

/// The whole program.
pub fn main() -> ExitCode {
    let args: Args = match parse(USAGE) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let mut device = match FileDevice::open(&args.image, !args.yes) {
        Ok(device) => device,
        Err(error) => return fail(&args, &error.to_string()),
    };
    let options = CheckOptions {
        data: !args.no_data,
        crc32c: crate::image::HOST_CRC32C,
        ..CheckOptions::default()
    };
    if !args.yes {
        let report = check(&mut device, &options, progress());
        clear();
        return conclude(&args, &report, None);
    }
    match repair(&mut device, &options, now_ns(), progress()) {
        Ok(done) => {
            clear();
            conclude(&args, &done.after, Some((&done.before, done.fixes)))
        }
        Err(error) => {
            clear();
            fail(&args, &error.to_string())
        }
    }
}

fn fail(args: &Args, reason: &str) -> ExitCode {
    eprintln!("fsck.viperfs: {}: {reason}", args.image.display());
    ExitCode::from(FAILED)
}

/// Prints what was found and done; the code says the same.
fn conclude(args: &Args, report: &Report, before: Option<(&Report, u64)>) -> ExitCode {
    let first = before.map_or(report, |b| b.0);
    let unmountable = report.problems.iter().find_map(|p| match p {
        viperfs::Problem::Unmountable(error) => Some(*error),
        _ => None,
    });
    if let (Some(error), None) = (unmountable, before)
        && !matches!(error, MountError::Corrupt)
    {
        return fail(args, &error.to_string());
    }
    for problem in &first.problems {
        println!("{problem}");
    }
    let hidden = first.problem_count - first.problems.len() as u64;
    if hidden > 0 {
        println!("and {hidden} more");
    }
    if let Some((before, fixes)) = before
        && !before.is_clean()
    {
        println!("rebuilt; {fixes} things dropped, moved to lost+found or corrected");
        for problem in &report.problems {
            println!("not repaired: {problem}");
        }
    }
    if args.verbose || !first.is_clean() {
        print_sums(report);
    }
    let code = match (report.is_clean(), first.is_clean()) {
        (true, true) => 0,
        (true, false) => REPAIRED,
        (false, _) => UNREPAIRED,
    };
    ExitCode::from(code)
}

fn print_sums(r: &Report) {
    println!(
        "{} files, {} directories, {} data blocks, {} tree blocks, {} transactions in the journal",
        r.files, r.directories, r.data_blocks, r.tree_blocks, r.pending_transactions
    );
}

/// A line of progress on a terminal, nothing elsewhere.
fn progress() -> impl FnMut(Progress) {
    let terminal = stderr().is_terminal();
    let mut last = u64::MAX;
    move |p: Progress| {
        let percent = (p.done * 100).checked_div(p.total).unwrap_or(0);
        if terminal && percent != last {
            last = percent;
            let _ = write!(stderr(), "\r{percent:3} % of {} blocks", p.total);
        }
    }
}

fn clear() {
    if stderr().is_terminal() {
        let _ = write!(stderr(), "\r\x1b[K");
    }
}
