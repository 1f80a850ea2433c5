//! Type, Head, Tail, Count, Search, Sort: commands that read text.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Arguments, Spec, number, worse};
use crate::context::{About, Context, Ended, Stop, fail};
use crate::error::Error;
use crate::io::CHUNK;
use crate::path;
use crate::shell::{OK, WARN};
use crate::system::{DirEntry, FileId, FileKind, OpenMode};
use crate::text;

pub(super) static COMMANDS: &[Spec] = &[
    Spec::new(
        "Type",
        &["cat"],
        "Type [file...] [HEX] [NUMBER]",
        "shows files",
        type_files,
    )
    .details(
        "HEX (-x) shows bytes, NUMBER (-n) the lines' numbers. Without a file, or for `-`, it \
         reads its input.",
    ),
    Spec::new(
        "Head",
        &[],
        "Head [file...] [LINES n]",
        "shows the first lines",
        head,
    )
    .details("Ten lines, or as many as LINES (-n) says."),
    Spec::new(
        "Tail",
        &[],
        "Tail [file...] [LINES n]",
        "shows the last lines",
        tail,
    )
    .details("Ten lines, or as many as LINES (-n) says."),
    Spec::new(
        "Count",
        &["wc"],
        "Count [file...] [LINES] [WORDS] [BYTES]",
        "counts",
        count,
    ),
    Spec::new(
        "Search",
        &["grep", "find"],
        "Search text [file...] [ALL] [CASE] [NUMBERS] [INVERT] [COUNT] [NAMES]",
        "shows the lines that hold a text",
        search,
    )
    .details(
        "Letters are the same in upper and lower case unless CASE is given. ALL (-r) goes into \
         directories, NUMBERS (-n) shows lines' numbers, INVERT (-v) the other lines, COUNT (-c) \
         only how many, NAMES (-l) only the files. Returns 5 when nothing was found.",
    )
    .quiet(),
    Spec::new(
        "Sort",
        &[],
        "Sort [file...] [REVERSE] [NUMERIC] [UNIQUE] [NOCASE]",
        "shows lines in order",
        sort,
    ),
];

/// Longest line, and what Tail keeps, in bytes.
const LINE_MAX: usize = 1 << 20;
/// What Sort can hold, in bytes.
const SORT_MAX: usize = 16 << 20;

/// Something to read from.
#[derive(Clone, Copy)]
enum Feed {
    Stdin,
    File { id: FileId, at: u64 },
}

impl Feed {
    fn open(c: &mut Context<'_>, typed: &str) -> Result<Self, Stop> {
        if typed == "-" {
            return Ok(Self::Stdin);
        }
        let path = c.locate(typed)?;
        if c.sys.stat(&path, true).about(typed)?.kind == FileKind::Directory {
            return Err(Error::IsADirectory).about(typed);
        }
        let id = c.sys.open(&path, OpenMode::READ).about(typed)?;
        Ok(Self::File { id, at: 0 })
    }

    fn read(&mut self, c: &mut Context<'_>, buf: &mut [u8]) -> Result<usize, Error> {
        if c.sys.interrupted() {
            return Err(Error::Interrupted);
        }
        match self {
            Self::Stdin => c.read(buf),
            Self::File { id, at } => {
                let count = c.sys.read(*id, *at, buf)?;
                *at += count as u64;
                Ok(count)
            }
        }
    }

    fn close(self, c: &mut Context<'_>) {
        if let Self::File { id, .. } = self {
            let _ = c.sys.close(id);
        }
    }
}

