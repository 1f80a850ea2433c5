//! Drives the devices of a real QEMU from the host, without any guest code.
//!
//! The guest's processor sleeps. Register accesses go over a pipe by QEMU's test protocol, and the
//! guest's memory is a file that both sides map. So the same drivers that run in a guest are held
//! against the devices that they are for.
//!
//!     cargo run -p viper-virtio --example qemu
//!
//! Exit code 0 if all passed, 1 if something failed, 125 if there is no QEMU to run.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::{Duration, Instant};

use viper_virtio::{
    Block, BlockConfig, Completion, DeviceAddress, DeviceKind, DmaRegion, Error, Input, Net,
    NetConfig, Registers, Request, RequestKind, Rng, Status, Transmit, Transport,
};

const QEMU: &str = "qemu-system-aarch64";
const RAM_BASE: u64 = 0x4000_0000;
const RAM_LEN: usize = 64 << 20;
/// The first bytes that are ours: QEMU puts its device tree below.
const FREE_START: usize = 4 << 20;
const FREE_END: usize = 63 << 20;
const SLEEP_AT: u64 = RAM_BASE + FREE_END as u64;
/// `wfi`, then back to it.
const SLEEP: u64 = 0x17ff_ffff_d503_207f;
const SLOTS: u64 = 32;
const SLOT_BASE: u64 = 0x0a00_0000;
const SLOT_LEN: u64 = 0x200;
const DISK_LEN: usize = 8 << 20;
const WAIT: Duration = Duration::from_secs(10);

type Test = fn(&Machine) -> Outcome;
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let machine = match Machine::start() {
        Ok(machine) => machine,
        Err(error) => {
            eprintln!("{QEMU}: {error}");
            return ExitCode::from(125);
        }
    };
    let tests: [(&str, Test); 6] = [
        ("block: negotiation and geometry", block_info),
        (
            "block: write, flush, read back at full depth",
            block_patterns,
        ),
        (
            "block: reset with requests in flight, restart",
            block_restart,
        ),
        ("rng: distinct bytes", rng_bytes),
        ("net: the gateway answers", net_arp),
        ("input: the keyboard introduces itself", input_query),
    ];
    let mut failed = 0;
    for (name, test) in tests {
        match test(&machine) {
            Ok(()) => println!("ok      {name}"),
            Err(error) => {
                println!("FAILED  {name}: {error}");
                failed += 1;
            }
        }
    }
    println!("{} passed, {failed} failed", tests.len() - failed);
    ExitCode::from(u8::from(failed != 0))
}

fn block(machine: &Machine, config: BlockConfig) -> Outcome<Block<Slot>> {
    let transport = machine.find(DeviceKind::Block)?;
    Ok(Block::new(
        transport,
        machine.take(config.dma_len()),
        config,
    )?)
}

fn block_info(machine: &Machine) -> Outcome {
    let block = block(machine, BlockConfig::default())?;
    let info = *block.info();
    println!("        {info:?}");
    expect(info.capacity_sectors == DISK_LEN as u64 / 512, "capacity")?;
    expect(info.depth == 64 && info.segments_max == 14, "queue shape")?;
    expect(info.has_flush && !info.is_read_only, "features")?;
    let shallow = BlockConfig {
        depth: 512,
        segments_max: 126,
    };
    expect(
        self::block(machine, shallow)?.info().depth == 512,
        "indirect tables",
    )
}

