//! Checks the storage servers on the machine itself: put it into an image in the shell's place.
//!
//! It says `ok` or `FAILED` for each check, counts how long the frequent requests take in
//! nanoseconds of the counter, and turns the machine off.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use viper_proto::fs::{Client, Files, PathSent, flags};
use viper_proto::names;
use viper_rt::abi::{PowerAction, Rights, Slot};
use viper_rt::handle::{Memory, OwnedHandle, System};
use viper_rt::{Error, Mapping, Object, clock, println, program};

viper_rt::entry!(run);

const PAGE: usize = 4096;

fn run() -> i64 {
    let names = program::take(Slot::NAMES).map(OwnedHandle::into_object);
    let Some(names) = names.map(names::Client::new) else {
        return 20;
    };
    let mut check = Check {
        names,
        files: Files::new(),
        failed: 0,
    };
    check.run();
    println!("storage-check: {} failed", check.failed);
    let failed = check.failed;
    if let Some(system) = program::take(Slot::SYSTEM) {
        let system: System = system.into_object();
        let _ = system.power(PowerAction::OFF);
    }
    i64::from(failed)
}

struct Check {
    names: names::Client,
    files: Files,
    failed: u32,
}

impl Check {
    fn run(&mut self) {
        self.say("round trip", Check::round_trip);
        self.say("names", Check::names);
        self.say("large file", Check::large);
        self.say("unlinked file", Check::unlinked);
        self.say("block server dies while writing", Check::block_server_dies);
        self.say("file server dies", Check::file_server_dies);
        self.say("speed", Check::speed);
    }

    fn say(&mut self, name: &str, check: fn(&mut Check) -> Result<(), Error>) {
        let before = clock::now();
        let result = check(self);
        let ms = (clock::now() - before) / clock::MILLISECOND;
        match result {
            Ok(()) => println!("ok     {name} ({ms} ms)"),
            Err(error) => {
                self.failed += 1;
                println!("FAILED {name}: {error:?} ({ms} ms)");
            }
        }
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let how = flags::WRITE | flags::CREATE | flags::TRUNCATE;
        let (file, _) = self.files.open(&self.names, path, how, 0o644)?;
        let mut done = 0;
        while done < bytes.len() {
            done += self
                .files
                .write(&self.names, file, done as u64, &bytes[done..])?;
        }
        self.files.close(file)
    }

    fn read(&mut self, path: &str) -> Result<Vec<u8>, Error> {
        let (file, attributes) = self.files.open(&self.names, path, flags::READ, 0)?;
        let mut bytes = vec![0; attributes.size_bytes as usize];
        let mut done = 0;
        while done < bytes.len() {
            match self
                .files
                .read(&self.names, file, done as u64, &mut bytes[done..])?
            {
                0 => return Err(Error::Corrupt),
                n => done += n,
            }
        }
        self.files.close(file)?;
        Ok(bytes)
    }

    fn same(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        if self.read(path)? == bytes {
            Ok(())
        } else {
            Err(Error::Corrupt)
        }
    }

    fn round_trip(&mut self) -> Result<(), Error> {
        self.write("/check", b"some text")?;
        self.same("/check", b"some text")?;
        let stat = self.files.stat_path(&self.names, "/check", true)?;
        if stat.size_bytes != 9 || stat.mode != 0o644 {
            return Err(Error::Corrupt);
        }
        self.files.unlink(&self.names, "/check")?;
        expect(
            self.files.stat_path(&self.names, "/check", true).err(),
            Error::NotFound,
        )
    }

    fn names(&mut self) -> Result<(), Error> {
        self.files.make_directory(&self.names, "/d", 0o755)?;
        for n in 0..300 {
            self.write(&format!("/d/file{n}"), format!("{n}").as_bytes())?;
        }
        let (directory, _) =
            self.files
                .open(&self.names, "/d", flags::READ | flags::DIRECTORY, 0)?;
        let (mut entries, mut cookie) = (Vec::new(), 0);
        while let Some(next) =
            self.files
                .read_directory(&self.names, directory, cookie, &mut entries)?
        {
            cookie = next;
        }
        self.files.close(directory)?;
        if entries.len() != 300 {
            return Err(Error::Corrupt);
        }
        expect(
            self.files.remove_directory(&self.names, "/d").err(),
            Error::NotEmpty,
        )?;
        self.files.symlink(&self.names, "d/file7", "/l")?;
        self.same("/l", b"7")?;
        self.files.rename(&self.names, "/d/file8", "/d/file7")?;
        self.same("/l", b"8")?;
        self.files.unlink(&self.names, "/l")?;
        for entry in entries.iter().filter(|entry| entry.name != "file8") {
            self.files
                .unlink(&self.names, &format!("/d/{}", entry.name))?;
        }
        self.files.remove_directory(&self.names, "/d")
    }

    fn large(&mut self) -> Result<(), Error> {
        let bytes = pattern(3 << 20, 1);
        self.write("/large", &bytes)?;
        let (file, _) = self.files.open(&self.names, "/large", flags::READ, 0)?;
        self.files.sync_file(&self.names, file)?;
        let (size, memory) = self.files.file_memory(&self.names, file)?;
        self.files.close(file)?;
        if size != bytes.len() as u64 || memory.size()?.0 != size {
            return Err(Error::Corrupt);
        }
        self.same("/large", &bytes)?;
        self.files.unlink(&self.names, "/large")
    }

