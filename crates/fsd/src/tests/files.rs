//! What the file service promises, and what it refuses.

use super::bench::{BOOT_NS, Bench, formatted, pattern};
use blkd::fake::FakeDisk;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use viper_proto::fs::{Changes, PathSent, flags, kind};
use viper_proto::stream;
use viper_rt::abi::{MsgInfo, Rights};
use viper_rt::handle::Memory;
use viper_rt::{Error, Mapping, Object, clock, sys};

const INLINE: fn(&str) -> PathSent<'_> = |path| PathSent::Inline(path.as_bytes());

#[test]
fn files_keep_what_is_written_to_them() {
    let mut bench = Bench::new(formatted(4096));
    let bytes = pattern(700_000, 1);
    bench.write("/a", &bytes).unwrap();
    assert_eq!(bench.read("/a").unwrap(), bytes);
    let Bench { files, names, .. } = &mut bench;
    let stat = files.stat_path(names, "/a", true).unwrap();
    assert_eq!(
        (stat.size_bytes, stat.kind, stat.mode),
        (700_000, kind::FILE, 0o644)
    );
    assert!(stat.modified_ns >= BOOT_NS && stat.created_ns >= BOOT_NS);

    let (file, _) = files
        .open(names, "/a", flags::WRITE | flags::APPEND, 0)
        .unwrap();
    files.write(names, file, 0, b"end").unwrap();
    files.truncate(names, file, 700_002).unwrap();
    assert_eq!(files.stat(names, file).unwrap().size_bytes, 700_002);
    assert_eq!(
        files.read(names, file, 0, &mut [0; 4]).err(),
        Some(Error::NoRight)
    );
    files.sync_file(names, file).unwrap();
    files.close(file).unwrap();
    assert!(bench.read("/a").unwrap().ends_with(b"en"));
    assert!(bench.disk.platter().flushes > 0);
    assert_eq!(bench.log(), [""; 0], "nothing to say when all is well");
}

#[test]
fn names_come_and_go() {
    let mut bench = Bench::new(formatted(4096));
    let n = Bench::names_of;
    let Bench { files, names, .. } = &mut bench;
    files.make_directory(names, "/d", 0o755).unwrap();
    assert_eq!(
        files.make_directory(names, "/d", 0o755),
        Err(Error::AlreadyExists)
    );
    assert_eq!(
        files.make_directory(names, "/", 0o755),
        Err(Error::AlreadyExists)
    );
    assert_eq!(files.remove_directory(names, "/"), Err(Error::Busy));
    for i in 0..100 {
        bench
            .write(&format!("/d/a rather long name for a file {i}"), b"x")
            .unwrap();
    }
    assert_eq!(n(&mut bench, "/d").len(), 100);
    let Bench { files, names, .. } = &mut bench;
    assert_eq!(files.remove_directory(names, "/d"), Err(Error::NotEmpty));
    assert_eq!(files.unlink(names, "/d"), Err(Error::IsDirectory));
    files
        .symlink(names, "d/a rather long name for a file 3", "/link")
        .unwrap();
    assert_eq!(
        files.read_link(names, "/link").unwrap(),
        "d/a rather long name for a file 3"
    );
    assert_eq!(
        files.stat_path(names, "/link", false).unwrap().kind,
        kind::LINK
    );
    assert_eq!(
        files.stat_path(names, "/link", true).unwrap().kind,
        kind::FILE
    );
    files.rename(names, "/link", "/d/link").unwrap();
    assert_eq!(
        files.stat_path(names, "/link", false).err(),
        Some(Error::NotFound)
    );
    files
        .link(names, "/d/a rather long name for a file 4", "/hard")
        .unwrap();
    assert_eq!(files.stat_path(names, "/hard", true).unwrap().links, 2);
    let changes = Changes {
        which: Changes::MODE | Changes::MODIFIED,
        mode: 0o600,
        modified_ns: 5,
        ..Changes::default()
    };
    files.set_attributes(names, "/hard", changes).unwrap();
    let stat = files.stat_path(names, "/hard", true).unwrap();
    assert_eq!((stat.mode, stat.modified_ns), (0o600, 5));
    files.symlink(names, "loop", "/loop").unwrap();
    assert_eq!(
        files.stat_path(names, "/loop", true).err(),
        Some(Error::Loop)
    );
    // As POSIX has it, a link to nothing makes the file where it leads.
    files.symlink(names, "d/new", "/dangling").unwrap();
    bench.write("/dangling", b"made").unwrap();
    assert_eq!(bench.read("/d/new").unwrap(), b"made");
    let Bench { files, names, .. } = &mut bench;
    assert!(files.statistics(names).unwrap().blocks_free > 1000);
}

impl Bench {
    fn names_of(&mut self, path: &str) -> Vec<String> {
        let how = flags::READ | flags::DIRECTORY;
        let (directory, _) = self.files.open(&self.names, path, how, 0).unwrap();
        let (mut entries, mut cookie) = (Vec::new(), 0);
        while let Some(next) = self
            .files
            .read_directory(&self.names, directory, cookie, &mut entries)
            .unwrap()
        {
            cookie = next;
        }
        self.files.close(directory).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }
}