fn block_patterns(machine: &Machine) -> Outcome {
    let shapes = [(64, 14), (256, 30), (1, 1)];
    for (round, (depth, segments_max)) in (0u8..).zip(shapes) {
        let mut block = block(
            machine,
            BlockConfig {
                depth,
                segments_max,
            },
        )?;
        let mut data = machine.take(1 << 20);
        let blank = vec![0; data.len()];
        let pattern: Vec<u8> = (0..data.len())
            .map(|i| (i / 512 * 7 + i) as u8 ^ round)
            .collect();
        data.write(0, &pattern)?;
        let before = machine.accesses();
        transfer(&mut block, &data, RequestKind::Write)?;
        println!(
            "        {} requests, {} accesses",
            256,
            machine.accesses() - before
        );
        let flush = Request {
            kind: RequestKind::Flush,
            sector: 0,
            segments: &[],
            token: 7,
        };
        block.submit(&flush)?;
        block.kick()?;
        expect(wait(&mut block)?.token == 7, "flush")?;
        data.write(0, &blank)?;
        transfer(&mut block, &data, RequestKind::Read)?;
        let mut back = blank;
        data.read(0, &mut back)?;
        expect(back == pattern, "data read back")?;
        expect(
            std::fs::read(&machine.disk)?.starts_with(&pattern),
            "data in the image",
        )?;
        block.release(|_| ()).map_err(|_| "release")?;
    }
    Ok(())
}

/// Moves all of `data` to or from the start of the disk: 256 requests of 4 KiB, as many in flight
/// as there is room for.
fn transfer(block: &mut Block<Slot>, data: &DmaRegion, kind: RequestKind) -> Outcome {
    let parts = usize::from(block.info().segments_max.min(4));
    let (mut next, mut done) = (0, 0);
    while done < 256 {
        while next < 256 {
            let part = 4096 / parts;
            let segments: Result<Vec<_>, _> = (0..parts)
                .map(|i| data.segment(next * 4096 + i * part, part as u32))
                .collect();
            let segments = segments?;
            let request = Request {
                kind,
                sector: next as u64 * 8,
                segments: &segments,
                token: next as u64,
            };
            match block.submit(&request) {
                Err(Error::Full) => break,
                result => result?,
            }
            next += 1;
        }
        block.kick()?;
        let completion = wait(block)?;
        expect(
            completion.status == Status::Ok && completion.bytes == 4096,
            "whole transfer",
        )?;
        done += 1;
    }
    Ok(())
}

fn block_restart(machine: &Machine) -> Outcome {
    let config = BlockConfig::default();
    let mut first = block(machine, config)?;
    let data = machine.take(1 << 20);
    let segments = [data.segment(0, 4096)?];
    let request = |token| Request {
        kind: RequestKind::Read,
        sector: 0,
        segments: &segments,
        token,
    };
    for token in 0..32 {
        first.submit(&request(token))?;
    }
    first.kick()?;
    let mut tokens = Vec::new();
    first.reset_and_reinit(|token| tokens.push(token))?;
    expect(
        tokens == (0..32).collect::<Vec<_>>(),
        "all tokens come back",
    )?;
    first.submit(&request(99))?;
    first.kick()?;
    expect(wait(&mut first)?.token == 99, "goes on after a reset")?;
    first.submit(&request(100))?;
    first.kick()?;
    drop(first);
    let mut second = block(machine, config)?;
    second.submit(&request(101))?;
    second.kick()?;
    expect(wait(&mut second)?.token == 101, "a new driver takes over")
}

fn wait(block: &mut Block<Slot>) -> Outcome<Completion> {
    let start = Instant::now();
    loop {
        if let Some(completion) = block.poll_completion()? {
            return Ok(completion);
        }
        // The interrupt line is not wired here; its place is taken by asking.
        block.on_interrupt()?;
        expect(start.elapsed() < WAIT, "completion within 10 s")?;
    }
}

fn rng_bytes(machine: &Machine) -> Outcome {
    let transport = machine.find(DeviceKind::Rng)?;
    let mut rng = Rng::new(transport, machine.take(Rng::<Slot>::DMA_LEN))?;
    let mut seen = Vec::new();
    for _ in 0..4 {
        rng.request(64)?;
        let start = Instant::now();
        let mut bytes = [0; 64];
        while rng.poll(&mut bytes)?.is_none() {
            rng.on_interrupt()?;
            expect(start.elapsed() < WAIT, "entropy within 10 s")?;
        }
        expect(!seen.contains(&bytes) && bytes != [0; 64], "fresh bytes")?;
        seen.push(bytes);
    }
    Ok(())
}

