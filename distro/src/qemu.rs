//! The virtual machine: what it is made of, as a QEMU command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::wire::Plug;

/// The emulator's name.
pub const PROGRAM: &str = "qemu-system-aarch64";

/// A disk of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// A raw image.
    pub path: PathBuf,
    /// What becomes of the guest's writes.
    pub writes: Writes,
}

/// What becomes of the guest's writes to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writes {
    /// They are thrown away at the end.
    Dropped,
    /// They stay in the image.
    Kept,
    /// They stay, and QEMU records each write and flush in this file (see `write_log`).
    Recorded(PathBuf),
}

impl Disk {
    /// An image whose writes are thrown away.
    pub const fn scratch(path: PathBuf) -> Self {
        Self {
            path,
            writes: Writes::Dropped,
        }
    }

    /// An image that keeps what is written.
    pub const fn kept(path: PathBuf) -> Self {
        Self {
            path,
            writes: Writes::Kept,
        }
    }
}

/// What the machine's network card is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// There is no card.
    None,
    /// QEMU's user network, with these forwards (as of [`parse_forward`]).
    User(Vec<String>),
    /// A wire of this program.
    Wire(Plug),
    /// The TAP device of this machine with this name.
    Tap(String),
}

/// A machine, ready to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The kernel: a flat arm64 boot image, or an ELF file (which gets no boot archive from QEMU).
    pub kernel: PathBuf,
    /// The boot archive.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub command_line: String,
    /// Number of cores.
    pub cores: u8,
    /// Size of the memory in QEMU's notation, such as `256M`.
    pub memory: String,
    /// Model of the cores.
    pub cpu: String,
    /// Version of the interrupt controller, 2 or 3.
    pub gic: u8,
    /// Whether virtual time counts instructions.
    pub icount: bool,
    /// The disk.
    pub disk: Option<Disk>,
    /// Further disks, in the order in which the guest counts them.
    pub more_disks: Vec<Disk>,
    /// The network.
    pub network: Network,
    /// Whether a reset of the machine starts it again; otherwise it ends QEMU.
    pub reboots: bool,
}

impl Machine {
    /// The command that starts this machine, its console on the command's standard streams.
    pub fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(self.arguments());
        command
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut list = Arguments::default();
        list.pair("-M", format!("virt,gic-version={}", self.gic));
        list.pair("-cpu", &self.cpu);
        list.pair("-smp", self.cores.to_string());
        list.pair("-m", &self.memory);
        list.0
            .extend(["-nodefaults", "-no-user-config", "-display", "none"].map(Into::into));
        list.pair("-chardev", "stdio,id=console,signal=off");
        list.pair("-serial", "chardev:console");
        list.pair("-monitor", "none");
        // The modern interface of virtio; the old one is off in every ViperOS driver.
        list.pair("-global", "virtio-mmio.force-legacy=false");
        list.pair("-kernel", &self.kernel);
        if let Some(initrd) = &self.initrd {
            list.pair("-initrd", initrd);
        }
        list.pair("-append", &self.command_line);
        list.pair("-object", "rng-builtin,id=entropy");
        list.pair("-device", "virtio-rng-device,rng=entropy");
        if let Some(disk) = &self.disk {
            add_disk(&mut list, "disk", disk);
        }
        for (n, disk) in (1..).zip(&self.more_disks) {
            add_disk(&mut list, &format!("disk{n}"), disk);
        }
        self.add_network(&mut list);
        if self.icount {
            list.pair("-icount", "shift=0");
        }
        if !self.reboots {
            list.0.push("-no-reboot".into());
        }
        list.0
    }

    fn add_network(&self, list: &mut Arguments) {
        let network = match &self.network {
            Network::None => return list.pair("-nic", "none"),
            Network::Wire(plug) => plug.netdev("net"),
            Network::Tap(name) => format!("tap,id=net,ifname={name},script=no,downscript=no"),
            Network::User(forwards) => forwards
                .iter()
                .fold(String::from("user,id=net"), |network, forward| {
                    network + ",hostfwd=" + forward
                }),
        };
        list.pair("-netdev", network);
        list.pair("-device", "virtio-net-device,netdev=net");
    }
}

/// A disk and its device. The virt board gives devices of the command line slots from the highest
/// address down, and the guest counts disks in that order.
fn add_disk(list: &mut Arguments, id: &str, disk: &Disk) {
    let drive = format!("if=none,id={id},format=raw,file=");
    match &disk.writes {
        Writes::Dropped => list.file("-drive", &drive, &disk.path, ",snapshot=on"),
        Writes::Kept => list.file("-drive", &drive, &disk.path, ",cache=writeback"),
        Writes::Recorded(log) => {
            let image = format!("driver=raw,node-name=image-{id},file.driver=file,file.filename=");
            list.file("-blockdev", &image, &disk.path, "");
            let node = format!(
                "driver=blklogwrites,node-name={id},file=image-{id},log.driver=file,log.filename="
            );
            list.file("-blockdev", &node, log, "");
        }
    }
    list.pair("-device", format!("virtio-blk-device,drive={id}"));
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }

    /// An option with a file's name in it: a comma ends a value there, two stand for one.
    fn file(&mut self, option: &str, before: &str, path: &Path, after: &str) {
        let path = path.to_string_lossy().replace(',', ",,");
        self.pair(option, format!("{before}{path}{after}"));
    }
}

