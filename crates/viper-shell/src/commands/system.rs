//! Avail, Uptime, Date, Version, Sleep, Shutdown, Reboot.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Arguments, Spec};
use crate::context::{Context, Ended, Flow, Stop, fail};
use crate::shell::OK;
use crate::system::{Mode, Power};
use crate::text::{self, Moment, Table};

pub(super) static COMMANDS: &[Spec] = &[
    Spec::new("Avail", &["free"], "Avail", "shows the memory", avail),
    Spec::new(
        "Uptime",
        &[],
        "Uptime [ALL]",
        "shows how long the system runs",
        uptime,
    )
    .details("ALL also tells when the first program began, and how busy the processors were."),
    Spec::new(
        "Date",
        &["time"],
        "Date [+format]",
        "shows date and time in UTC",
        date,
    )
    .details("In the format %Y %m %d %H %M %S %a %A %b %j %s %F %T %% are replaced."),
    Spec::new(
        "Version",
        &["ver", "uname"],
        "Version [FULL]",
        "shows who the system is",
        version,
    )
    .details("FULL (-a) also tells the machine and the build."),
    Spec::new("Sleep", &[], "Sleep seconds", "waits", sleep)
        .details("Parts of a second are allowed: `Sleep 0.5`. Ctrl-C ends it."),
    Spec::new(
        "Shutdown",
        &["poweroff", "halt"],
        "Shutdown",
        "ends the system",
        shutdown,
    ),
    Spec::new(
        "Reboot",
        &[],
        "Reboot",
        "ends the system and starts it again",
        reboot,
    ),
];

fn avail(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    Arguments::parse(arguments, &[("IGNORED", "hkmb")])?.nothing_else()?;
    let memory = c.sys.memory()?;
    let used = memory.total.saturating_sub(memory.free);
    let other = used
        .saturating_sub(memory.kernel)
        .saturating_sub(memory.user);
    let mut table = Table::new(&["Memory", ">Bytes", ">"]);
    for (name, bytes) in [
        ("Total", memory.total),
        ("In use", used),
        ("  kernel", memory.kernel),
        ("  programs", memory.user),
        ("  other", other),
        ("Free", memory.free),
        ("  in one piece", memory.largest),
    ] {
        // What a system does not tell is left out.
        if bytes > 0 || !name.starts_with(' ') {
            table.row(Vec::from([
                name.to_string(),
                text::grouped(bytes),
                text::size(bytes),
            ]));
        }
    }
    c.out(&table.text())?;
    Ok(OK)
}

fn uptime(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let all = match arguments {
        [] => false,
        [word] if word.eq_ignore_ascii_case("ALL") => true,
        _ => return Err(Stop::Usage),
    };
    // Before anything else: reading takes time, too.
    let load = all.then(|| (c.sys.uptime_ns(), c.sys.load()));
    let up = c.sys.uptime_ns();
    c.line(&format!(
        "Up {} ({})",
        text::duration(up),
        text::short_time(up)
    ))?;
    if let Some((up, load)) = load {
        let load = load?;
        let busy = (up * u64::from(load.cores)).saturating_sub(load.idle_ns);
        let mut table = Table::new(&["Since the start", ">Nanoseconds"]);
        for (name, ns) in [
            ("First program began", load.first_ns),
            ("Processors busy", busy),
            ("Processors idle", load.idle_ns),
        ] {
            table.row(Vec::from([name.to_string(), text::grouped(ns)]));
        }
        c.out(&table.text())?;
    }
    Ok(OK)
}

fn date(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let format = match arguments {
        [] => None,
        [utc] if utc == "-u" => None,
        [format] => Some(format.strip_prefix('+').ok_or(Stop::Usage)?),
        _ => return Err(Stop::Usage),
    };
    let Some(now) = c.sys.wall_clock_ns() else {
        return fail("this system has no clock that knows the date");
    };
    let moment = Moment::new(now);
    let text = match format {
        None => format!(
            "{} {} {} UTC",
            moment.day_name(),
            moment.date(),
            moment.time()
        ),
        Some(format) => formatted(&moment, now, format),
    };
    c.line(&text)?;
    Ok(OK)
}

fn formatted(moment: &Moment, now: u64, format: &str) -> String {
    let mut text = String::new();
    let mut chars = format.chars();
    let s = moment.second_of_day;
    let day = format!("{}-{:02}-{:02}", moment.year, moment.month, moment.day);
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let piece = match chars.next() {
            Some('Y') => moment.year.to_string(),
            Some('m') => format!("{:02}", moment.month),
            Some('d') => format!("{:02}", moment.day),
            Some('H') => format!("{:02}", s / 3600),
            Some('M') => format!("{:02}", s / 60 % 60),
            Some('S') => format!("{:02}", s % 60),
            Some('N') => format!("{:09}", now % 1_000_000_000),
            Some('F') => day.clone(),
            Some('T') => moment.time(),
            Some('a') => moment.day_name().chars().take(3).collect(),
            Some('A') => moment.day_name().to_string(),
            Some('b') => moment.month_name().to_string(),
            Some('s') => (now / 1_000_000_000).to_string(),
            Some('%') => String::from("%"),
            Some(other) => format!("%{other}"),
            None => String::from("%"),
        };
        text.push_str(&piece);
    }
    text
}

fn version(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let keywords = [("FULL", "a"), ("IGNORED", "srvm")];
    let args = Arguments::parse(arguments, &keywords)?;
    args.nothing_else()?;
    let info = c.sys.info();
    let mode = match info.mode {
        Mode::Microkernel => "MICROKERNEL",
        Mode::Recovery => "RECOVERY",
    };
    c.line(&format!("{} {} {mode}", info.name, info.version))?;
    if args.has("FULL") {
        c.line(&format!(
            "Machine  {}, {}",
            info.machine,
            text::count(info.cpus.into(), "core", "cores")
        ))?;
        c.line(&format!(
            "Shell    viper-shell {}",
            env!("CARGO_PKG_VERSION")
        ))?;
        if !info.build.is_empty() {
            c.line(&format!("Build    {}", info.build))?;
        }
    }
    Ok(OK)
}

fn sleep(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let [text] = arguments else {
        return Err(Stop::Usage);
    };
    let text = text.strip_suffix('s').unwrap_or(text);
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if text.is_empty() || text == "." || !digits(whole) || !digits(part) {
        return Err(Stop::Usage);
    }
    let seconds: u64 = if whole.is_empty() {
        0
    } else {
        super::number(whole)?
    };
    let nano: String = part.chars().chain("000000000".chars()).take(9).collect();
    let nano = super::number(&nano)?;
    c.flush_console()?;
    c.sys
        .sleep(seconds.saturating_mul(1_000_000_000).saturating_add(nano))?;
    Ok(OK)
}

fn shutdown(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    end(c, arguments, Power::Shutdown)
}

fn reboot(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    end(c, arguments, Power::Reboot)
}

fn end(c: &mut Context<'_>, arguments: &[String], power: Power) -> Ended {
    Arguments::parse(arguments, &[("NOW", "hrPf"), ("0", "")])?.nothing_else()?;
    c.flush_console()?;
    // A file system that is gone must not keep the machine on.
    if let Err(error) = c.sys.sync_all() {
        c.complain(&format!(
            "Shutdown: the disk may not be up to date: {error}"
        ));
    }
    c.sys.power(power)?;
    c.shell.power_off = true;
    Err(Flow::Exit(OK).into())
}