/// Runs `each` for every file, or for the input without files; goes on after failures.
fn for_files(
    c: &mut Context<'_>,
    name: &str,
    files: &[String],
    mut each: impl FnMut(&mut Context<'_>, &mut Feed, &str) -> Result<(), Stop>,
) -> Ended {
    let stdin = [String::from("-")];
    let files = if files.is_empty() { &stdin } else { files };
    let mut code = OK;
    for typed in files {
        let done = match Feed::open(c, typed) {
            Ok(mut feed) => {
                let done = each(c, &mut feed, typed);
                feed.close(c);
                done
            }
            Err(stop) => Err(stop),
        };
        if let Err(stop) = done {
            code = worse(c, name, code, stop)?;
        }
    }
    Ok(code)
}

/// Runs `each` for the pieces of a file until it says false.
fn chunks(
    c: &mut Context<'_>,
    feed: &mut Feed,
    typed: &str,
    mut each: impl FnMut(&mut Context<'_>, &[u8]) -> Result<bool, Stop>,
) -> Result<(), Stop> {
    let mut buf = alloc::vec![0; CHUNK];
    loop {
        let count = feed.read(c, &mut buf).about(typed)?;
        let piece = buf.get(..count).unwrap_or(&buf);
        if piece.is_empty() || !each(c, piece)? {
            return Ok(());
        }
    }
}

/// Runs `each` for the lines of a file, without their ends, until it says false.
fn lines(
    c: &mut Context<'_>,
    feed: &mut Feed,
    typed: &str,
    mut each: impl FnMut(&mut Context<'_>, &[u8]) -> Result<bool, Stop>,
) -> Result<(), Stop> {
    let mut kept: Vec<u8> = Vec::new();
    let mut goes_on = true;
    chunks(c, feed, typed, |c, piece| {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|&b| b == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or(&[]);
            goes_on = if kept.is_empty() {
                each(c, line)?
            } else {
                kept.extend_from_slice(line);
                let whole = core::mem::take(&mut kept);
                each(c, &whole)?
            };
            if !goes_on {
                return Ok(false);
            }
        }
        if kept.len() + rest.len() > LINE_MAX {
            return fail(format!("{typed}: a line is longer than 1 MiB"));
        }
        kept.extend_from_slice(rest);
        Ok(true)
    })?;
    if goes_on && !kept.is_empty() {
        each(c, &kept)?;
    }
    Ok(())
}

/// Writes a line given without its end.
fn write_line(c: &mut Context<'_>, line: &[u8]) -> Result<(), Stop> {
    c.write(line)?;
    Ok(c.write(b"\n")?)
}

fn type_files(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let keywords = [("HEX", "x"), ("NUMBER", "n"), ("IGNORED", "u")];
    let args = Arguments::parse(arguments, &keywords)?;
    let (hex, numbered) = (args.has("HEX"), args.has("NUMBER"));
    let mut number = 0u64;
    for_files(c, "Type", &args.rest, |c, feed, typed| {
        if hex {
            return hex_dump(c, feed, typed);
        }
        if !numbered {
            return chunks(c, feed, typed, |c, piece| {
                c.write(piece)?;
                Ok(true)
            });
        }
        lines(c, feed, typed, |c, line| {
            number += 1;
            c.out(&format!("{number:>6}  "))?;
            write_line(c, line)?;
            Ok(true)
        })
    })
}

fn hex_dump(c: &mut Context<'_>, feed: &mut Feed, typed: &str) -> Result<(), Stop> {
    let (mut at, mut row) = (0u64, Vec::new());
    chunks(c, feed, typed, |c, piece| {
        for &byte in piece {
            row.push(byte);
            if row.len() == 16 {
                hex_row(c, at, &row)?;
                at += 16;
                row.clear();
            }
        }
        Ok(true)
    })?;
    if row.is_empty() {
        Ok(())
    } else {
        hex_row(c, at, &row)
    }
}

fn hex_row(c: &mut Context<'_>, at: u64, row: &[u8]) -> Result<(), Stop> {
    let mut bytes = String::new();
    for (i, byte) in row.iter().enumerate() {
        bytes.push_str(&format!("{byte:02x} "));
        if i == 7 {
            bytes.push(' ');
        }
    }
    let shown = |&b: &u8| {
        if (0x20..0x7f).contains(&b) {
            b as char
        } else {
            '.'
        }
    };
    let chars: String = row.iter().map(shown).collect();
    c.line(&format!("{at:08x}  {bytes:<50}{chars}"))
}

/// The files and the number of lines: `LINES n`, `-n n`, `-5`.
fn files_and_lines(arguments: &[String]) -> Result<(Vec<String>, u64), Stop> {
    let mut rest = Vec::new();
    let mut short = None;
    for argument in arguments {
        match argument.strip_prefix('-') {
            Some(digits) if digits.starts_with(|c: char| c.is_ascii_digit()) => {
                short = Some(number(digits)?);
            }
            _ => rest.push(argument.clone()),
        }
    }
    let args = Arguments::parse(&rest, &[("LINES=", "n")])?;
    let lines = args.number("LINES=")?.or(short).unwrap_or(10);
    Ok((args.rest, lines))
}

fn title(c: &mut Context<'_>, several: bool, typed: &str) -> Result<(), Stop> {
    if several {
        c.line(&format!("==> {typed} <=="))
    } else {
        Ok(())
    }
}

fn head(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let (files, wanted) = files_and_lines(arguments)?;
    let several = files.len() > 1;
    for_files(c, "Head", &files, |c, feed, typed| {
        title(c, several, typed)?;
        let mut left = wanted;
        if left == 0 {
            return Ok(());
        }
        lines(c, feed, typed, |c, line| {
            write_line(c, line)?;
            left -= 1;
            Ok(left > 0)
        })
    })
}

fn tail(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let (files, wanted) = files_and_lines(arguments)?;
    let several = files.len() > 1;
    for_files(c, "Tail", &files, |c, feed, typed| {
        title(c, several, typed)?;
        let mut last: VecDeque<Vec<u8>> = VecDeque::new();
        let mut size = 0;
        lines(c, feed, typed, |_, line| {
            size += line.len() + 1;
            last.push_back(line.to_vec());
            if last.len() as u64 > wanted {
                size -= last.pop_front().map_or(0, |line| line.len() + 1);
            }
            if size > SORT_MAX {
                return fail(format!("{typed}: the last lines are longer than 16 MiB"));
            }
            Ok(true)
        })?;
        last.iter().try_for_each(|line| write_line(c, line))
    })
}

#[derive(Clone, Copy, Default)]
struct Counts {
    lines: u64,
    words: u64,
    bytes: u64,
}

fn count(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let keywords = [("LINES", "l"), ("WORDS", "w"), ("BYTES", "cm")];
    let args = Arguments::parse(arguments, &keywords)?;
    let every = keywords.iter().all(|(keyword, _)| !args.has(keyword));
    let show = |c: &mut Context<'_>, counts: Counts, name: &str| {
        let Counts {
            lines,
            words,
            bytes,
        } = counts;
        let all = [("LINES", lines), ("WORDS", words), ("BYTES", bytes)];
        let wanted = all.iter().filter(|(keyword, _)| every || args.has(keyword));
        let columns: Vec<String> = wanted.map(|(_, number)| format!("{number:>8}")).collect();
        let name = if name == "-" {
            String::new()
        } else {
            format!("  {name}")
        };
        c.line(&format!("{}{name}", columns.join("")))
    };
    let mut total = Counts::default();
    let code = for_files(c, "Count", &args.rest, |c, feed, typed| {
        let mut counts = Counts::default();
        let mut in_word = false;
        chunks(c, feed, typed, |_, piece| {
            counts.bytes += piece.len() as u64;
            for byte in piece {
                counts.lines += u64::from(*byte == b'\n');
                let space = byte.is_ascii_whitespace();
                counts.words += u64::from(!space && !in_word);
                in_word = !space;
            }
            Ok(true)
        })?;
        total.lines += counts.lines;
        total.words += counts.words;
        total.bytes += counts.bytes;
        show(c, counts, typed)
    })?;
    if args.rest.len() > 1 {
        show(c, total, "total")?;
    }
    Ok(code)
}

struct Wanted {
    text: Vec<u8>,
    case: bool,
    invert: bool,
    numbers: bool,
    count: bool,
    names: bool,
    titled: bool,
}

impl Wanted {
    fn fits(&self, line: &[u8]) -> bool {
        let equal = |piece: &[u8]| match self.case {
            true => piece == self.text,
            false => piece.eq_ignore_ascii_case(&self.text),
        };
        let found = self.text.is_empty() || line.windows(self.text.len()).any(equal);
        found != self.invert
    }
}

fn search(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let keywords = [
        ("ALL", "rR"),
        ("CASE", ""),
        ("NUMBERS", "n"),
        ("INVERT", "v"),
        ("COUNT", "c"),
        ("NAMES", "l"),
        ("NOCASE", "i"),
        ("IGNORED", "FEsq"),
    ];
    let args = Arguments::parse(arguments, &keywords)?;
    let Some((text, files)) = args.rest.split_first() else {
        return Err(Stop::Usage);
    };
    let wanted = Wanted {
        text: text.clone().into_bytes(),
        case: args.has("CASE"),
        invert: args.has("INVERT"),
        numbers: args.has("NUMBERS"),
        count: args.has("COUNT"),
        names: args.has("NAMES"),
        titled: files.len() > 1 || args.has("ALL"),
    };
    let mut found = 0;
    let mut code = OK;
    if args.has("ALL") {
        let here = [String::new()];
        for typed in if files.is_empty() { &here } else { files } {
            if let Err(stop) = search_tree(c, typed, &wanted, &mut found) {
                code = worse(c, "Search", code, stop)?;
            }
        }
    } else {
        code = for_files(c, "Search", files, |c, feed, typed| {
            found += search_file(c, feed, typed, &wanted)?;
            Ok(())
        })?;
    }
    Ok(if code == OK && found == 0 { WARN } else { code })
}

fn search_tree(
    c: &mut Context<'_>,
    typed: &str,
    wanted: &Wanted,
    found: &mut u64,
) -> Result<(), Stop> {
    let mut waiting = Vec::from([(typed.to_string(), 0)]);
    while let Some((typed, depth)) = waiting.pop() {
        let (path, stat) = c.stat(&typed)?;
        if stat.kind != FileKind::Directory {
            let mut feed = Feed::open(c, &typed)?;
            let here = search_file(c, &mut feed, &typed, wanted);
            feed.close(c);
            *found += here?;
            continue;
        }
        if depth > super::directory::TREE_MAX {
            return fail(format!("{typed}: nested too deeply"));
        }
        let mut entries: Vec<DirEntry> = Vec::new();
        let mut next = Some(0);
        while let Some(at) = next {
            c.check()?;
            next = c.sys.read_dir(&path, at, &mut entries).about(&typed)?;
        }
        // Links are left out: they may lead in circles.
        entries.retain(|e| matches!(e.kind, FileKind::File | FileKind::Directory));
        entries.sort_by(|a, b| b.name.cmp(&a.name));
        waiting.extend(
            entries
                .iter()
                .map(|e| (path::beside(&typed, &e.name), depth + 1)),
        );
    }
    Ok(())
}

/// Shows what fits in one file; returns how many lines did.
fn search_file(
    c: &mut Context<'_>,
    feed: &mut Feed,
    typed: &str,
    wanted: &Wanted,
) -> Result<u64, Stop> {
    let (mut number, mut found) = (0u64, 0u64);
    let name = if wanted.titled {
        format!("{typed}:")
    } else {
        String::new()
    };
    lines(c, feed, typed, |c, line| {
        number += 1;
        if !wanted.fits(line) {
            return Ok(true);
        }
        found += 1;
        if wanted.names {
            c.line(typed)?;
            return Ok(false);
        }
        if !wanted.count {
            c.out(&name)?;
            if wanted.numbers {
                c.out(&format!("{number}:"))?;
            }
            write_line(c, line)?;
        }
        Ok(true)
    })?;
    if wanted.count && !wanted.names {
        c.line(&format!("{name}{found}"))?;
    }
    Ok(found)
}

fn sort(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let keywords = [
        ("REVERSE", "r"),
        ("NUMERIC", "n"),
        ("UNIQUE", "u"),
        ("NOCASE", "f"),
    ];
    let args = Arguments::parse(arguments, &keywords)?;
    let mut all: Vec<String> = Vec::new();
    let mut size = 0;
    let code = for_files(c, "Sort", &args.rest, |c, feed, typed| {
        lines(c, feed, typed, |_, line| {
            size += line.len() + 32;
            if size > SORT_MAX {
                return fail(format!(
                    "{typed}: more than {} to sort",
                    text::size(SORT_MAX as u64)
                ));
            }
            all.push(String::from_utf8_lossy(line).into_owned());
            Ok(true)
        })
    })?;
    let value = |line: &String| {
        let text = line.trim_start();
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '-')
            .unwrap_or(text.len());
        text[..end].parse::<i64>().unwrap_or(0)
    };
    match (args.has("NUMERIC"), args.has("NOCASE")) {
        (true, _) => all.sort_by(|a, b| value(a).cmp(&value(b)).then_with(|| a.cmp(b))),
        (_, true) => all.sort_by_cached_key(|line| line.to_lowercase()),
        _ => all.sort(),
    }
    if args.has("UNIQUE") {
        all.dedup();
    }
    if args.has("REVERSE") {
        all.reverse();
    }
    for line in &all {
        c.line(line)?;
    }
    Ok(code)
}
