//! Further disks: mounted, partitioned, strange, failing; and who may do what with files.

use std::path::PathBuf;

use super::storage::writes_fail_after;
use super::{Lab, Outcome, Test, Verdict, one};
use crate::cli::MachineOptions;
use crate::disk::{self, Entry, Volume};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    one("mounts-second-disk", second_disk),
    one("mounts-read-only-and-quota", limits),
    one("mounts-partitions", partitions),
    one("mounts-strange-disks", strange),
    one("mounts-server-killed", killed),
    one("mounts-disk-fails", fails),
    one("mounts-disk-takes-no-writes", takes_no_writes),
    one("mounts-busy", busy),
];

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A machine with these disks besides its own.
fn with(more_disks: Vec<PathBuf>) -> MachineOptions {
    MachineOptions {
        no_net: true,
        servers: Some("-sshd".into()),
        more_disks,
        ..MachineOptions::default()
    }
}

/// A volume of its own, with a file.
fn volume(lab: &Lab<'_>, name: &str, label: &str) -> Result<PathBuf, String> {
    let path = lab.scratch().path(name);
    let volume = Volume {
        size: 8 << 20,
        label: label.into(),
        uuid: "11111111-2222-3333-4444-555555555555".into(),
        time_s: 1_767_225_600,
    };
    let file = Entry::File {
        path: "/dir/hello.txt".into(),
        contents: b"from the second disk\n".into(),
        executable: false,
    };
    disk::tools()
        .create(&path, &volume, &[file])
        .map_err(text)?;
    Ok(path)
}

fn run(lab: &Lab<'_>, more: Vec<PathBuf>, commands: &str) -> Result<Outcome, String> {
    lab.run(&with(more), commands)
}

fn all(outcome: &Outcome, texts: &[&str]) -> Verdict {
    texts.iter().try_for_each(|text| outcome.prints(text))
}

/// Mounted, written, listed, unmounted; the host finds it sound and what was written on it.
fn second_disk(lab: &Lab<'_>) -> Verdict {
    let image = volume(lab, "work.img", "WORK")?;
    let text = "MakeDir SYS:work
        Mount D1 SYS:work
        Type SYS:work/dir/hello.txt
        Mount
        Info ALL
        Copy C:hello SYS:work/hello
        Rename SYS:work/hello SYS:hello || Echo renamed: $RC
        MakeLink SYS:h2 SYS:work/hello HARD || Echo linked: $RC
        Move SYS:work/hello SYS:work/moved
        SYS:work/moved
        MakeLink SYS:link SYS:work/dir/hello.txt
        Type SYS:link
        Assign WORK: SYS:work/dir
        Dir WORK:
        Unmount SYS:work
        Dir SYS:work
        Mount D1 SYS:work
        List SYS:work
        Unmount SYS:work";
    let outcome = run(lab, vec![image.clone()], text)?;
    outcome.code(0)?;
    all(
        &outcome,
        &[
            "from the second disk\n",
            "D1      SYS:work  WORK    read/write",
            "11111111-2222-3333-4444-555555555555",
            "on another volume",
            "linked: 10",
            "hello.txt",
            "moved",
        ],
    )?;
    let image = crate::qemu::Disk::kept(image);
    lab.is_sound(&image)?;
    let hello = lab.file(&image, "/moved")?;
    match hello.starts_with(b"\x7fELF") {
        true => Ok(()),
        false => Err("the program that was copied is another one".into()),
    }
}

fn limits(lab: &Lab<'_>) -> Verdict {
    let image = volume(lab, "work.img", "WORK")?;
    let before = std::fs::read(&image).map_err(text)?;
    let outcome = run(
        lab,
        vec![image.clone()],
        "MakeDir SYS:w
        Mount D1 SYS:w READONLY
        Type SYS:w/dir/hello.txt
        Info
        Echo x >SYS:w/new
        Echo code $RC
        Delete SYS:w/dir/hello.txt
        Unmount SYS:w",
    )?;
    all(&outcome, &["from the second disk", "read-only", "code 10"])?;
    if std::fs::read(&image).map_err(text)? != before {
        return Err("a read-only mount wrote to the disk".into());
    }
    let outcome = run(
        lab,
        vec![image.clone()],
        "MakeDir SYS:w
        Mount D1 SYS:w QUOTA 1M FILES 6
        Info ALL
        Copy C:hello SYS:w/a
        Copy C:hello SYS:w/b
        Copy C:hello SYS:w/c
        Copy C:hello SYS:w/d || Echo full
        Unmount SYS:w",
    )?;
    outcome.code(0)?;
    all(
        &outcome,
        &["1.0 MiB", "no space left on the volume", "full"],
    )?;
    lab.is_sound(&crate::qemu::Disk::kept(image))
}