/// Asks QEMU's user network who has its gateway's address, and reads the answer.
fn net_arp(machine: &Machine) -> Outcome {
    let transport = machine.find(DeviceKind::Net)?;
    let config = NetConfig::default();
    let mut net = Net::new(transport, machine.take(config.dma_len()), config)?;
    println!("        {:?}", net.info());
    expect(net.info().mac == Some(MAC) && net.info().is_link_up, "card")?;
    let mut memory = machine.take(1 << 16);
    for i in 0..16 {
        net.post_receive(&[memory.segment(4096 + i * 2048, 2048)?], i as u64)?;
    }
    let (ours, gateway) = ([10, 0, 2, 15], [10, 0, 2, 2]);
    let start = [[0xff; 6], MAC].concat();
    let request = [
        &start,
        &ARP_REQUEST[..],
        &MAC,
        &ours,
        &[0; 6],
        &gateway,
        &[0; 18],
    ]
    .concat();
    memory.write(0, &request)?;
    for token in 0..32 {
        let segments = [memory.segment(0, 20)?, memory.segment(20, 40)?];
        net.transmit(&Transmit {
            segments: &segments,
            checksum: None,
            token,
        })?;
        net.kick()?;
        let (mut sent, mut answer) = (None, None);
        let start = Instant::now();
        while sent.is_none() || answer.is_none() {
            expect(start.elapsed() < WAIT, "an answer within 10 s")?;
            net.on_interrupt()?;
            sent = sent.or(net.poll_transmit()?);
            answer = answer.or(net.poll_receive()?);
        }
        let answer = answer.ok_or("an answer")?;
        let place = 4096 + answer.token as usize * 2048;
        let mut frame = vec![0; answer.bytes as usize];
        memory.read(place, &mut frame)?;
        expect(sent == Some(token) && frame.len() >= 42, "frame")?;
        expect(
            frame.starts_with(&MAC) && frame[12..14] == [8, 6],
            "ARP to us",
        )?;
        expect(
            frame[20..22] == [0, 2] && frame[28..32] == gateway,
            "the gateway's reply",
        )?;
        net.post_receive(&[memory.segment(place, 2048)?], answer.token)?;
        net.kick()?;
    }
    Ok(())
}

fn input_query(machine: &Machine) -> Outcome {
    let transport = machine.find(DeviceKind::Input)?;
    let mut input = Input::new(transport, machine.take(Input::<Slot>::DMA_LEN))?;
    let mut answer = [0; 128];
    let len = input.query(1, 0, &mut answer);
    let name = String::from_utf8_lossy(&answer[..len]).into_owned();
    println!("        {}", name.trim_end_matches(char::from(0)));
    expect(name.contains("Keyboard"), "a keyboard's name")?;
    expect(input.query(0x11, 1, &mut answer) > 0, "its keys")?;
    expect(answer[3] & 0x40 != 0, "the key A, code 30")?;
    expect(input.poll()?.is_none(), "nobody types")
}

const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
/// EtherType, hardware and protocol types and lengths, "who has".
const ARP_REQUEST: [u8; 10] = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];

fn expect(is_so: bool, what: &str) -> Outcome {
    if is_so {
        Ok(())
    } else {
        Err(format!("expected: {what}").into())
    }
}

/// A QEMU whose processor sleeps.
struct Machine {
    child: RefCell<Child>,
    pipe: Rc<RefCell<Pipe>>,
    memory: memmap2::MmapRaw,
    taken: RefCell<usize>,
    folder: PathBuf,
    disk: PathBuf,
}

struct Pipe {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    accesses: usize,
}

/// One register window, over the pipe.
struct Slot {
    pipe: Rc<RefCell<Pipe>>,
    base: u64,
}

