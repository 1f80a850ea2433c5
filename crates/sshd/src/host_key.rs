//! The host's key: made when it is needed first, kept in `L:ssh`.

use crate::login::read_text;
use alloc::format;
use alloc::string::String;
use rand_core::CryptoRng;
use viper_ssh::PrivateKey;
use viper_ssh::sftp::{Attributes, OpenFlags, SftpFs, Status};
use zeroize::Zeroizing;

/// Where the key is kept.
pub const HOST_KEY: &str = "/l/ssh/host_ed25519";
/// Its public half, for people.
const PUBLIC_KEY: &str = "/l/ssh/host_ed25519.pub";
const NEW_KEY: &str = "/l/ssh/host_ed25519.new";
const DIRECTORY: &str = "/l/ssh";

/// A host key, and what is to be told about it.
#[derive(Debug)]
pub(crate) struct HostKey {
    pub(crate) key: PrivateKey,
    pub(crate) notice: Option<String>,
}

/// Reads the key, or makes and keeps one. A damaged file is left as it is.
pub(crate) fn load<F: SftpFs>(files: Option<&mut F>, random: &mut impl CryptoRng) -> HostKey {
    let Some(files) = files else {
        return in_memory(random, "there are no files");
    };
    match read_text(files, HOST_KEY).map(Zeroizing::new) {
        Ok(text) => match PrivateKey::from_openssh(&text, None) {
            Ok(key) => HostKey { key, notice: None },
            Err(error) => in_memory(random, &format!("{HOST_KEY}: {error}")),
        },
        Err(Status::NoSuchFile) => {
            let key = PrivateKey::generate(random);
            match keep(files, &key, random) {
                Ok(()) => HostKey { key, notice: None },
                Err(status) => in_memory(random, &format!("{HOST_KEY} cannot be made: {status}")),
            }
        }
        Err(status) => in_memory(random, &format!("{HOST_KEY}: {status}")),
    }
}

fn in_memory(random: &mut impl CryptoRng, why: &str) -> HostKey {
    HostKey {
        key: PrivateKey::generate(random),
        notice: Some(format!("{why}; the host key changes with each start")),
    }
}

fn keep<F: SftpFs>(
    files: &mut F,
    key: &PrivateKey,
    random: &mut impl CryptoRng,
) -> Result<(), Status> {
    if files.attributes(DIRECTORY, true) == Err(Status::NoSuchFile) {
        files.make_directory(DIRECTORY, &mode(0o700))?;
    }
    let text = Zeroizing::new(key.to_openssh("host", random));
    write(files, NEW_KEY, &text, 0o600)?;
    let public = format!("{} host\n", key.public().to_text());
    write(files, PUBLIC_KEY, &public, 0o644)?;
    // Half a key is never seen under its name.
    files.rename(NEW_KEY, HOST_KEY, true)
}

fn mode(bits: u32) -> Attributes {
    Attributes {
        permissions: Some(bits),
        ..Attributes::default()
    }
}

fn write<F: SftpFs>(files: &mut F, path: &str, text: &str, bits: u32) -> Result<(), Status> {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let mut file = files.open(path, flags, &mode(bits))?;
    let result = files
        .write(&mut file, 0, text.as_bytes())
        .and_then(|()| files.sync(&mut file));
    files.close(file)?;
    result
}
