//! The devices of the board, from its device tree, under the names that the manifest uses.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

const VIRTIO_MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VIRTIO_MAGIC_OFFSET: u64 = 0;
const VIRTIO_DEVICE_ID_OFFSET: u64 = 8;

/// A device that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// `pl011`, `pl031`, `virtio-blk`, and `virtio-blk-1` for the second of them.
    pub name: String,
    /// Physical address of its registers.
    pub base: u64,
    /// Bytes of registers.
    pub len_bytes: u64,
    /// Its interrupt line, as the interrupt controller numbers it.
    pub interrupt: u32,
}

/// Finds devices. `read` reads a 32-bit register by its physical address.
///
/// A tree that cannot be read has no devices.
pub fn discover(tree: &[u8], mut read: impl FnMut(u64) -> Option<u32>) -> Vec<Found> {
    let mut found = Vec::new();
    if let Ok(tree) = Fdt::new(tree) {
        visit(tree.root(), &mut read, &mut found, 4);
    }
    // The first of a kind is the one at the highest address: so QEMU gives slots to devices.
    found.sort_by_key(|device| core::cmp::Reverse(device.base));
    number(&mut found);
    found
}

/// Tells several devices of a kind apart by name.
fn number(found: &mut [Found]) {
    for at in (0..found.len()).rev() {
        let (before, rest) = found.split_at_mut(at);
        let Some(device) = rest.first_mut() else {
            continue;
        };
        let same = before.iter().filter(|other| other.name == device.name);
        match same.count() {
            0 => {}
            n => device.name = format!("{}-{n}", device.name),
        }
    }
}

fn visit(
    node: FdtNode<'_>,
    read: &mut impl FnMut(u64) -> Option<u32>,
    found: &mut Vec<Found>,
    depth: u32,
) {
    for child in node.children() {
        if let Some(device) = identify(child, read) {
            found.push(device);
        }
        if depth > 0 {
            visit(child, read, found, depth - 1);
        }
    }
}

fn identify(node: FdtNode<'_>, read: &mut impl FnMut(u64) -> Option<u32>) -> Option<Found> {
    let compatible: Vec<&str> = node.compatible()?.collect();
    let reg = node.reg().ok()??.next()?;
    let base = reg.address::<u64>().ok()?;
    let len_bytes = reg.size::<u64>().ok()?;
    let name = if compatible.contains(&"arm,pl011") {
        "pl011"
    } else if compatible.contains(&"arm,pl031") {
        "pl031"
    } else if compatible.contains(&"virtio,mmio") {
        if read(base + VIRTIO_MAGIC_OFFSET)? != VIRTIO_MAGIC {
            return None;
        }
        match read(base + VIRTIO_DEVICE_ID_OFFSET)? {
            1 => "virtio-net",
            2 => "virtio-blk",
            4 => "virtio-rng",
            16 => "virtio-gpu",
            18 => "virtio-input",
            _ => return None,
        }
    } else {
        return None;
    };
    Some(Found {
        name: name.to_string(),
        base,
        len_bytes,
        interrupt: interrupt(node)?,
    })
}

/// The first interrupt: three cells, of which the first tells shared (0) from private (1) lines.
fn interrupt(node: FdtNode<'_>) -> Option<u32> {
    let property = node.property("interrupts")?;
    let cells = property.value().as_chunks::<4>().0;
    let cell = |index: usize| cells.get(index).map(|bytes| u32::from_be_bytes(*bytes));
    match cell(0)? {
        0 => cell(1)?.checked_add(32),
        1 => cell(1)?.checked_add(16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

    fn node(name: &str, compatible: &str, base: u32, line: u32) -> DeviceTreeNode {
        let cells =
            |cells: &[u32]| -> Vec<u8> { cells.iter().flat_map(|c| c.to_be_bytes()).collect() };
        let mut node = DeviceTreeNode::new(name).unwrap();
        let properties = [
            ("compatible", [compatible.as_bytes(), b"\0"].concat()),
            ("reg", cells(&[0, base, 0, 0x200])),
            ("interrupts", cells(&[0, line, 4])),
        ];
        for (name, value) in properties {
            node.add_property(DeviceTreeProperty::new(name, value).unwrap());
        }
        node
    }

    #[test]
    fn the_board_is_found_with_what_its_slots_hold() {
        let mut tree = DeviceTree::new();
        let two = 2u32.to_be_bytes();
        for name in ["#address-cells", "#size-cells"] {
            tree.root
                .add_property(DeviceTreeProperty::new(name, two).unwrap());
        }
        tree.root
            .add_child(node("virtio_mmio@a000200", "virtio,mmio", 0xa00_0200, 17));
        tree.root
            .add_child(node("virtio_mmio@a000000", "virtio,mmio", 0xa00_0000, 16));
        tree.root
            .add_child(node("pl011@9000000", "arm,pl011", 0x900_0000, 1));
        tree.root
            .add_child(node("virtio_mmio@a000400", "virtio,mmio", 0xa00_0400, 18));
        let blob = tree.to_dtb();
        let found = discover(&blob, |address| match address {
            0xa00_0000 | 0xa00_0200 | 0xa00_0400 => Some(VIRTIO_MAGIC),
            0xa00_0008 => Some(0),
            0xa00_0208 | 0xa00_0408 => Some(2),
            _ => None,
        });
        let list: Vec<_> = found
            .iter()
            .map(|f| (f.name.as_str(), f.base, f.len_bytes, f.interrupt))
            .collect();
        let wanted = [
            ("virtio-blk", 0xa00_0400, 0x200, 50),
            ("virtio-blk-1", 0xa00_0200, 0x200, 49),
            ("pl011", 0x900_0000, 0x200, 33),
        ];
        assert_eq!(list, wanted);
    }

    #[test]
    fn nonsense_has_no_devices() {
        assert!(discover(b"", |_| None).is_empty());
        assert!(discover(&[0xd0; 400], |_| None).is_empty());
    }
}
