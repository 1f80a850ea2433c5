//! Taking a figure: many rounds, the median of them.

use crate::machine::instructions;
use alloc::vec::Vec;
use core::fmt;
use viper_rt::Error;
use viper_rt::abi::Handle;
use viper_rt::object::process_info;

/// One line of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Row of the table of figures.
    pub row: u32,
    /// Its word there.
    pub name: &'static str,
    /// Instructions, or what `unit` says.
    pub value: u32,
    /// What is counted.
    pub unit: &'static str,
    /// Messages that this process sent in one operation.
    pub ipcs: Option<u64>,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "BENCH {} {} {} {} ",
            self.row, self.name, self.value, self.unit
        )?;
        match self.ipcs {
            Some(ipcs) => write!(f, "{ipcs}"),
            None => f.write_str("-"),
        }
    }
}

/// The middle one of the values, 0 of none.
pub fn median(values: &mut [u32]) -> u32 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// Measures; knows what measuring costs.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    overhead: u32,
}

impl Sampler {
    /// Finds out what an empty measurement counts.
    #[must_use]
    pub fn new() -> Sampler {
        let mut empty = [0; 31];
        for place in &mut empty {
            let start = instructions();
            *place = instructions().wrapping_sub(start);
        }
        Sampler {
            overhead: median(&mut empty),
        }
    }

    /// What an empty measurement counts.
    #[must_use]
    pub fn overhead(&self) -> u32 {
        self.overhead
    }

    /// Measures `work` in each of `rounds` rounds.
    ///
    /// # Errors
    /// The first that `work` returns.
    pub fn take(
        &self,
        row: u32,
        name: &'static str,
        rounds: usize,
        mut work: impl FnMut() -> Result<(), Error>,
    ) -> Result<Figure, Error> {
        self.take_with(row, name, rounds, || Ok(()), |()| work())
    }

    /// The same with a preparation that is not measured.
    ///
    /// # Errors
    /// The first that `prepare` or `work` returns.
    pub fn take_with<T>(
        &self,
        row: u32,
        name: &'static str,
        rounds: usize,
        mut prepare: impl FnMut() -> Result<T, Error>,
        mut work: impl FnMut(T) -> Result<(), Error>,
    ) -> Result<Figure, Error> {
        let mut values = Vec::with_capacity(rounds);
        let mut ipcs = 0;
        for round in 0..rounds {
            let prepared = prepare()?;
            let last = round + 1 == rounds;
            let before = if last { sent()? } else { 0 };
            let start = instructions();
            let done = work(prepared);
            let spent = instructions().wrapping_sub(start);
            done?;
            if last {
                ipcs = sent()? - before;
            }
            values.push(spent.saturating_sub(self.overhead));
        }
        let value = median(&mut values);
        Ok(Figure {
            row,
            name,
            value,
            unit: "instructions",
            ipcs: (ipcs > 0).then_some(ipcs),
        })
    }
}

impl Default for Sampler {
    fn default() -> Sampler {
        Sampler::new()
    }
}

/// Messages this process sent so far.
fn sent() -> Result<u64, Error> {
    Ok(process_info(Handle::NONE)?.ipcs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [9, 1, 5]), 5);
        assert_eq!(median(&mut [4, 1, 3, 2]), 3);
        assert_eq!(median(&mut []), 0);
    }

    #[test]
    fn lines_have_the_promised_form() {
        let mut figure = Figure {
            row: 2,
            name: "call-reply",
            value: 430,
            unit: "instructions",
            ipcs: Some(1),
        };
        assert_eq!(figure.to_string(), "BENCH 2 call-reply 430 instructions 1");
        figure.ipcs = None;
        assert_eq!(figure.to_string(), "BENCH 2 call-reply 430 instructions -");
    }
}