impl Machine {
    fn start() -> Outcome<Self> {
        let folder = std::env::temp_dir().join(format!("viper-virtio-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let (ram, disk) = (folder.join("ram"), folder.join("disk"));
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&ram)?;
        file.set_len(RAM_LEN as u64)?;
        std::fs::File::create(&disk)?.set_len(DISK_LEN as u64)?;
        let ram = format!("memory-backend-file,id=ram,share=on,size={RAM_LEN},mem-path={ram:?}");
        let drive = format!("if=none,id=disk,format=raw,file={}", disk.display());
        let mut child = Command::new(QEMU)
            .args([
                "-M",
                "virt,memory-backend=ram",
                "-m",
                "64M",
                "-accel",
                "tcg",
            ])
            .args([
                "-qtest",
                "stdio",
                "-qtest-log",
                "none",
                "-nodefaults",
                "-display",
                "none",
            ])
            .args([
                "-device",
                &format!("loader,addr={SLEEP_AT:#x},data={SLEEP:#x},data-len=8"),
            ])
            .args(["-device", &format!("loader,addr={SLEEP_AT:#x},cpu-num=0")])
            .args(["-object", &ram.replace('"', ""), "-drive", &drive])
            .args(["-global", "virtio-mmio.force-legacy=false"])
            .args(["-device", "virtio-blk-device,drive=disk"])
            .args(["-device", "virtio-rng-device"])
            .args(["-device", "virtio-keyboard-device"])
            .args(["-netdev", "user,id=net,restrict=on"])
            .args([
                "-device",
                "virtio-net-device,netdev=net,mac=52:54:00:12:34:56",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take().ok_or("no pipe")?;
        let from = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Self {
            child: RefCell::new(child),
            pipe: Rc::new(RefCell::new(Pipe {
                to,
                from,
                accesses: 0,
            })),
            memory: memmap2::MmapRaw::map_raw(&file)?,
            taken: RefCell::new(FREE_START),
            folder,
            disk,
        })
    }

    /// The first device of this kind.
    fn find(&self, kind: DeviceKind) -> Outcome<Transport<Slot>> {
        for i in 0..SLOTS {
            let slot = Slot {
                pipe: Rc::clone(&self.pipe),
                base: SLOT_BASE + i * SLOT_LEN,
            };
            match Transport::probe(slot)? {
                Some(transport) if transport.kind() == kind => return Ok(transport),
                _ => {}
            }
        }
        Err("no such device".into())
    }

    /// The next pages of the guest's memory. They are not given out again.
    fn take(&self, len: usize) -> DmaRegion {
        let mut taken = self.taken.borrow_mut();
        let start = *taken;
        assert!(start + len <= FREE_END, "memory for all tests");
        *taken = (start + len).next_multiple_of(4096);
        // SAFETY: `start` is inside the mapping.
        let cpu = unsafe { self.memory.as_mut_ptr().add(start) };
        let cpu = NonNull::new(cpu).expect("mappings are not at null");
        // SAFETY:
        // 1. The bytes are inside the mapping, which QEMU shows its devices at `RAM_BASE`.
        // 2. The mapping lives until the end of `main`.
        // 3. `taken` went past them, and the guest's processor sleeps.
        unsafe { DmaRegion::new(cpu, DeviceAddress::new(RAM_BASE + start as u64), len) }
    }

    fn accesses(&self) -> usize {
        self.pipe.borrow().accesses
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let mut child = self.child.borrow_mut();
        let _ = child.kill();
        let _ = child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Pipe {
    fn ask(&mut self, command: &str) -> Outcome<u32> {
        self.accesses += 1;
        writeln!(self.to, "{command}")?;
        loop {
            let mut line = String::new();
            if self.from.read_line(&mut line)? == 0 {
                return Err("QEMU has gone".into());
            }
            let Some(rest) = line.trim().strip_prefix("OK") else {
                continue;
            };
            let hex = rest.trim().trim_start_matches("0x");
            return Ok(if hex.is_empty() {
                0
            } else {
                u64::from_str_radix(hex, 16)? as u32
            });
        }
    }
}

impl Registers for Slot {
    fn read(&self, offset: usize) -> u32 {
        let at = self.base + offset as u64;
        self.pipe
            .borrow_mut()
            .ask(&format!("readl {at:#x}"))
            .expect("QEMU answers")
    }

    fn write(&mut self, offset: usize, value: u32) {
        let at = self.base + offset as u64;
        self.pipe
            .borrow_mut()
            .ask(&format!("writel {at:#x} {value:#x}"))
            .expect("QEMU answers");
    }
}
