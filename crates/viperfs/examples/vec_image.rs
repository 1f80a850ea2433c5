//! Mounts an image held in a `Vec<u8>` and lists its root: `vec_image IMAGE`.

use viperfs::{Fs, MemoryDevice, MountOptions, ROOT_INO};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: vec_image IMAGE")?;
    let bytes: Vec<u8> = std::fs::read(path)?;
    let options = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    let mut fs = Fs::mount(MemoryDevice::from_bytes(bytes), options)?;
    let mut names = Vec::new();
    fs.readdir(ROOT_INO, 0, |entry| {
        names.push((String::from_utf8_lossy(entry.name).into_owned(), entry.ino));
        true
    })?;
    for (name, ino) in names {
        println!("{:>10} {name}", fs.getattr(ino)?.size);
    }
    Ok(())
}