#[test]
fn flags_are_minded() {
    let mut bench = Bench::new(formatted(4096));
    bench.write("/f", b"1").unwrap();
    let Bench { files, names, .. } = &mut bench;
    files.make_directory(names, "/d", 0o755).unwrap();
    files.symlink(names, "f", "/l").unwrap();
    let mut open = |path: &str, how| files.open(names, path, how, 0).map(|_| ());
    let create = flags::WRITE | flags::CREATE;
    assert_eq!(
        open("/f", create | flags::EXCLUSIVE),
        Err(Error::AlreadyExists)
    );
    assert_eq!(
        open("/l", create | flags::EXCLUSIVE),
        Err(Error::AlreadyExists)
    );
    assert_eq!(open("/d", flags::WRITE), Err(Error::IsDirectory));
    assert_eq!(open("/d/", create), Err(Error::IsDirectory));
    assert_eq!(open("/new/", create), Err(Error::IsDirectory));
    assert_eq!(
        open("/f", flags::READ | flags::DIRECTORY),
        Err(Error::NotDirectory)
    );
    assert_eq!(open("/l", flags::READ | flags::NO_FOLLOW), Err(Error::Loop));
    assert_eq!(
        open("/f", flags::READ | flags::TRUNCATE),
        Err(Error::InvalidArgument)
    );
    assert_eq!(open("/f", 1 << 20), Err(Error::InvalidArgument));
    assert_eq!(open("f", flags::READ), Err(Error::InvalidArgument));
    assert_eq!(open("/f\0", create), Err(Error::InvalidArgument));
    assert_eq!(open("/f/x", flags::READ), Err(Error::NotDirectory));
    assert_eq!(open("/x/x", create), Err(Error::NotFound));
    assert_eq!(open("/..", flags::READ | flags::CREATE), Ok(()));
}

#[test]
fn an_open_file_outlives_its_name_but_not_its_client() {
    let mut bench = Bench::new(formatted(4096));
    let free = |bench: &mut Bench| bench.files.statistics(&bench.names).unwrap().blocks_free;
    let Bench { files, names, .. } = &mut bench;
    files.sync(names).unwrap();
    let before = free(&mut bench);
    let other = bench.connect();
    let memory = Memory::new(1 << 20).unwrap();
    other.session(memory.try_clone().unwrap()).unwrap();
    let how = flags::READ | flags::WRITE | flags::CREATE;
    let (file, _) = other.open(how, 0o644, INLINE("/gone")).unwrap();
    assert_eq!(
        other.write(file, 0, 1 << 20, 0).unwrap(),
        (1 << 20, 1 << 20)
    );
    other.unlink(INLINE("/gone")).unwrap();
    assert_eq!(other.read(file, 0, 4096, 0), Ok(4096));
    assert_eq!(other.stat(file).unwrap().links, 0);
    other.sync().unwrap();
    assert!(free(&mut bench) <= before - 256);
    drop(other);
    let start = clock::now();
    loop {
        let Bench { files, names, .. } = &mut bench;
        files.sync(names).unwrap();
        if free(&mut bench) >= before {
            break;
        }
        assert!(
            clock::now() < start + 5 * clock::SECOND,
            "its blocks never come back"
        );
    }
}

#[test]
fn streams_and_memory_show_a_file() {
    let mut bench = Bench::new(formatted(4096));
    let bytes = pattern(10_000, 3);
    bench.write("/s", &bytes).unwrap();
    let Bench { files, names, .. } = &mut bench;
    let (file, _) = files
        .open(names, "/s", flags::READ | flags::WRITE, 0)
        .unwrap();
    let (size, memory) = files.file_memory(names, file).unwrap();
    let mut copy = vec![0; 10_000];
    memory.read(0, &mut copy).unwrap();
    assert_eq!((size, copy == bytes), (10_000, true));
    assert!(
        !memory
            .owned()
            .info()
            .unwrap()
            .rights
            .contains(Rights::WRITE)
    );

    let reader = stream::Client::new(files.stream(names, file, 9_000).unwrap());
    let mut seen = Vec::new();
    loop {
        let part = reader.read(240, u64::MAX).unwrap();
        if part.is_empty() {
            break;
        }
        seen.extend_from_slice(&part);
    }
    assert_eq!(seen, bytes[9_000..]);
    let writer = stream::Client::new(files.stream(names, file, 10_000).unwrap());
    assert_eq!(writer.write(b"and more"), Ok(8));
    assert_eq!(writer.write(b"!"), Ok(1));
    assert!(bench.read("/s").unwrap().ends_with(b"and more!"));
}

