//! Builds ELF files field by field.
#![allow(dead_code, reason = "each test file uses its own part")]

pub const LOAD: u32 = 1;

#[derive(Clone, Copy)]
pub struct Program {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub vaddr: u64,
    pub file_len: u64,
    pub mem_len: u64,
    pub align: u64,
}

pub struct File {
    pub kind: u16,
    pub entry: u64,
    pub programs: Vec<Program>,
    pub len: usize,
}

impl Program {
    pub const EMPTY: Self = Self {
        kind: 0,
        flags: 0,
        offset: 0,
        vaddr: 0,
        file_len: 0,
        mem_len: 0,
        align: 0,
    };

    pub fn code(vaddr: u64) -> Self {
        let (file_len, mem_len) = (0x200, 0x200);
        Self {
            kind: LOAD,
            flags: 5,
            offset: 0,
            vaddr,
            file_len,
            mem_len,
            align: 0x1_0000,
        }
    }
}

impl File {
    /// Code at 0x1_0000 and data at 0x2_0200.
    pub fn small() -> Self {
        let data = Program {
            kind: LOAD,
            flags: 6,
            offset: 0x200,
            vaddr: 0x2_0200,
            file_len: 0x100,
            mem_len: 0x3000,
            align: 0x1_0000,
        };
        let programs = vec![Program::code(0x1_0000), data];
        Self {
            kind: 2,
            entry: 0x1_0100,
            programs,
            len: 0x300,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(16, 0);
        out.extend(self.kind.to_le_bytes());
        out.extend(183u16.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend(self.entry.to_le_bytes());
        out.extend(64u64.to_le_bytes());
        out.extend(0u64.to_le_bytes());
        out.extend(0u32.to_le_bytes());
        for half in [64, 56, self.programs.len() as u16, 64, 0, 0] {
            out.extend(half.to_le_bytes());
        }
        assert_eq!(out.len(), 64);
        for program in &self.programs {
            out.extend(program.kind.to_le_bytes());
            out.extend(program.flags.to_le_bytes());
            let Program {
                offset,
                vaddr,
                file_len,
                mem_len,
                align,
                ..
            } = *program;
            for word in [offset, vaddr, vaddr, file_len, mem_len, align] {
                out.extend(word.to_le_bytes());
            }
        }
        let filler = out.len()..self.len.max(out.len());
        out.extend(filler.map(|at| at as u8));
        out
    }
}