    fn unlinked(&mut self) -> Result<(), Error> {
        self.write("/gone", b"still here")?;
        let (file, _) = self.files.open(&self.names, "/gone", flags::READ, 0)?;
        self.files.unlink(&self.names, "/gone")?;
        let mut bytes = [0; 16];
        let count = self.files.read(&self.names, file, 0, &mut bytes)?;
        self.files.close(file)?;
        if &bytes[..count] == b"still here" {
            Ok(())
        } else {
            Err(Error::Corrupt)
        }
    }

    fn block_server_dies(&mut self) -> Result<(), Error> {
        let bytes = pattern(1 << 20, 2);
        let how = flags::WRITE | flags::CREATE | flags::TRUNCATE;
        let (file, _) = self.files.open(&self.names, "/dies", how, 0o644)?;
        for (n, part) in bytes.chunks(64 * 1024).enumerate() {
            if n % 4 == 1 {
                self.names.server_restart(b"blkd")?;
            }
            self.files
                .write(&self.names, file, (n * 64 * 1024) as u64, part)?;
            if n % 2 == 0 {
                self.files.sync_file(&self.names, file)?;
            }
        }
        self.files.sync_file(&self.names, file)?;
        self.files.close(file)?;
        self.same("/dies", &bytes)
    }

    fn file_server_dies(&mut self) -> Result<(), Error> {
        let bytes = pattern(1 << 20, 2);
        let (file, _) = self.files.open(&self.names, "/dies", flags::READ, 0)?;
        let mut part = vec![0; 64 * 1024];
        for (n, wanted) in bytes.chunks(64 * 1024).enumerate() {
            if n % 4 == 1 {
                self.names.server_restart(b"fsd")?;
            }
            let count = self
                .files
                .read(&self.names, file, (n * 64 * 1024) as u64, &mut part)?;
            if count != part.len() || part != wanted {
                return Err(Error::Corrupt);
            }
        }
        self.files.close(file)?;
        self.files.unlink(&self.names, "/dies")
    }

    fn speed(&mut self) -> Result<(), Error> {
        let channel = self.names.connect(b"FSD:", clock::after(clock::SECOND))?;
        let client = Client::new(channel);
        let memory = Memory::new(1 << 20)?;
        let rights = Rights::READ | Rights::WRITE | Rights::MAP | Rights::TRANSFER;
        client.session(memory.duplicate(rights)?)?;
        let mapping = Mapping::whole(&memory)?;
        mapping.zero(0..1 << 20)?;
        let path = PathSent::Inline(b"/speed");
        let (file, _) = client.open(flags::READ | flags::WRITE | flags::CREATE, 0o644, path)?;
        rate("write 1 MiB", 1, || {
            client.write(file, 0, 1 << 20, 0).map(|_| ())
        })?;
        rate("sync", 1, || client.sync())?;
        clock::sleep(300 * clock::MILLISECOND);
        rate("null call", 2000, || client.version().map(|_| ()))?;
        rate("read 4 KiB", 2000, || {
            client.read(file, 8192, PAGE as u64, 0).map(|_| ())
        })?;
        rate("read 16 bytes", 2000, || {
            client.read(file, 8192, 16, 0).map(|_| ())
        })?;
        rate("read 64 KiB", 500, || {
            client.read(file, 0, 65536, 0).map(|_| ())
        })?;
        rate("stat", 2000, || client.stat(file).map(|_| ()))?;
        rate("stat by path", 2000, || {
            client.stat_path(true, path).map(|_| ())
        })?;
        rate("open and close", 2000, || {
            let (file, _) = client.open(flags::READ, 0, path)?;
            client.close(file)
        })?;
        rate("write 4 KiB", 2000, || {
            client.write(file, 8192, PAGE as u64, 0).map(|_| ())
        })?;
        rate("write 4 KiB and sync", 50, || {
            client.write(file, 8192, PAGE as u64, 0)?;
            client.sync_file(file)
        })?;
        rate("create and unlink", 200, || {
            let path = PathSent::Inline(b"/speed2");
            let (file, _) = client.open(flags::WRITE | flags::CREATE, 0o644, path)?;
            client.close(file)?;
            client.unlink(path)
        })?;
        client.close(file)?;
        self.names.server_restart(b"fsd")?;
        let channel = self.names.connect(b"FSD:", clock::after(clock::SECOND))?;
        let client = Client::new(channel);
        client.session(memory.duplicate(rights)?)?;
        let (file, _) = client.open(flags::READ, 0, path)?;
        rate("read 1 MiB from the disk", 1, || {
            client.read(file, 0, 1 << 20, 0).map(|_| ())
        })?;
        client.close(file)?;
        client.unlink(path)
    }
}

fn expect(got: Option<Error>, wanted: Error) -> Result<(), Error> {
    if got == Some(wanted) {
        Ok(())
    } else {
        Err(got.unwrap_or(Error::Internal))
    }
}

fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..len).map(step).collect()
}

fn rate(
    name: &str,
    times: u64,
    mut operation: impl FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    operation()?;
    let before = clock::now();
    for _ in 0..times {
        operation()?;
    }
    println!("       {name}: {} ns", (clock::now() - before) / times);
    Ok(())
}