#[test]
fn ids_and_offsets_of_others_are_refused() {
    let mut bench = Bench::new(formatted(4096));
    bench.write("/f", b"text").unwrap();
    let client = bench.connect();
    let path = INLINE("/f");
    let (file, _) = client.open(flags::READ | flags::WRITE, 0, path).unwrap();
    assert_eq!(
        client.read(file, 0, 4, 0).err(),
        Some(Error::NotSupported),
        "no memory yet"
    );
    let memory = Memory::new(8192).unwrap();
    let weak = memory
        .duplicate(Rights::READ | Rights::MAP | Rights::TRANSFER)
        .unwrap();
    assert_eq!(client.session(weak), Err(Error::NoRight));
    client.session(memory.try_clone().unwrap()).unwrap();
    assert_eq!(
        client.session(memory.try_clone().unwrap()),
        Err(Error::AlreadyExists)
    );
    assert_eq!(
        bench.connect().read(file, 0, 4, 0).err(),
        Some(Error::BadHandle)
    );
    let bad = Some(Error::InvalidArgument);
    assert_eq!(client.read(file, 0, 8193, 0).err(), bad);
    assert_eq!(client.read(file, 0, 1, 8192).err(), bad);
    assert_eq!(client.read(file, 0, 1, u64::MAX).err(), bad);
    assert_eq!(client.write(file, 0, 4096, 4097).err(), bad);
    assert_eq!(
        client.write(file, u64::MAX - 1, 4, 0).err(),
        Some(Error::FileTooLarge)
    );
    assert_eq!(client.read(file, u64::MAX, 4, 0), Ok(0));
    assert_eq!(client.truncate(file, u64::MAX), Err(Error::FileTooLarge));
    assert_eq!(client.close(file + 1), Err(Error::BadHandle));
    let far = PathSent::Shared {
        offset: 8190,
        len: 3,
    };
    assert_eq!(client.stat_path(true, far).err(), bad);
    Mapping::whole(&memory).unwrap().write(8190, b"/f").unwrap();
    let near = PathSent::Shared {
        offset: 8190,
        len: 2,
    };
    assert_eq!(client.stat_path(true, near).unwrap().size_bytes, 4);
    for _ in 1..256 {
        client.open(flags::READ, 0, path).unwrap();
    }
    assert_eq!(
        client.open(flags::READ, 0, path).err(),
        Some(Error::LimitReached)
    );
}

#[test]
fn random_messages_do_no_harm() {
    let mut bench = Bench::new(formatted(4096));
    bench.write("/f", b"text").unwrap();
    let client = bench.connect();
    client.session(Memory::new(1 << 16).unwrap()).unwrap();
    let path = INLINE("/f");
    client.open(flags::READ | flags::WRITE, 0, path).unwrap();
    let raw = client.connection().channel().raw();
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for _ in 0..4000 {
        let mut words = [0; 6];
        for word in &mut words {
            *word = match random.next_u32() % 5 {
                0 => u64::from(random.next_u32() % 4),
                1 => u64::MAX - u64::from(random.next_u32() % 1000),
                2 => u64::from(random.next_u32() % 256),
                3 => u64::from(random.next_u32() % 70_000),
                _ => random.next_u64(),
            };
        }
        let label = random.next_u32() % 25;
        let info = MsgInfo::new(label, (random.next_u32() % 257) as usize, 0);
        let reply = sys::call(raw, info, words, clock::after(10 * clock::SECOND));
        assert_ne!(reply.check(), Err(Error::PeerClosed), "{label} {words:?}");
        assert_ne!(reply.check(), Err(Error::TimedOut), "{label} {words:?}");
        viper_rt::message::close_unsent(reply.info);
    }
    bench.write("/g", b"still well").unwrap();
    assert_eq!(bench.read("/g").unwrap(), b"still well");
}

/// A disk with a partition table: the volume is in the second partition, and stays in it.
#[test]
fn a_volume_in_a_partition_is_found_and_stays_in_it() {
    let volume = formatted(1024).platter().data.clone();
    let (first, last) = (4096, 4096 + volume.len() / 512 - 1);
    let mut bytes = vec![0xAA; (last + 2048) * 512];
    crate::gpt::tests::write_table(&mut bytes, &[(64, 2111), (first as u64, last as u64)]);
    bytes[64 * 512..2112 * 512].fill(0);
    bytes[first * 512..(last + 1) * 512].copy_from_slice(&volume);
    let before = bytes.clone();
    let mut bench = Bench::new(FakeDisk::holding(bytes));
    bench.write("/f", &pattern(1_000_000, 3)).unwrap();
    bench.files.sync(&bench.names).unwrap();
    bench.names.server_restart(b"blkd").unwrap();
    bench.names.server_restart(b"fsd").unwrap();
    assert_eq!(bench.read("/f").unwrap(), pattern(1_000_000, 3));
    let after = bench.disk.platter().data.clone();
    assert!(after[..first * 512] == before[..first * 512]);
    assert!(after[(last + 1) * 512..] == before[(last + 1) * 512..]);
    assert!(after != before);
    assert_eq!(bench.log(), [""; 0]);
}
