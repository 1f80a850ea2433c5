//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::qemu::{parse_disk_size, parse_forward, parse_memory};
use crate::wire::Plug;

/// Builds and boots ViperOS.
///
/// Without a command: builds everything, makes the disk on first use, and boots to the prompt on
/// this terminal. The shell's `Shutdown` leaves; so does Ctrl-A X. When standard input is not a
/// terminal, its lines are run in the shell, and the system shuts down at its end.
#[derive(Debug, Parser)]
#[command(name = "distro", version, after_help = EXAMPLES, args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// Never install anything that is missing; say what to type instead (exit code 125)
    #[arg(long, global = true)]
    pub no_setup: bool,

    /// What to do instead of booting to the prompt.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The machine of the interactive boot.
    #[command(flatten)]
    pub machine: MachineOptions,

    /// Make the kept disk anew, losing what was written to it
    #[arg(long)]
    pub fresh_disk: bool,
}

const EXAMPLES: &str = "\
Examples:
  cargo run -p distro                                      boot to the prompt
  cargo run -p distro -- --smp 4 --mem 1G                  the same on a larger machine
  cargo run -p distro -- exec 'Version; Dir SYS:'          run two commands, print their output
  cargo run -p distro -- exec --put a.elf:/c/a 'a'         copy a program in and run it
  cargo run -p distro -- test smp                          the system tests with `smp` in their name
  cargo run -p distro -- bench --json                      instruction counts beside those of peers

Exit codes:
  the last command's own code (0, 5, 10, 20, ...); 101 kernel panic; 124 time-out; 125 cannot build
  or boot (the reason is on stderr). Logs go to stderr, stdout carries what was asked for.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build the kernel, the programs, the boot archive and the disk, without booting
    Build,
    /// Boot without a screen, run commands in the shell, print exactly their output
    Exec(Box<ExecOptions>),
    /// Run the system tests, one line each
    Test {
        /// Run only tests with this in their name
        filter: Option<String>,
        /// How many machines run at the same time
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
        jobs: u8,
        /// Run the tests that take long, and only those
        #[arg(long)]
        long: bool,
        /// List the names and run nothing
        #[arg(long)]
        list: bool,
    },
    /// Measure in the guest, in exact instruction counts
    Bench {
        /// Print a JSON list instead of a table
        #[arg(long)]
        json: bool,
        /// Exit with 1 when a figure is above its limit in distro/gate.toml
        #[arg(long)]
        gate: bool,
    },
    /// Do the same work in ViperOS and in a Linux guest on the same emulator, and compare the times
    Compare {
        /// How often; the medians are shown
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
        rounds: u8,
    },
    /// The other end of a wire, in a network of its own: `test` starts it
    #[command(hide = true)]
    WirePeer {
        /// The peer's socket
        at: PathBuf,
    },
    /// Say what is missing on this machine, and the command that brings it
    Doctor,
    /// Check the sources for what no compiler checks
    Check {
        /// Which check
        #[arg(value_enum)]
        what: Check,
        /// Write the counts into docs/unsafe.md
        #[arg(long)]
        update: bool,
    },
}

/// A check of the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// Crates depend downwards only
    Floors,
    /// The workspace lists its members from the lowest floor to the highest
    Members,
    /// Public items do not show foreign crates' types where they should not
    PublicTypes,
    /// `unsafe` in each crate is what docs/unsafe.md says
    UnsafeCount,
    /// Clippy has nothing to say about the code for the bare-metal targets
    Clippy,
}

/// Options of `exec`.
#[derive(Debug, Args)]
pub struct ExecOptions {
    /// The machine.
    #[command(flatten)]
    pub machine: MachineOptions,
    /// Give up after this many seconds (exit code 124)
    #[arg(long, value_name = "S", default_value_t = 300)]
    pub timeout: u64,
    /// Copy a file to the disk before the boot
    #[arg(long, value_name = "HOST:GUEST", value_parser = parse_copy)]
    pub put: Vec<Copy>,
    /// Copy a file from the disk after the end
    #[arg(long, value_name = "GUEST:HOST", value_parser = parse_copy_out)]
    pub get: Vec<Copy>,
    /// Commands for the shell, separated by semicolons or line ends
    #[arg(value_name = "CMD; CMD")]
    pub commands: String,
}

