//! The PL011 UART (Arm DDI 0183, "PrimeCell UART (PL011) Technical Reference Manual").

use viper_rt::registers::Registers;

/// Data (section 3.3.1).
const DR: u64 = 0x00;
/// Flags (3.3.3).
const FR: u64 = 0x18;
/// Line control (3.3.7).
const LCR_H: u64 = 0x2c;
/// Control (3.3.8).
const CR: u64 = 0x30;
/// Interrupt FIFO levels (3.3.9).
const IFLS: u64 = 0x34;
/// Interrupt mask (3.3.10).
const IMSC: u64 = 0x38;
/// Interrupt clear (3.3.13).
const ICR: u64 = 0x44;

const FR_BUSY: u32 = 1 << 3;
const FR_RX_EMPTY: u32 = 1 << 4;
const FR_TX_FULL: u32 = 1 << 5;
const LCR_8_BITS: u32 = 3 << 5;
const LCR_FIFO: u32 = 1 << 4;
const CR_ENABLE: u32 = 1 | 1 << 8 | 1 << 9;
const RX: u32 = 1 << 4;
const TX: u32 = 1 << 5;
const RX_TIMEOUT: u32 = 1 << 6;
const ALL: u32 = 0x7ff;

/// A UART.
#[derive(Debug)]
pub struct Pl011 {
    registers: Registers,
    tx_interrupt: bool,
}

impl Pl011 {
    /// Takes a UART over, whatever state it is in; what is being sent goes out.
    #[must_use]
    pub fn new(registers: Registers) -> Pl011 {
        registers.write(IMSC, 0);
        registers.write(LCR_H, LCR_8_BITS | LCR_FIFO);
        registers.write(CR, CR_ENABLE);
        // Receive at 1/8 full, send at 1/8 full.
        registers.write(IFLS, 0);
        registers.write(ICR, ALL);
        registers.write(IMSC, RX | RX_TIMEOUT);
        Pl011 {
            registers,
            tx_interrupt: false,
        }
    }

    /// The registers.
    #[must_use]
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// Takes a received byte.
    pub fn read(&mut self) -> Option<u8> {
        if self.registers.read(FR) & FR_RX_EMPTY != 0 {
            return None;
        }
        // Bits 8-11 tell of errors on the line: the byte is taken as it came.
        Some(self.registers.read(DR) as u8)
    }

    /// Sends a byte if there is room.
    pub fn write(&mut self, byte: u8) -> bool {
        if self.registers.read(FR) & FR_TX_FULL != 0 {
            return false;
        }
        self.registers.write(DR, u32::from(byte));
        true
    }

    /// Whether everything has been sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.registers.read(FR) & FR_BUSY == 0
    }

    /// Asks for an interrupt when there is room to send, or does not any more.
    pub fn want_room(&mut self, wanted: bool) {
        if wanted != self.tx_interrupt {
            self.tx_interrupt = wanted;
            let tx = if wanted { TX } else { 0 };
            self.registers.write(IMSC, RX | RX_TIMEOUT | tx);
        }
    }

    /// Clears what has fired.
    pub fn acknowledge(&mut self) {
        self.registers.write(ICR, ALL);
    }
}
