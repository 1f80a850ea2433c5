//! `bench`: figures from the guest, beside those of peers.
//!
//! The guest runs under instruction counting and prints `BENCH ROW NAME VALUE UNIT IPCS`
//! (docs/design/exec-protocol.md). The figures of the image itself are taken here.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::cli::MachineOptions;
use crate::elf_file::text_size;
use crate::error::{Context, Error, Result, unable};
use crate::image::System;
use crate::net_peer::Peer;
use crate::session::End;
use crate::system_tests::Lab;

/// A row of `bench.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    row: u32,
    name: String,
    title: String,
    #[serde(default = "instructions")]
    unit: String,
    peer: u64,
    who: String,
    hold: u64,
    win: u64,
}

fn instructions() -> String {
    "instructions".into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    row: Vec<Row>,
}

/// A limit of `gate.toml`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    recorded: u64,
    #[serde(default)]
    exact: bool,
    ratio: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gate {
    limit: BTreeMap<String, Limit>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Figure {
    row: u32,
    name: String,
    value: u64,
    unit: String,
    ipcs: Option<u64>,
}

/// A figure with what it is compared with; the JSON form.
#[derive(Clone, Debug, Serialize)]
struct Compared {
    row: u32,
    name: String,
    value: u64,
    unit: String,
    peer: Option<u64>,
    hold: Option<u64>,
    win: Option<u64>,
    ipcs: Option<u64>,
    #[serde(skip)]
    title: String,
    #[serde(skip)]
    who: String,
}

/// Measures, prints the table or JSON, and with `gate` checks the limits.
///
/// # Errors
///
/// When the guest does not come to the end of its measurements.
pub fn bench(system: &System, json: bool, gate: bool) -> Result<ExitCode> {
    let dir = system.workspace.root().join("distro");
    let rows: Rows = read_toml(&dir.join("bench.toml"))?;
    let limits: Gate = read_toml(&dir.join("gate.toml"))?;
    let mut figures = measure(system)?;
    figures.extend(start(system)?);
    figures.extend(sizes(system)?);
    let compared = compare(&figures, &rows.row);
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(&compared).context("JSON")?
        );
    } else {
        print!("{}", table(&compared));
    }
    if !gate {
        return Ok(ExitCode::SUCCESS);
    }
    let complaints = judge(&figures, &limits.limit);
    for complaint in &complaints {
        eprintln!("distro: gate: {complaint}");
    }
    Ok(ExitCode::from(u8::from(!complaints.is_empty())))
}

fn read_toml<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).context(path.display())?;
    toml::from_str(&text).context(path.display())
}

fn measure(system: &System) -> Result<Vec<Figure>> {
    let lab = Lab::new(system)?;
    let peer = Peer::start().context("a port for the network figures")?;
    let options = MachineOptions {
        icount: true,
        hostfwd: vec![peer.forward()],
        ..MachineOptions::default()
    };
    let commands = "Servers devtest RESTART; Run GRANT manage bench";
    let outcome = lab.run_long(&options, commands).map_err(Error::Unable)?;
    match outcome.end {
        End::Code(0) => Ok(outcome.output.lines().filter_map(parse).collect()),
        End::Panic => Err(Error::Panic),
        other => {
            for line in lab.last_log() {
                eprintln!("| {line}");
            }
            unable(format!(
                "the guest's `bench` did not come to its end ({other:?})"
            ))
        }
    }
}

/// Reads `BENCH ROW NAME VALUE UNIT IPCS`.
fn parse(line: &str) -> Option<Figure> {
    let mut words = line.strip_prefix("BENCH ")?.split_whitespace();
    let row = words.next()?.parse().ok()?;
    let name = words.next()?.into();
    let value = words.next()?.parse().ok()?;
    let unit = words.next()?.into();
    let ipcs = words.next().and_then(|word| word.parse().ok());
    Some(Figure {
        row,
        name,
        value,
        unit,
        ipcs,
    })
}