/// Turns `tcp:2222-22` into QEMU's `tcp:127.0.0.1:2222-:22`: only this machine may connect.
///
/// # Errors
///
/// A sentence for the user when the text has another form.
pub fn parse_forward(text: &str) -> Result<String, String> {
    let parts = text.split_once(':').and_then(|(protocol, rest)| {
        let (host, guest) = rest.split_once('-')?;
        Some((
            protocol,
            host.parse::<u16>().ok()?,
            guest.parse::<u16>().ok()?,
        ))
    });
    match parts {
        Some((protocol @ ("tcp" | "udp"), host, guest)) => {
            Ok(format!("{protocol}:127.0.0.1:{host}-:{guest}"))
        }
        _ => Err("expected tcp:HOST-GUEST or udp:HOST-GUEST with two port numbers".into()),
    }
}

/// Checks a memory size such as `64M` or `4G`.
///
/// # Errors
///
/// A sentence for the user when the text has another form or the size is out of range.
pub fn parse_memory(text: &str) -> Result<String, String> {
    match parse_mib(text) {
        Some(mib @ 16..=262_144) => Ok(format!("{mib}M")),
        _ => Err("expected a size from 16M to 256G, such as 64M or 4G".into()),
    }
}

/// The value of `--disk-size`, in MiB.
///
/// # Errors
///
/// A sentence for the user when it is malformed.
pub fn parse_disk_size(text: &str) -> Result<u64, String> {
    match parse_mib(text) {
        Some(mib @ 16..=262_144) => Ok(mib),
        _ => Err("expected a size from 16M to 256G, such as 64M or 4G".into()),
    }
}

fn parse_mib(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.len() - usize::from(text.ends_with(['M', 'G'])));
    let number = digits.parse::<u64>().ok()?;
    match unit {
        "G" => number.checked_mul(1024),
        _ => Some(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            kernel: "k".into(),
            initrd: Some("i".into()),
            command_line: "viper.mode=normal".into(),
            cores: 2,
            memory: "256M".into(),
            cpu: "cortex-a72".into(),
            gic: 3,
            icount: false,
            disk: Some(Disk::scratch("a,b.img".into())),
            more_disks: vec![Disk::kept("c.img".into())],
            network: Network::None,
            reboots: false,
        }
    }

    fn line(machine: &Machine) -> String {
        machine
            .arguments()
            .join(&OsString::from(" "))
            .to_string_lossy()
            .into_owned()
    }

    #[test]
    fn the_command_line_says_what_the_machine_is() {
        let line = line(&machine());
        for part in [
            "-M virt,gic-version=3",
            "-smp 2 -m 256M",
            "-kernel k -initrd i -append viper.mode=normal",
            "file=a,,b.img,snapshot=on",
            "-device virtio-blk-device,drive=disk -drive if=none,id=disk1,format=raw,file=c.img",
            "-device virtio-blk-device,drive=disk1",
            "-nic none",
            "-no-reboot",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("icount"));
    }

    #[test]
    fn a_network_with_a_forward_opens_only_the_loopback() {
        let forward = parse_forward("tcp:2222-22").expect("valid");
        let line = line(&Machine {
            network: Network::User(vec![forward]),
            ..machine()
        });
        assert!(line.contains("-netdev user,id=net,hostfwd=tcp:127.0.0.1:2222-:22"));
        assert!(!line.contains("-nic"));
    }

    #[test]
    fn a_network_of_a_tap_device_runs_no_scripts() {
        let line = line(&Machine {
            network: Network::Tap("guest0".into()),
            ..machine()
        });
        assert!(line.contains("-netdev tap,id=net,ifname=guest0,script=no,downscript=no"));
    }

    #[test]
    fn wrong_forwards_are_refused() {
        for text in [
            "",
            "tcp",
            "tcp:1",
            "tcp:1-x",
            "icmp:1-2",
            "tcp:70000-1",
            "tcp:1-2,a=b",
        ] {
            assert!(parse_forward(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory_sizes_are_checked() {
        assert_eq!(parse_memory("64M").as_deref(), Ok("64M"));
        assert_eq!(parse_memory("4G").as_deref(), Ok("4096M"));
        assert_eq!(parse_memory("128").as_deref(), Ok("128M"));
        assert_eq!(parse_disk_size("4G"), Ok(4096));
        for text in ["", "M", "15M", "4T", "-1", "999999G", "1e3"] {
            assert!(parse_memory(text).is_err(), "{text}");
            assert!(parse_disk_size(text).is_err(), "{text}");
        }
    }
}