/// Two volumes on one disk, in partitions 1 and 3.
fn partitions(lab: &Lab<'_>) -> Verdict {
    let (one, two) = (volume(lab, "1.img", "ONE")?, volume(lab, "2.img", "TWO")?);
    let path = lab.scratch().path("parts.img");
    let parts = [(2048, one), (0, PathBuf::new()), (20480, two)];
    std::fs::write(&path, gpt(20 << 20, &parts)?).map_err(text)?;
    let outcome = run(
        lab,
        vec![path],
        "MakeDir SYS:a SYS:b SYS:c
        Mount D1.3 SYS:b
        Mount D1.1 SYS:a
        Copy C:hello SYS:a/x
        Copy SYS:a/x SYS:b/y
        Mount
        Mount D1.2 SYS:c
        Mount D1.3 SYS:c
        Mount D1 SYS:c
        Unmount SYS:a
        Unmount SYS:b",
    )?;
    all(
        &outcome,
        &[
            "D1.1    SYS:a  ONE",
            "D1.3    SYS:b  TWO",
            "Mount: D1 has no partition 2, but 2 others\n",
            "Mount: D1.3 is mounted already\n",
            "Mount: D1 is mounted already\n",
        ],
    )
}

/// A disk with a partition table and volumes at these sectors.
fn gpt(bytes: usize, parts: &[(usize, PathBuf)]) -> Result<Vec<u8>, String> {
    let mut image = vec![0u8; bytes];
    let sectors = (bytes / 512) as u64;
    let mut entries = vec![0u8; 128 * 128];
    for (entry, (first, path)) in entries.chunks_exact_mut(128).zip(parts) {
        if *first == 0 {
            continue;
        }
        let volume = std::fs::read(path).map_err(text)?;
        image[first * 512..][..volume.len()].copy_from_slice(&volume);
        let last = (*first + volume.len() / 512 - 1) as u64;
        entry[..32].fill(9);
        entry[32..40].copy_from_slice(&(*first as u64).to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
    }
    for (at, other, table) in [(1, sectors - 1, 2), (sectors - 1, 1, sectors - 33)] {
        let mut header = [0u8; 512];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&0x1_0000u32.to_le_bytes());
        header[12..16].copy_from_slice(&92u32.to_le_bytes());
        let longs = [
            (24, at),
            (32, other),
            (40, 34),
            (48, sectors - 34),
            (72, table),
        ];
        for (place, value) in longs {
            header[place..place + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[80..84].copy_from_slice(&128u32.to_le_bytes());
        header[84..88].copy_from_slice(&128u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
        let sum = crc32(&header[..92]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        image[at as usize * 512..][..512].copy_from_slice(&header);
        image[table as usize * 512..][..entries.len()].copy_from_slice(&entries);
    }
    Ok(image)
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1));
    let byte = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), step);
    !bytes.iter().fold(u32::MAX, byte)
}