/// Rows 23 to 25, as far as a boot to the prompt tells.
fn start(system: &System) -> Result<Vec<Figure>> {
    let lab = Lab::new(system)?;
    let options = MachineOptions {
        icount: true,
        ..MachineOptions::default()
    };
    // One instruction is one nanosecond, and idle time is not counted.
    let outcome = lab
        .run(&options, "Uptime ALL; Avail")
        .map_err(Error::Unable)?;
    if outcome.end != End::Code(0) {
        return unable(format!("the guest did not boot ({:?})", outcome.end));
    }
    let figure = |row, name: &str, line: &str, unit: &str| match number(&outcome.output, line) {
        Some(value) => Ok(Figure {
            row,
            name: name.into(),
            value,
            unit: unit.into(),
            ipcs: None,
        }),
        None => unable(format!("the guest does not tell `{line}`")),
    };
    Ok(vec![
        figure(23, "reset-to-user", "First program began", "instructions")?,
        figure(24, "reset-to-prompt", "Processors busy", "instructions")?,
        figure(25, "memory-in-use", "In use", "bytes")?,
    ])
}

/// The number that follows `name` at the beginning of a line; commas group its digits.
fn number(output: &str, name: &str) -> Option<u64> {
    let rest = output
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(name))?;
    let digits = rest.split_whitespace().next()?.replace(',', "");
    digits.parse().ok()
}

/// Row 25, as far as the files tell.
fn sizes(system: &System) -> Result<Vec<Figure>> {
    let elf = std::fs::read(&system.kernel_elf).context(system.kernel_elf.display())?;
    let kernel = std::fs::metadata(&system.kernel)
        .context(system.kernel.display())?
        .len();
    let archive = system.archive(None)?.len() as u64;
    let figure = |name: &str, value| Figure {
        row: 25,
        name: name.into(),
        value,
        unit: "bytes".into(),
        ipcs: None,
    };
    Ok(vec![
        figure("kernel-text", text_size(&elf)?),
        figure("boot-image", kernel + archive),
    ])
}

fn compare(figures: &[Figure], rows: &[Row]) -> Vec<Compared> {
    let mut all: Vec<_> = figures
        .iter()
        .map(|figure| {
            let row = rows
                .iter()
                .find(|row| row.name == figure.name && row.unit == figure.unit);
            Compared {
                row: row.map_or(figure.row, |row| row.row),
                name: figure.name.clone(),
                value: figure.value,
                unit: figure.unit.clone(),
                peer: row.map(|row| row.peer),
                hold: row.map(|row| row.hold),
                win: row.map(|row| row.win),
                ipcs: figure.ipcs,
                title: row.map_or(figure.name.clone(), |row| row.title.clone()),
                who: row.map_or(String::new(), |row| row.who.clone()),
            }
        })
        .collect();
    all.sort_by_key(|one| one.row);
    all
}

fn table(compared: &[Compared]) -> String {
    let width = compared
        .iter()
        .map(|one| one.title.len())
        .max()
        .unwrap_or(0)
        .max(6);
    let mut text = String::new();
    let head = format!(
        "{:>3} {:width$} {:>10} {:16} {:>10} {:>10} {:>10} {:>5}  {:6} {}",
        "row", "figure", "value", "unit", "peer", "hold", "win", "IPCs", "", "peer is"
    );
    let _ = writeln!(text, "{head}");
    for one in compared {
        let number = |value: Option<u64>| value.map_or("-".into(), |value| value.to_string());
        let _ = writeln!(
            text,
            "{:>3} {:width$} {:>10} {:16} {:>10} {:>10} {:>10} {:>5}  {:6} {}",
            one.row,
            one.title,
            one.value,
            one.unit,
            number(one.peer),
            number(one.hold),
            number(one.win),
            number(one.ipcs),
            grade(one),
            one.who
        );
    }
    text
}

fn grade(one: &Compared) -> &'static str {
    match (one.win, one.hold) {
        (Some(win), _) if one.value <= win => "win",
        (_, Some(hold)) if one.value <= hold => "hold",
        (_, Some(_)) => "behind",
        _ => "",
    }
}

