//! Dates as HTTP writes them (RFC 9110 section 5.6.7).

use core::fmt;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const LONG_DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY_S: u64 = 86_400;
/// The last second of the year 9999: four digits are all there are.
const MAX_S: u64 = 253_402_300_799;

/// A moment in whole seconds since 1970-01-01 00:00:00 UTC, from then to the year 9999.
///
/// ```
/// use viper_http::HttpDate;
///
/// let date = HttpDate::parse("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
/// assert_eq!(date.unix_s(), 784_111_777);
/// assert_eq!(HttpDate::parse("Sunday, 06-Nov-94 08:49:37 GMT"), Some(date));
/// assert_eq!(HttpDate::parse("Sun Nov  6 08:49:37 1994"), Some(date));
/// assert_eq!(date.to_string(), "Sun, 06 Nov 1994 08:49:37 GMT");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpDate(u64);

impl HttpDate {
    /// The moment so many seconds after 1970; the year 9999 at most.
    #[must_use]
    pub fn from_unix_s(seconds: u64) -> HttpDate {
        HttpDate(seconds.min(MAX_S))
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn unix_s(self) -> u64 {
        self.0
    }

    /// Reads any of the three forms; a day of the week that does not fit is no date.
    #[must_use]
    pub fn parse(text: &str) -> Option<HttpDate> {
        parse_fixed(text)
            .or_else(|| parse_rfc850(text))
            .or_else(|| parse_asctime(text))
    }
}

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0 / DAY_S);
        let second = self.0 % DAY_S;
        write!(
            f,
            "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
            DAYS[(self.0 / DAY_S % 7) as usize],
            MONTHS[(month - 1) as usize],
            second / 3600,
            second / 60 % 60,
            second % 60,
        )
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn parse_fixed(text: &str) -> Option<HttpDate> {
    let rest = text.strip_suffix(" GMT")?;
    let (weekday, rest) = rest.split_once(", ")?;
    let [day, month, year, time] = split(rest, ' ')?;
    let date = (digits(year, 4)?, month_number(month)?, digits(day, 2)?);
    moment(position(&DAYS, weekday)?, date, time)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`. Two digits mean 1970 to 2069: without a clock this is the
/// reading that stays the same.
fn parse_rfc850(text: &str) -> Option<HttpDate> {
    let rest = text.strip_suffix(" GMT")?;
    let (weekday, rest) = rest.split_once(", ")?;
    let (date, time) = rest.split_once(' ')?;
    let [day, month, year] = split(date, '-')?;
    let year = match digits(year, 2)? {
        late @ 70.. => 1900 + late,
        early => 2000 + early,
    };
    let date = (year, month_number(month)?, digits(day, 2)?);
    moment(position(&LONG_DAYS, weekday)?, date, time)
}

/// `Sun Nov  6 08:49:37 1994`
fn parse_asctime(text: &str) -> Option<HttpDate> {
    let (weekday, rest) = text.split_once(' ')?;
    let (month, rest) = rest.split_once(' ')?;
    let (day, rest) = rest.split_at_checked(2)?;
    let [nothing, time, year] = split(rest, ' ')?;
    if !nothing.is_empty() {
        return None;
    }
    let day = match day.strip_prefix(' ') {
        Some(day) => digits(day, 1)?,
        None => digits(day, 2)?,
    };
    let date = (digits(year, 4)?, month_number(month)?, day);
    moment(position(&DAYS, weekday)?, date, time)
}

fn moment(weekday: u64, (year, month, day): (u64, u64, u64), time: &str) -> Option<HttpDate> {
    let [hour, minute, second] = split(time, ':')?;
    let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
    // 60 is a leap second, which this count does not have.
    let second = digits(second, 2)?;
    let days = days_since_1970(year, month, day)?;
    if days % 7 != weekday || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(HttpDate::from_unix_s(
        days * DAY_S + hour * 3600 + minute * 60 + second.min(59),
    ))
}

fn split<const N: usize>(text: &str, mark: char) -> Option<[&str; N]> {
    let mut parts = [""; N];
    let mut rest = text.split(mark);
    for part in &mut parts {
        *part = rest.next()?;
    }
    rest.next().is_none().then_some(parts)
}

fn digits(text: &str, len: usize) -> Option<u64> {
    (text.len() == len)
        .then_some(text.as_bytes())
        .and_then(crate::framing::decimal)
}

fn position(names: &[&str], name: &str) -> Option<u64> {
    names.iter().position(|n| *n == name).map(|at| at as u64)
}

fn month_number(name: &str) -> Option<u64> {
    position(&MONTHS, name).map(|at| at + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_len(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970 to the first of January of a year.
fn year_start(year: u64) -> u64 {
    let before = year - 1;
    // 477 leap days lie before 1970.
    (year - 1970) * 365 + before / 4 - before / 100 + before / 400 - 477
}

fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=month_len(year, month)).contains(&day) {
        return None;
    }
    let months: u64 = (1..month).map(|m| month_len(year, m)).sum();
    Some(year_start(year) + months + day - 1)
}

/// Year, month and day of a day since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let mut year = 1970 + days / 366;
    while year_start(year + 1) <= days {
        year += 1;
    }
    let mut left = days - year_start(year);
    let mut month = 1;
    while left >= month_len(year, month) {
        left -= month_len(year, month);
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn known_dates() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (1_795_305_600, "Sun, 22 Nov 2026 00:00:00 GMT"),
            (MAX_S, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(HttpDate::from_unix_s(seconds).to_string(), text);
            assert_eq!(HttpDate::parse(text), Some(HttpDate(seconds)));
        }
    }

    #[test]
    fn days_there_and_back() {
        // All of the first 135 years, then a sample of each month.
        for day in (0..50_000).chain((50_000..=MAX_S / DAY_S).step_by(29)) {
            let date = HttpDate::from_unix_s(day * DAY_S + day % DAY_S);
            if day % 5 == 0 {
                assert_eq!(HttpDate::parse(&date.to_string()), Some(date));
            }
            let (year, month, of_month) = civil(day);
            assert_eq!(days_since_1970(year, month, of_month), Some(day));
        }
    }

    #[test]
    fn no_dates() {
        for text in [
            "",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06 Nov +994 08:49:37 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sun Nov 6 08:49:37 1994",
        ] {
            assert_eq!(HttpDate::parse(text), None, "{text}");
        }
    }
}