/// Blank, noise and of a newer format: a sentence for each, and nothing else happens.
fn strange(lab: &Lab<'_>) -> Verdict {
    let (blank, noise) = (lab.scratch().path("blank"), lab.scratch().path("noise"));
    std::fs::write(&blank, vec![0; 4 << 20]).map_err(text)?;
    let bytes: Vec<u8> = (0..4u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(&noise, &bytes).map_err(text)?;
    let newer = volume(lab, "newer.img", "NEW")?;
    let mut image = std::fs::read(&newer).map_err(text)?;
    for at in [0, image.len() - 4096] {
        let block = &mut image[at..at + 4096];
        block[MAJOR..MAJOR + 2].copy_from_slice(&9u16.to_le_bytes());
        let sum = viperfs::Crc32c::SOFTWARE.of(&block[4..]);
        block[..4].copy_from_slice(&sum.to_le_bytes());
    }
    std::fs::write(&newer, &image).map_err(text)?;
    let outcome = run(
        lab,
        vec![blank, noise.clone(), newer.clone()],
        "MakeDir SYS:w
        Mount D1 SYS:w
        Mount D2 SYS:w
        Mount D3 SYS:w
        Mount D4 SYS:w
        Mount D1.1 SYS:w
        Mount D1 SYS:nowhere
        Mount D1 S:startup
        Mount D0 SYS:w
        Unmount SYS:w
        Unmount SYS:
        Mount
        Version",
    )?;
    outcome.code(0)?;
    all(
        &outcome,
        &[
            "Mount: D1: no valid viperfs superblock found\n",
            "Mount: D2: no valid viperfs superblock found\n",
            "Mount: D3: format version 9 is not supported\n",
            "Mount: devices are D0 to D3",
            "Mount: D1 has no intact partition table\n",
            "Mount: SYS:nowhere: no such file or directory\n",
            "Mount: S:startup: not a directory\n",
            "Mount: D0 is mounted already\n",
            "Unmount: SYS:w: nothing is mounted there\n",
            "Unmount: SYS: is what everything else is on\n",
            "ViperOS ",
        ],
    )?;
    match (std::fs::read(&noise), std::fs::read(&newer)) {
        (Ok(a), Ok(b)) if a == bytes && b == image => Ok(()),
        _ => Err("a disk that was refused was written".into()),
    }
}

/// Where a superblock has the format's version.
const MAJOR: usize = 32;

/// The file server and the second block server are killed: mounts and files are there again.
fn killed(lab: &Lab<'_>) -> Verdict {
    let image = volume(lab, "work.img", "WORK")?;
    let outcome = run(
        lab,
        vec![image.clone()],
        "MakeDir SYS:w
        Mount D1 SYS:w QUOTA 4M
        Copy C:hello SYS:w/one
        Sync
        Servers fsd kill
        Type SYS:w/dir/hello.txt
        Info ALL
        Servers blkd1 kill
        Copy C:hello SYS:w/two
        Sync
        Servers blkd kill
        Copy SYS:w/two T:two
        T:two
        Unmount SYS:w
        Servers fsd kill
        Mount",
    )?;
    outcome.code(0)?;
    all(&outcome, &["from the second disk", "WORK", "4.0 MiB"])?;
    let image = crate::qemu::Disk::kept(image);
    lab.is_sound(&image)?;
    match lab.file(&image, "/one")? == lab.file(&image, "/two")? {
        true => Ok(()),
        false => Err("two copies of one file differ".into()),
    }
}

/// The second disk fails at its first write: the first works on.
fn fails(lab: &Lab<'_>) -> Verdict {
    // The first write is the mount's.
    let (image, bad) = failing(lab, 2)?;
    let outcome = run(
        lab,
        vec![bad],
        "MakeDir SYS:w
        Mount D1 SYS:w
        Copy C:hello SYS:w/one
        Sync
        Echo sync $RC
        Type SYS:w/dir/hello.txt
        Copy C:hello T:fine
        T:fine
        Info
        Unmount SYS:w
        Unmount SYS:w FORCE
        Sync
        Echo first $RC",
    )?;
    outcome.code(0)?;
    all(
        &outcome,
        &[
            "from the second disk",
            "read-only, the disk failed",
            "FORCE gives it up",
            "first 0",
        ],
    )?;
    lab.logged(&["fsd: /w: the disk failed"])?;
    lab.is_sound(&crate::qemu::Disk::kept(image))
}

/// A volume on a disk that takes so many writes and no more; and where QEMU finds that disk.
fn failing(lab: &Lab<'_>, good: u32) -> Result<(PathBuf, PathBuf), String> {
    let image = volume(lab, "work.img", "WORK")?;
    let path = lab.scratch().path("faulty.conf");
    std::fs::write(&path, writes_fail_after(good, false)).map_err(text)?;
    let bad = format!("blkdebug:{}:{}", path.display(), image.display());
    Ok((image, bad.into()))
}

/// A disk that takes no write at all can be read.
fn takes_no_writes(lab: &Lab<'_>) -> Verdict {
    let (image, bad) = failing(lab, 0)?;
    let commands = "MakeDir SYS:w; Mount D1 SYS:w; Type SYS:w/dir/hello.txt
        Echo x >SYS:w/new; Echo write $RC; Mount; Unmount SYS:w";
    let outcome = run(lab, vec![bad], commands)?;
    outcome.code(0)?;
    all(
        &outcome,
        &[
            "from the second disk",
            "write 10",
            "SYS:w  WORK    read-only",
        ],
    )?;
    lab.logged(&["fsd: /w: the disk takes no writes: it is read-only"])?;
    lab.is_sound(&crate::qemu::Disk::kept(image))
}

/// What is in use stays, and says why.
fn busy(lab: &Lab<'_>) -> Verdict {
    let (one, two) = (volume(lab, "1.img", "ONE")?, volume(lab, "2.img", "TWO")?);
    let outcome = run(
        lab,
        vec![one, two],
        "MakeDir SYS:w
        Mount D1 SYS:w
        MakeDir SYS:w/in
        Mount D2 SYS:w/in
        Type SYS:w/in/dir/hello.txt
        Unmount SYS:w
        RmDir SYS:w/in
        Rename SYS:w SYS:x
        Unmount SYS:w/in
        Cd SYS:w/dir
        Unmount SYS:w
        Cd SYS:
        Mount D2 SYS:w
        Unmount SYS:w
        Mount",
    )?;
    outcome.code(0)?;
    all(
        &outcome,
        &[
            "Unmount: SYS:w is in use: SYS:w/in is mounted below\n",
            "RmDir: SYS:w/in: in use\n",
            "in use\n",
            "Unmount: SYS:w is in use: the current directory is there\n",
            "Mount: SYS:w: something is mounted there already\n",
        ],
    )
}
