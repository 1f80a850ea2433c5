//! Memory objects and mappings.
#![allow(unsafe_code, reason = "maps and protects memory of the test's own")]

use super::report::{Report, Verdict, failed, want};
use viper_rt::abi::{Handle, Protection, Rights};
use viper_rt::handle::Memory;
use viper_rt::{Error, Mapping, Object, sys};

/// All tests of this file.
pub(super) fn tests(report: &mut Report<'_>) {
    let tests: &[super::Test] = &[
        ("memory/zero", zero),
        ("memory/shared", shared),
        ("memory/copy-on-write", copy_on_write),
        ("memory/committed-on-touch", committed),
        ("memory/rights", rights),
        ("memory/fixed", fixed),
        ("memory/protect", protect),
        ("memory/outlives-handle", outlives),
    ];
    for (name, test) in tests {
        report.run(name, test);
    }
}

fn two_pages() -> Result<(Memory, Mapping), alloc::string::String> {
    let memory = Memory::new(8192).map_err(failed("memory"))?;
    let mapping = Mapping::whole(&memory).map_err(failed("map"))?;
    Ok((memory, mapping))
}

fn byte(mapping: &Mapping, at: usize) -> Result<u8, Error> {
    let mut one = [0];
    mapping.read(at, &mut one).map(|()| one[0])
}

fn zero() -> Verdict {
    let (_memory, mapping) = two_pages()?;
    let mut all = [1; 8192];
    mapping.read(0, &mut all).map_err(failed("read"))?;
    want("zero", all.iter().all(|b| *b == 0), true)
}

fn shared() -> Verdict {
    let (memory, one) = two_pages()?;
    let two = Mapping::whole(&memory).map_err(failed("map"))?;
    one.write(4095, &[1, 2]).map_err(failed("write"))?;
    want("two", (byte(&two, 4095), byte(&two, 4096)), (Ok(1), Ok(2)))
}

fn copy_on_write() -> Verdict {
    let (memory, mapping) = two_pages()?;
    mapping.write(0, &[1]).map_err(failed("write"))?;
    let copy = memory.snapshot().map_err(failed("clone"))?;
    let theirs = Mapping::whole(&copy).map_err(failed("map"))?;
    want("copied", byte(&theirs, 0), Ok(1))?;
    mapping.write(0, &[2]).map_err(failed("write"))?;
    theirs.write(4096, &[3]).map_err(failed("write"))?;
    want("copy", byte(&theirs, 0), Ok(1))?;
    want(
        "original",
        (byte(&mapping, 0), byte(&mapping, 4096)),
        (Ok(2), Ok(0)),
    )
}

fn committed() -> Verdict {
    let (memory, mapping) = two_pages()?;
    want("none", memory.size(), Ok((8192, 0)))?;
    mapping.write(0, &[1]).map_err(failed("write"))?;
    want("one", memory.size(), Ok((8192, 4096)))
}

fn rights() -> Verdict {
    let (memory, _mapping) = two_pages()?;
    let less = memory
        .duplicate(Rights::MAP | Rights::READ)
        .map_err(failed("duplicate"))?;
    want(
        "writable",
        Mapping::whole(&less).map(drop),
        Err(Error::NoRight),
    )?;
    want("write", less.write(0, &[1]), Err(Error::NoRight))?;
    want(
        "readable",
        Mapping::read_only(&less, 0, 4096).map(drop),
        Ok(()),
    )
}

fn fixed() -> Verdict {
    let (memory, mapping) = two_pages()?;
    let at = mapping.as_ptr() as u64;
    drop(mapping);
    let how = Protection::READ | Protection::FIXED;
    let map = || unsafe {
        // SAFETY: nothing is mapped there: the mapping was just dropped.
        sys::memory_map(Handle::NONE, memory.raw(), 0, 4096, how, at)
    };
    want("free", map(), Ok((at,)))?;
    want("taken", map(), Err(Error::AlreadyExists))?;
    // SAFETY: unmaps what was mapped above.
    want(
        "unmap",
        unsafe { sys::memory_unmap(Handle::NONE, at, 4096) },
        Ok(()),
    )
}

fn protect() -> Verdict {
    let (memory, mapping) = two_pages()?;
    mapping.write(0, &[9]).map_err(failed("write"))?;
    let at = mapping.as_ptr() as u64;
    let set = |how| unsafe {
        // SAFETY: nobody refers to the pages.
        sys::memory_protect(Handle::NONE, at, 4096, how)
    };
    want("read-only", set(Protection::READ), Ok(()))?;
    want("still there", byte(&mapping, 0), Ok(9))?;
    want("kernel's write", memory.read(0, &mut [0]), Ok(()))?;
    // SAFETY: the kernel refuses to write there, which is the test.
    let written = unsafe { sys::memory_read(memory.raw(), 4096, at, 8) };
    want("by the kernel", written, Err(Error::BadAddress))?;
    want("back", set(Protection::READ | Protection::WRITE), Ok(()))?;
    want("writable", mapping.write(0, &[8]), Ok(()))
}

fn outlives() -> Verdict {
    let (memory, mapping) = two_pages()?;
    mapping.write(0, &[5]).map_err(failed("write"))?;
    drop(memory);
    want("mapped", byte(&mapping, 0), Ok(5))
}
