//! `mkfs.viperfs`: makes an image, empty or from a directory.

use super::parse;
use crate::{
    CopyOptions, ImageOptions, ToolError, create_image, now_ns, parse_size, parse_uuid, populate,
    random_uuid,
};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use viperfs::ROOT_INO;

/// Make a viperfs image.
///
/// With --uuid and --time the same input makes the same bytes.
#[derive(Parser)]
#[command(name = "mkfs.viperfs", version)]
struct Args {
    /// The image, or a block device; an existing file is replaced
    image: PathBuf,
    /// Size, such as 64M or 2G [default: the size of an existing image]
    #[arg(long, value_parser = parse_size)]
    size: Option<u64>,
    /// Name of the volume, at most 64 bytes
    #[arg(long, short = 'L', default_value = "")]
    label: String,
    /// Identity of the volume [default: random]
    #[arg(long, value_parser = parse_uuid)]
    uuid: Option<[u8; 16]>,
    /// Time of creation in seconds since 1970 [default: SOURCE_DATE_EPOCH, or now]
    #[arg(long)]
    time: Option<i64>,
    /// Copy the contents of this directory into the image
    #[arg(long, short = 'd', value_name = "DIR")]
    populate: Option<PathBuf>,
    /// Say nothing
    #[arg(long, short)]
    quiet: bool,
}

/// The whole program.
pub fn main() -> ExitCode {
    let args: Args = match parse(1) {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mkfs.viperfs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), ToolError> {
    if let Some(dir) = &args.populate
        && !dir.is_dir()
    {
        return Err(ToolError::new(dir.display().to_string(), "not a directory"));
    }
    let size = match args.size {
        Some(size) => size,
        None => existing_size(&args.image)?,
    };
    let now = args
        .time
        .map_or_else(now_ns, |t| t.saturating_mul(1_000_000_000));
    let options = ImageOptions {
        size,
        label: args.label.clone(),
        uuid: args.uuid.unwrap_or_else(random_uuid),
        now_ns: now,
    };
    let mut volume = create_image(&args.image, &options)?;
    if let Some(dir) = &args.populate {
        populate(&mut volume, dir, ROOT_INO, &CopyOptions::at(now))?;
    }
    let stat = volume.statfs();
    let failed = |e| ToolError::new(args.image.display().to_string(), e);
    volume.unmount().map_err(failed)?;
    if !args.quiet {
        println!(
            "{}: {} blocks of {} bytes, {} free",
            args.image.display(),
            stat.total_blocks,
            stat.block_size,
            stat.free_blocks
        );
    }
    Ok(())
}

fn existing_size(image: &Path) -> Result<u64, ToolError> {
    let place = image.display().to_string();
    let mut file = std::fs::File::open(image)
        .map_err(|e| ToolError::new(&place, format!("{e}; give --size to make it")))?;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).map_err(|e| ToolError::new(place, e))
}