/// What the machine is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct MachineOptions {
    /// A raw viperfs image that is kept [default: a throw-away disk, or the one of the last boot]
    #[arg(long, value_name = "IMG")]
    pub disk: Option<PathBuf>,
    /// Run without a disk
    #[arg(long, conflicts_with = "disk")]
    pub no_disk: bool,
    /// One more raw image as a disk, kept; repeatable: they are D1, D2 and D3 in the guest
    #[arg(long = "disk2", visible_alias = "add-disk", value_name = "IMG")]
    pub more_disks: Vec<PathBuf>,
    /// Size of the throw-away disk, such as 512M, or of IMG, which is made if it is not there
    #[arg(long, value_name = "SIZE", conflicts_with = "no_disk", value_parser = parse_disk_size)]
    pub disk_size: Option<u64>,
    /// Number of cores, 1 to 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub smp: Option<u8>,
    /// Size of the memory, such as 64M or 4G
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    pub mem: Option<String>,
    /// Model of the cores, such as cortex-a72 or max
    #[arg(long, value_name = "NAME")]
    pub cpu: Option<String>,
    /// Version of the interrupt controller, 2 or 3
    #[arg(long, value_name = "2|3", value_parser = clap::value_parser!(u8).range(2..=3))]
    pub gic: Option<u8>,
    /// Run without a network
    #[arg(long)]
    pub no_net: bool,
    /// Forward a port of this machine (loopback only) to the guest
    #[arg(long, value_name = "tcp:HOST-GUEST", conflicts_with = "no_net")]
    #[arg(value_parser = parse_forward)]
    pub hostfwd: Vec<String>,
    /// Plug the card into a TAP device that is there, in place of QEMU's user network
    #[arg(long, value_name = "NAME", conflicts_with_all = ["no_net", "hostfwd"])]
    #[arg(value_parser = parse_tap)]
    pub tap: Option<String>,
    /// The wire that the card is plugged into, in place of QEMU's user network.
    #[arg(skip)]
    pub wire: Option<Plug>,
    /// Let virtual time count instructions: repeatable, one core at a time
    #[arg(long)]
    pub icount: bool,
    /// How to boot: `recovery` starts only the shell, from the boot archive
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Switch servers off, such as -netd
    #[arg(long, value_name = "-NAME,..", allow_hyphen_values = true, value_parser = parse_servers)]
    pub servers: Option<String>,
    /// Open the log of subsystems, such as fsd:debug,kernel:info
    #[arg(long, value_name = "SUBSYS:LEVEL,..", value_delimiter = ',', value_parser = parse_log)]
    pub log: Vec<String>,
}

/// How to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Everything.
    Normal,
    /// Only the shell, on the kernel's debug console, from the boot archive
    Recovery,
}

/// Where a file comes from and goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Source.
    pub from: String,
    /// Destination.
    pub to: String,
}

/// The name of a network device, as Linux has them: it goes into a list of options of QEMU's.
fn parse_tap(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..16).contains(&text.len()) && text.chars().all(is_good) {
        Ok(text.into())
    } else {
        Err("expected the name of a network device".into())
    }
}

fn parse_copy(text: &str) -> Result<Copy, String> {
    match text.split_once(':') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok(Copy {
            from: from.into(),
            to: to.into(),
        }),
        _ => Err("expected FROM:TO".into()),
    }
}

/// The guest's names may have colons of their own, as in `SYS:s/startup:out.txt`.
fn parse_copy_out(text: &str) -> Result<Copy, String> {
    match text.rsplit_once(':') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok(Copy {
            from: from.into(),
            to: to.into(),
        }),
        _ => Err("expected FROM:TO".into()),
    }
}

fn parse_servers(text: &str) -> Result<String, String> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let one = |part: &str| part.len() > 1 && part.starts_with('-') && part.chars().all(valid);
    match text.split(',').all(one) {
        true => Ok(text.into()),
        false => Err("expected -NAME or -NAME,-NAME".into()),
    }
}

fn parse_log(text: &str) -> Result<String, String> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    match text.split_once(':') {
        Some((name, level))
            if levels.contains(&level)
                && !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.*".contains(c)) =>
        {
            Ok(text.into())
        }
        _ => Err(format!(
            "expected SUBSYS:LEVEL with a level of {}",
            levels.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_lines_are_understood() {
        assert!(parse("distro").command.is_none());
        assert!(parse("distro --no-setup build").no_setup);
        assert!(parse("distro build --no-setup").no_setup);
        assert_eq!(parse("distro --smp 4").machine.smp, Some(4));
        let cli = parse(
            "distro exec --disk d.img --disk2 e.img --add-disk f.img --smp 2 --mem 64M --cpu max --gic 2 --mode recovery \
             --hostfwd tcp:2222-22 --timeout 9 --icount --put a:/b --get /b:c --servers=-netd,-fsd \
             --log fsd:debug,kernel:info --log blkd:trace ver",
        );
        let Some(Command::Exec(exec)) = cli.command else {
            panic!("not exec")
        };
        assert_eq!(
            exec.put,
            [Copy {
                from: "a".into(),
                to: "/b".into()
            }]
        );
        assert_eq!(
            exec.machine.more_disks,
            [PathBuf::from("e.img"), "f.img".into()]
        );
        assert_eq!(exec.machine.log, ["fsd:debug", "kernel:info", "blkd:trace"]);
        assert_eq!(exec.machine.servers.as_deref(), Some("-netd,-fsd"));
        assert_eq!((exec.timeout, exec.commands.as_str()), (9, "ver"));
    }

    #[test]
    fn mistakes_are_refused() {
        for line in [
            "distro exec",
            "distro exec --smp 9 x",
            "distro exec --gic 4 x",
            "distro exec --put a x",
            "distro exec --log fsd x",
            "distro exec --servers netd x",
            "distro exec --no-net --hostfwd tcp:1-2 x",
            "distro nonsense",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
