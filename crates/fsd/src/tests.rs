use viperfs::*;
#[test]
fn repro() {
    let mut disk = MemoryDevice::new(16384);
    format(
        &mut disk,
        &FormatOptions {
            label: "",
            uuid: [7; 16],
            ..Default::default()
        },
    )
    .unwrap();
    let mut fs = Fs::mount(disk, MountOptions::default()).unwrap();
    let mut now = 1;
    let o = Owner::default();
    for round in 0..2 {
        for sync_every in [1usize, 3, 7, 50, 1000] {
            let mut n = 0;
            let mut tick = |fs: &mut Fs<MemoryDevice>| {
                n += 1;
                if n % sync_every == 0 {
                    fs.sync().unwrap();
                }
            };
            let mut write = |fs: &mut Fs<MemoryDevice>, dir: u64, name: &[u8], bytes: &[u8]| {
                now += 1;
                let a = fs.create(dir, name, 0o644, o, now).unwrap().ino;
                fs.pin(a).unwrap();
                let mut d = 0;
                for c in bytes.chunks(65536) {
                    fs.write(a, d, c, now).unwrap();
                    d += c.len() as u64;
                }
                fs.unpin(a).unwrap();
                a
            };
            write(&mut fs, 1, b"check", b"some text");
            tick(&mut fs);
            fs.unlink(1, b"check", 5).unwrap();
            tick(&mut fs);
            let d = fs.mkdir(1, b"d", 0o755, o, 6).unwrap().ino;
            tick(&mut fs);
            for n in 0..300 {
                write(
                    &mut fs,
                    d,
                    format!("file{n}").as_bytes(),
                    format!("{n}").as_bytes(),
                );
                tick(&mut fs);
            }
            let mut names = vec![];
            fs.readdir(d, 0, |e| {
                names.push(e.name.to_vec());
                true
            })
            .unwrap();
            fs.symlink(1, b"l", b"d/file7", o, 8).unwrap();
            tick(&mut fs);
            fs.rename(d, b"file8", d, b"file7", RenameMode::Replace, 9)
                .unwrap();
            tick(&mut fs);
            fs.unlink(1, b"l", 9).unwrap();
            tick(&mut fs);
            for n in &names {
                if n != b"file8" {
                    fs.unlink(d, n, 10).unwrap();
                    tick(&mut fs);
                }
            }
            fs.rmdir(1, b"d", 11).unwrap();
            tick(&mut fs);
            write(&mut fs, 1, b"large", &vec![3; 3 << 20]);
            fs.sync().unwrap();
            fs.unlink(1, b"large", 12).unwrap();
            tick(&mut fs);
            let g = write(&mut fs, 1, b"gone", b"still");
            tick(&mut fs);
            fs.pin(g).unwrap();
            fs.unlink(1, b"gone", 12).unwrap();
            tick(&mut fs);
            fs.unpin(g).unwrap();
            tick(&mut fs);
        }
        if round % 3 == 0 {
            let d = fs.unmount().unwrap();
            fs = Fs::mount(d, MountOptions::default()).unwrap();
        }
    }
}
