//! What the kernel wants to know from the device tree.

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

use super::gic::Gic;

/// Most pieces of RAM, and cores.
pub const RAM_MAX: usize = 8;

/// The machine, as described.
pub struct Tree<'a> {
    /// Base and length of each piece of RAM.
    pub ram: [(u64, u64); RAM_MAX],
    /// How many.
    pub ram_count: usize,
    /// `MPIDR` affinity of each core.
    pub cores: [u64; 8],
    /// How many.
    pub core_count: usize,
    /// The interrupt controller.
    pub gic: Gic,
    /// Whether PSCI is called by HVC rather than SMC.
    pub is_psci_hvc: bool,
    /// The first PL011: base and interrupt line.
    pub uart: Option<(u64, u32)>,
    /// The boot archive: start and end.
    pub archive: Option<(u64, u64)>,
    /// The kernel command line.
    pub command_line: &'a str,
    /// Length of the tree itself.
    pub len: usize,
}

fn number(node: &FdtNode<'_>, name: &str) -> Option<u64> {
    let property = node.property(name)?;
    let value = property.value();
    match value.len() {
        4 => Some(u64::from(u32::from_be_bytes(value.try_into().ok()?))),
        8 => Some(u64::from_be_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

fn is_compatible(node: &FdtNode<'_>, wanted: &str) -> bool {
    node.property("compatible")
        .is_some_and(|p| p.value().split(|&b| b == 0).any(|s| s == wanted.as_bytes()))
}

fn registers(node: FdtNode<'_>, index: usize) -> Option<(u64, u64)> {
    let reg = node.reg().ok()??.nth(index)?;
    Some((reg.address::<u64>().ok()?, reg.size::<u64>().ok()?))
}

impl<'a> Tree<'a> {
    /// Reads the tree; `None` if it lacks RAM or an interrupt controller, or is no tree.
    pub fn read(blob: &'a [u8]) -> Option<Tree<'a>> {
        let fdt = Fdt::new(blob).ok()?;
        let mut ram = [(0, 0); RAM_MAX];
        let mut ram_count = 0;
        let mut gic = None;
        let mut uart = None;
        let mut is_psci_hvc = true;
        for node in fdt.root().children() {
            if node.name_without_address() == "memory" {
                for i in 0.. {
                    let Some(piece) = registers(node, i) else {
                        break;
                    };
                    if let Some(slot) = ram.get_mut(ram_count) {
                        *slot = piece;
                        ram_count += 1;
                    }
                }
            } else if is_compatible(&node, "arm,cortex-a15-gic")
                || is_compatible(&node, "arm,gic-400")
            {
                gic = Some(Gic::V2 {
                    distributor: registers(node, 0)?.0,
                    interface: registers(node, 1)?.0,
                });
            } else if is_compatible(&node, "arm,gic-v3") {
                gic = Some(Gic::V3 {
                    distributor: registers(node, 0)?.0,
                    redistributors: registers(node, 1)?.0,
                });
            } else if is_compatible(&node, "arm,pl011") && uart.is_none() {
                // Interrupts are (type, number, flags); type 0 is shared, counted from 32.
                let line = node.property("interrupts").and_then(|p| {
                    let number = p.value().get(4..8)?;
                    Some(32 + u32::from_be_bytes(number.try_into().ok()?))
                });
                uart = Some((registers(node, 0)?.0, line.unwrap_or(0)));
            } else if node.name_without_address() == "psci" {
                is_psci_hvc = node
                    .property("method")
                    .is_none_or(|p| p.value() != b"smc\0".as_slice());
            }
        }
        ram[..ram_count].sort_unstable();
        let mut cores = [0; 8];
        let mut core_count = 0;
        if let Some(cpus) = fdt.find_node("/cpus") {
            for node in cpus
                .children()
                .filter(|n| n.name_without_address() == "cpu")
            {
                if let (Some(slot), Some(id)) = (cores.get_mut(core_count), number(&node, "reg")) {
                    *slot = id;
                    core_count += 1;
                }
            }
        }
        let chosen = fdt.find_node("/chosen");
        let archive = chosen.and_then(|c| {
            Some((
                number(&c, "linux,initrd-start")?,
                number(&c, "linux,initrd-end")?,
            ))
        });
        let command_line = chosen
            .and_then(|c| c.property("bootargs"))
            .and_then(|p| p.value_as::<&'a str>().ok())
            .unwrap_or("");
        Some(Tree {
            ram,
            ram_count: (ram_count > 0).then_some(ram_count)?,
            cores,
            core_count: core_count.max(1),
            gic: gic?,
            is_psci_hvc,
            uart,
            archive,
            command_line,
            len: fdt.data().len(),
        })
    }
}
