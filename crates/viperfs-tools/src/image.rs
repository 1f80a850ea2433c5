//! Images as files: make them, mount them, parse what users type about them.

use crate::{FileDevice, ToolError};
use std::fs::OpenOptions;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use viperfs::{
    BLOCK_SIZE, Crc32c, FormatOptions, Fs, MAX_BLOCKS, MIN_BLOCKS, MountOptions, format,
};

/// What a new image is to be. With `uuid` and `now_ns` given, equal input makes equal bytes.
#[derive(Clone, Debug)]
pub struct ImageOptions {
    /// Bytes of the image, a multiple of 4096 from 1 MiB to 16 TiB.
    pub size: u64,
    /// Name of the volume, at most 64 bytes.
    pub label: String,
    /// Identity of the volume.
    pub uuid: [u8; 16],
    /// Time of creation, nanoseconds since 1970.
    pub now_ns: i64,
}

/// Makes an image with an empty volume on it; an existing file is replaced.
///
/// # Errors
/// A sentence about what was wrong; nothing was touched when the options were.
pub fn create_image(path: &Path, options: &ImageOptions) -> Result<Fs<FileDevice>, ToolError> {
    let place = || path.display().to_string();
    let blocks = options.size / BLOCK_SIZE as u64;
    if !(MIN_BLOCKS..=MAX_BLOCKS).contains(&blocks) {
        return Err(ToolError::new(place(), "size must be between 1M and 16T"));
    }
    if options.label.len() > 64 {
        return Err(ToolError::new(place(), "label is longer than 64 bytes"));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|e| ToolError::host(path, e))?;
    crate::file_device::claim(&file, false).map_err(|e| ToolError::host(path, e))?;
    let regular = file
        .metadata()
        .map_err(|e| ToolError::host(path, e))?
        .is_file();
    if regular {
        // Dropping the old contents makes the image sparse, and equal from run to run.
        file.set_len(0).map_err(|e| ToolError::host(path, e))?;
        file.set_len(blocks * BLOCK_SIZE as u64)
            .map_err(|e| ToolError::host(path, e))?;
    }
    let mut dev = FileDevice::from_file(file, false).map_err(|e| ToolError::host(path, e))?;
    let format_options = FormatOptions {
        label: &options.label,
        uuid: options.uuid,
        blocks: Some(blocks),
        now_ns: options.now_ns,
        ..FormatOptions::default()
    };
    format(&mut dev, &format_options).map_err(|e| ToolError::new(place(), e))?;
    Fs::mount(dev, mount_options(false)).map_err(|e| ToolError::new(place(), e))
}

/// CRC-32C by the host's instruction, where it has one.
pub(crate) const HOST_CRC32C: Crc32c = Crc32c(crc32c::crc32c);

fn mount_options(read_only: bool) -> MountOptions {
    MountOptions {
        read_only,
        cache_blocks: 8192,
        crc32c: HOST_CRC32C,
        ..MountOptions::default()
    }
}

/// Mounts an image for reading and writing.
///
/// # Errors
/// A sentence about why not.
pub fn mount_image(path: &Path) -> Result<Fs<FileDevice>, ToolError> {
    open(path, false)
}

/// Mounts an image without writing to it, not even to recover.
///
/// # Errors
/// A sentence about why not.
pub fn mount_image_read_only(path: &Path) -> Result<Fs<FileDevice>, ToolError> {
    open(path, true)
}

fn open(path: &Path, read_only: bool) -> Result<Fs<FileDevice>, ToolError> {
    let dev = FileDevice::open(path, read_only).map_err(|e| ToolError::host(path, e))?;
    Fs::mount(dev, mount_options(read_only))
        .map_err(|e| ToolError::new(path.display().to_string(), e))
}

/// The time now, in nanoseconds since 1970, or what `SOURCE_DATE_EPOCH` says (seconds).
pub fn now_ns() -> i64 {
    let fixed = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|s| s.parse::<i64>().ok());
    if let Some(seconds) = fixed {
        return seconds.saturating_mul(1_000_000_000);
    }
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A random (version 4) uuid.
pub fn random_uuid() -> [u8; 16] {
    let mut uuid = [0; 16];
    for half in uuid.chunks_mut(8) {
        // Each `RandomState` is keyed by the host's entropy.
        let word = std::hash::RandomState::new().build_hasher().finish();
        half.copy_from_slice(&word.to_le_bytes());
    }
    uuid[6] = uuid[6] & 0x0F | 0x40;
    uuid[8] = uuid[8] & 0x3F | 0x80;
    uuid
}

/// A size such as `64M`, `1G`, `8192K`, or plain bytes.
///
/// # Errors
/// A sentence, when it is none.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.chars().last() {
        Some('K' | 'k') => (&text[..text.len() - 1], 10),
        Some('M' | 'm') => (&text[..text.len() - 1], 20),
        Some('G' | 'g') => (&text[..text.len() - 1], 30),
        Some('T' | 't') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("'{text}' is not a size"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("'{text}' is too large"))
}

/// A uuid of 32 hexadecimal digits, with or without dashes.
///
/// # Errors
/// A sentence, when it is none.
pub fn parse_uuid(text: &str) -> Result<[u8; 16], String> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|&c| c != '-')
        .filter_map(|c| c.to_digit(16))
        .collect();
    let dashes = text.chars().filter(|&c| c == '-').count();
    if digits.len() != 32 || digits.len() + dashes != text.chars().count() {
        return Err(format!("'{text}' is not a uuid"));
    }
    let mut uuid = [0; 16];
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks(2)) {
        *byte = (pair[0] << 4 | pair[1]) as u8;
    }
    Ok(uuid)
}