fn judge(figures: &[Figure], limits: &BTreeMap<String, Limit>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, limit) in limits {
        match figures.iter().find(|figure| figure.name == *name) {
            None => complaints.push(format!("{name} was not measured")),
            Some(figure) if limit.breaks(figure.value) => complaints.push(format!(
                "{name} is {}, recorded {} ({})",
                figure.value,
                limit.recorded,
                limit.rule()
            )),
            Some(_) => {}
        }
    }
    complaints
}

impl Limit {
    fn breaks(self, value: u64) -> bool {
        if self.exact {
            return value != self.recorded;
        }
        value as f64 > self.recorded as f64 * self.ratio.unwrap_or(1.0)
    }

    fn rule(self) -> String {
        match (self.exact, self.ratio) {
            (true, _) => "must be equal".into(),
            (false, ratio) => format!("at most {} times", ratio.unwrap_or(1.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "# warm\nBENCH 2 call-reply 430 instructions 1\n\
        BENCH 1 null-syscall 80 instructions -\nBENCH x y z\n";

    fn figures() -> Vec<Figure> {
        OUTPUT.lines().filter_map(parse).collect()
    }

    fn rows() -> Vec<Row> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        read_toml::<Rows>(&dir.join("bench.toml"))
            .expect("valid")
            .row
    }

    #[test]
    fn figures_are_read() {
        let figures = figures();
        assert_eq!(figures.len(), 2);
        assert_eq!((figures[0].value, figures[0].ipcs), (430, Some(1)));
        assert_eq!(figures[1].ipcs, None);
    }

    #[test]
    fn numbers_of_a_table_are_read() {
        let text = "Memory     Bytes\n  In use  4,567,890  4.4 MiB\n";
        assert_eq!(number(text, "In use"), Some(4_567_890));
        assert_eq!(number(text, "Free"), None);
    }

    #[test]
    fn json_has_the_promised_form() {
        let compared = compare(&figures(), &rows());
        let json = serde_json::to_value(&compared).expect("JSON");
        assert_eq!(json[0]["row"], 1);
        assert_eq!(
            json[1],
            serde_json::json!({
                "row": 2, "name": "call-reply", "value": 430, "unit": "instructions",
                "peer": 415, "hold": 462, "win": 208, "ipcs": 1
            })
        );
    }

    #[test]
    fn the_table_grades() {
        let table = table(&compare(&figures(), &rows()));
        assert!(
            table
                .lines()
                .nth(1)
                .is_some_and(|line| line.contains(" hold ")),
            "{table}"
        );
        assert!(
            table
                .lines()
                .nth(2)
                .is_some_and(|line| line.contains(" hold ")),
            "{table}"
        );
    }

    #[test]
    fn the_gate_catches_what_it_should() {
        let limits = |text: &str| toml::from_str::<Gate>(text).expect("valid").limit;
        let judge = |text: &str| judge(&figures(), &limits(text)).len();
        assert_eq!(judge("[limit.call-reply]\nrecorded = 430\nexact = true"), 0);
        assert_eq!(judge("[limit.call-reply]\nrecorded = 431\nexact = true"), 1);
        assert_eq!(judge("[limit.call-reply]\nrecorded = 420\nratio = 1.03"), 0);
        assert_eq!(judge("[limit.call-reply]\nrecorded = 420\nratio = 1.02"), 1);
        assert_eq!(judge("[limit.call-reply]\nrecorded = 429"), 1);
        assert_eq!(judge("[limit.gone]\nrecorded = 1"), 1);
    }

    #[test]
    fn the_shipped_tables_are_consistent() {
        let rows = rows();
        for (at, row) in rows.iter().enumerate() {
            assert!(row.win <= row.hold, "{}", row.name);
            assert!(
                rows[..at].iter().all(|other| other.name != row.name),
                "{}",
                row.name
            );
        }
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let gate: Gate = read_toml(&dir.join("gate.toml")).expect("valid");
        for name in gate.limit.keys() {
            assert!(rows.iter().any(|row| row.name == *name), "{name}");
        }
    }
}
