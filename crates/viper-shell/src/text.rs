//! How sizes, times, flags and tables are written.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use viper_term::width::text_width;

/// `1,234,567`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `512 B`, `1.5 KiB`, `12 MiB`
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut scale = 1024u64;
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        unit += 1;
        scale *= 1024;
    }
    let tenths = u128::from(bytes) * 10 / u128::from(scale);
    let unit = UNITS.get(unit).copied().unwrap_or("");
    match tenths {
        100.. => format!("{} {unit}", tenths / 10),
        _ => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

/// `1 file`, `2 files`
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { many }
    )
}

/// `3 days 04:05:06`
pub(crate) fn duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        1 => format!("1 day {clock}"),
        days => format!("{days} days {clock}"),
    }
}

/// `1.234 s`, `56.7 ms`: for what takes short.
pub(crate) fn short_time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{}.{} us", ns / 1_000, ns / 100 % 10),
        1_000_000..1_000_000_000 => format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
        _ => format!("{}.{:03} s", ns / 1_000_000_000, ns / 1_000_000 % 1000),
    }
}

/// A moment in UTC, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) year: u64,
    pub(crate) month: u32,
    pub(crate) day: u32,
    /// 0 is Sunday.
    pub(crate) weekday: u32,
    pub(crate) second_of_day: u32,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

impl Moment {
    /// From nanoseconds since 1970. Gregorian calendar, no leap seconds.
    pub(crate) fn new(ns: u64) -> Self {
        let seconds = ns / 1_000_000_000;
        let days = seconds / 86_400;
        // Years that begin in March put the leap day at their end; eras have 400 of them.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Self {
            year: year + era * 400 + u64::from(month <= 2),
            month: month as u32,
            day: day as u32,
            weekday: ((days + 4) % 7) as u32,
            second_of_day: (seconds % 86_400) as u32,
        }
    }

    pub(crate) fn month_name(&self) -> &'static str {
        MONTHS
            .get(self.month as usize - 1)
            .copied()
            .unwrap_or("???")
    }

    pub(crate) fn day_name(&self) -> &'static str {
        DAYS.get(self.weekday as usize).copied().unwrap_or("???")
    }

    /// `22-Nov-2026`
    pub(crate) fn date(&self) -> String {
        format!("{:02}-{}-{}", self.day, self.month_name(), self.year)
    }

    /// `04:05:06`
    pub(crate) fn time(&self) -> String {
        let s = self.second_of_day;
        format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    }
}

/// `rwed`, with `-` for what is not allowed. Who may write may delete.
pub(crate) fn protection(mode: u32) -> String {
    let flags = [(0o400, 'r'), (0o200, 'w'), (0o100, 'e'), (0o200, 'd')];
    flags
        .iter()
        .map(|&(bit, flag)| if mode & bit != 0 { flag } else { '-' })
        .collect()
}

/// `rwed r-e ---`: the flags of the owner, the group and everybody else.
pub(crate) fn all_protection(mode: u32) -> String {
    let class = |shift: u32| -> String {
        let flags = [(4, 'r'), (2, 'w'), (1, 'e')];
        let has = |bit: u32| (mode >> shift) & bit != 0;
        flags
            .iter()
            .map(|&(bit, flag)| if has(bit) { flag } else { '-' })
            .collect()
    };
    format!("{} {} {}", protection(mode), class(3), class(0))
}

/// Text filled up with blanks on the right.
pub(crate) fn padded(text: &str, width: usize) -> String {
    let blanks = width.saturating_sub(text_width(text));
    let mut text = text.to_string();
    text.extend(core::iter::repeat_n(' ', blanks));
    text
}

/// Names in columns that read downwards, each line ended; one per line without a width.
pub(crate) fn columns(names: &[String], width: Option<usize>) -> String {
    let widest = names.iter().map(|name| text_width(name)).max().unwrap_or(0) + 2;
    let across = width.map_or(1, |width| (width / widest).max(1));
    let rows = names.len().div_ceil(across);
    let mut text = String::new();
    for row in 0..rows {
        let mut line = names.iter().skip(row).step_by(rows).peekable();
        while let Some(name) = line.next() {
            match line.peek() {
                Some(_) => text.push_str(&padded(name, widest)),
                None => text.push_str(name),
            }
        }
        text.push('\n');
    }
    text
}

/// Rows of cells that line up. A column is right-aligned when its heading begins with `>`.
pub(crate) struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &'static [&'static str]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn text(&self) -> String {
        let heading = |i: usize| self.headings[i].trim_start_matches('>').to_string();
        let columns = self.headings.len();
        let head: Vec<String> = (0..columns).map(heading).collect();
        let mut widths: Vec<usize> = head.iter().map(|cell| text_width(cell)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(text_width(cell));
            }
        }
        let mut text = String::new();
        for row in core::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, &width), heading) in row.iter().zip(&widths).zip(self.headings) {
                let blanks = width.saturating_sub(text_width(cell));
                if heading.starts_with('>') {
                    line.extend(core::iter::repeat_n(' ', blanks));
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.extend(core::iter::repeat_n(' ', blanks));
                }
                line.push_str("  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1234567), "1,234,567");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(64 << 20), "64 MiB");
        assert_eq!(size(u64::MAX), "16777215 TiB");
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(duration(90_061_000_000_000), "1 day 01:01:01");
        assert_eq!(short_time(1_234_567), "1.2 ms");
        assert_eq!(short_time(2_034_000_000), "2.034 s");
    }

    #[test]
    fn moments() {
        let show = |s: u64| {
            let m = Moment::new(s * 1_000_000_000);
            format!("{} {} {}", m.day_name(), m.date(), m.time())
        };
        assert_eq!(show(0), "Thursday 01-Jan-1970 00:00:00");
        assert_eq!(show(951_782_400), "Tuesday 29-Feb-2000 00:00:00");
        assert_eq!(show(1_795_321_450), "Sunday 22-Nov-2026 04:24:10");
        assert_eq!(show(4_107_542_399), "Sunday 28-Feb-2100 23:59:59");
        Moment::new(u64::MAX);
    }

    #[test]
    fn tables_line_up() {
        let mut table = Table::new(&["Name", ">Size"]);
        table.row(Vec::from(["a".into(), "12345".into()]));
        table.row(Vec::from(["longer".into(), "1".into()]));
        assert_eq!(
            table.text(),
            "Name     Size\na       12345\nlonger      1\n"
        );
    }

    #[test]
    fn columns_read_downwards() {
        let names: Vec<String> = ["a", "b", "c", "d"].map(String::from).to_vec();
        assert_eq!(columns(&names, Some(6)), "a  c\nb  d\n");
        assert_eq!(columns(&names, None), "a\nb\nc\nd\n");
        assert_eq!(columns(&[], Some(80)), "");
    }
}
