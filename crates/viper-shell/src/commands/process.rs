//! Run, Status, Kill, Wait, Servers, Caps, Trace.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Arguments, Spec, number, worse};
use crate::context::{About, Context, Ended, Stop, fail};
use crate::error::Error;
use crate::shell::{OK, WARN};
use crate::simple::Meaning;
use crate::system::{Grants, Pid, TraceRecord};
use crate::text::{self, Table};

pub(super) static COMMANDS: &[Spec] = &[
    Spec::new(
        "Run",
        &[],
        "Run [GRANT manage,system,trace,clock] program [arguments] [&]",
        "runs a program",
        run,
    )
    .details(
        "A program also runs when its name alone is typed; Run is for one whose name is a command \
         of the shell, too. With `&` it runs in the background. GRANT lets it do what programs \
         may not: kill and restart servers (manage), look at all processes and switch the machine \
         off (system), read trace rings (trace), set the clock (clock).",
    ),
    Spec::new(
        "Status",
        &["ps", "top"],
        "Status",
        "shows the processes",
        status,
    ),
    Spec::new(
        "Jobs",
        &[],
        "Jobs",
        "shows the programs in the background",
        jobs,
    ),
    Spec::new(
        "Kill",
        &["stop"],
        "Kill pid|%job...",
        "ends processes",
        kill,
    ),
    Spec::new(
        "Wait",
        &[],
        "Wait [pid|%job...] | Wait n [SECS|MINS]",
        "waits",
        wait,
    )
    .details(
        "Without arguments for all programs in the background, with a process or job for that, \
         with any other number for so many seconds.",
    ),
    Spec::new(
        "Servers",
        &["services"],
        "Servers [NAME [STATUS|RESTART|KILL]]",
        "shows the servers, and starts them again",
        servers,
    )
    .details(
        "RESTART ends a server in an orderly way, KILL at once, as a crash would. Either way it \
         is started again.",
    ),
    Spec::new(
        "Caps",
        &[],
        "Caps [pid]",
        "shows the capabilities a process holds",
        caps,
    )
    .details("Without a process, the shell's own."),
    Spec::new(
        "Trace",
        &[],
        "Trace [command...]",
        "shows a request's way through the servers",
        trace,
    )
    .details("Runs the command and then shows what was recorded meanwhile; alone, everything."),
];

fn run(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let (grants, words) = grants(arguments)?;
    let Some(name) = words.first() else {
        return Err(Stop::Usage);
    };
    match c.find_program(name)? {
        Some(path) => c.granting(grants, |c| c.run_program(&path, words)),
        None => fail(format!("{name}: no such program")),
    }
}

/// Takes `GRANT words` off the front of Run's arguments.
pub(crate) fn grants(arguments: &[String]) -> Result<(Grants, &[String]), Stop> {
    let [first, list, rest @ ..] = arguments else {
        return Ok((Grants::default(), arguments));
    };
    if !first.eq_ignore_ascii_case("GRANT") {
        return Ok((Grants::default(), arguments));
    }
    let mut grants = Grants::default();
    for word in list.split(',') {
        match word.to_ascii_lowercase().as_str() {
            "manage" => grants.manage = true,
            "system" => grants.system = true,
            "trace" => grants.trace = true,
            "clock" => grants.clock = true,
            _ => return fail(format!("{word}: there is no such grant")),
        }
    }
    Ok((grants, rest))
}

fn status(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    Arguments::parse(arguments, &[("IGNORED", "aefuxbn1")])
        .map(|args| args.rest.iter().all(|word| word == "aux" || word == "ax"))?
        .then_some(())
        .ok_or(Stop::Usage)?;
    let mut table = Table::new(&[
        ">PID", ">Parent", "Name", "State", ">Prio", ">Threads", ">Handles", ">Memory", ">CPU",
    ]);
    for process in c.sys.processes()? {
        table.row(Vec::from([
            process.pid.0.to_string(),
            process
                .parent
                .map_or_else(|| String::from("-"), |pid| pid.0.to_string()),
            process.name,
            process.state,
            process.priority.to_string(),
            process.threads.to_string(),
            process.handles.to_string(),
            text::size(process.memory),
            text::short_time(process.cpu_ns),
        ]));
    }
    c.out(&table.text())?;
    Ok(OK)
}

fn jobs(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    Arguments::parse(arguments, &[("IGNORED", "lp")])?.nothing_else()?;
    c.reap_jobs();
    for job in c.shell.jobs.clone() {
        c.line(&format!("[{}] {} {}", job.number, job.pid.0, job.name))?;
    }
    Ok(OK)
}

/// `%job` or a process number.
fn process(c: &Context<'_>, text: &str) -> Result<Pid, Stop> {
    let Some(job) = text.strip_prefix('%') else {
        return Ok(Pid(number(text)?));
    };
    let wanted = number(job)?;
    let found = c
        .shell
        .jobs
        .iter()
        .find(|job| u64::from(job.number) == wanted);
    found.map_or_else(
        || fail(format!("there is no job %{wanted}")),
        |job| Ok(job.pid),
    )
}

fn kill(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    // `kill -9 pid`: there is only one way here.
    let names: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    if names.is_empty() {
        return Err(Stop::Usage);
    }
    let mut code = OK;
    for name in names {
        let killed = match process(c, name) {
            Ok(pid) => c.sys.kill(pid).map_err(|error| match error {
                Error::NotFound => Stop::Fail(10, format!("there is no process {name}")),
                error => Err::<(), _>(error).about(name).unwrap_err(),
            }),
            Err(stop) => Err(stop),
        };
        if let Err(stop) = killed {
            code = worse(c, "Kill", code, stop)?;
        }
    }
    Ok(code)
}

fn wait(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let seconds = |unit: &str| match unit {
        u if u.eq_ignore_ascii_case("SECS") || u.eq_ignore_ascii_case("SEC") => Some(1),
        u if u.eq_ignore_ascii_case("MINS") || u.eq_ignore_ascii_case("MIN") => Some(60),
        _ => None,
    };
    match arguments {
        [] => {
            let jobs: Vec<Pid> = c.shell.jobs.iter().map(|job| job.pid).collect();
            jobs.into_iter().try_fold(OK, |_, pid| wait_job(c, pid))
        }
        [count, unit] if seconds(unit).is_some() => {
            let count = number(count)?.saturating_mul(seconds(unit).unwrap_or(1));
            pause(c, count)
        }
        [one] if !one.starts_with('%') => {
            let count = number(one)?;
            if c.shell.jobs.iter().any(|job| job.pid.0 == count) {
                return wait_job(c, Pid(count));
            }
            pause(c, count)
        }
        several => {
            let mut code = OK;
            for name in several {
                let pid = process(c, name)?;
                code = wait_job(c, pid)?;
            }
            Ok(code)
        }
    }
}

fn pause(c: &mut Context<'_>, seconds: u64) -> Ended {
    c.flush_console()?;
    c.sys.sleep(seconds.saturating_mul(1_000_000_000))?;
    Ok(OK)
}

fn wait_job(c: &mut Context<'_>, pid: Pid) -> Ended {
    let Some(at) = c.shell.jobs.iter().position(|job| job.pid == pid) else {
        return fail(format!(
            "process {} was not started in the background here",
            pid.0
        ));
    };
    let status = c.wait_for(pid);
    let job = c.shell.jobs.remove(at);
    let status = status?;
    match status.fault {
        Some(fault) => Err(Stop::Fail(
            status.code.max(1),
            format!("{}: {fault}", job.name),
        )),
        None => Ok(status.code),
    }
}

fn servers(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let is = |text: &str, keyword: &str| text.eq_ignore_ascii_case(keyword);
    let (name, action) = match arguments {
        [] => (None, "STATUS"),
        [name] => (Some(name), "STATUS"),
        [name, action] => (Some(name), action.as_str()),
        _ => return Err(Stop::Usage),
    };
    match (name, action) {
        (Some(name), action) if is(action, "RESTART") => {
            c.sys
                .server_restart(name)
                .map_err(|error| no_server(name, error))?;
            c.line(&format!("{name}: restarted"))?;
        }
        (Some(name), action) if is(action, "KILL") => {
            c.sys
                .server_kill(name)
                .map_err(|error| no_server(name, error))?;
            c.line(&format!("{name}: killed"))?;
        }
        (name, action) if is(action, "STATUS") => return server_table(c, name),
        _ => return Err(Stop::Usage),
    }
    Ok(OK)
}

fn no_server(name: &str, error: Error) -> Stop {
    match error {
        Error::NotFound => Stop::Fail(10, format!("there is no server {name}")),
        error => Err::<(), _>(error).about(name).unwrap_err(),
    }
}

fn server_table(c: &mut Context<'_>, name: Option<&String>) -> Ended {
    let mut table = Table::new(&[
        "Server",
        "Service",
        ">PID",
        "State",
        ">Restarts",
        ">Up",
        "Note",
    ]);
    let mut found = false;
    for server in c.sys.servers()? {
        if name.is_some_and(|name| !name.eq_ignore_ascii_case(&server.name)) {
            continue;
        }
        found = true;
        table.row(Vec::from([
            server.name,
            server.service,
            server
                .pid
                .map_or_else(|| String::from("-"), |pid| pid.0.to_string()),
            server.state,
            server.restarts.to_string(),
            text::duration(server.uptime_ns),
            server.note,
        ]));
    }
    match name {
        Some(name) if !found => Err(no_server(name, Error::NotFound)),
        _ => {
            c.out(&table.text())?;
            Ok(OK)
        }
    }
}

fn caps(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let pid = match arguments {
        [] => None,
        [one] => Some(process(c, one)?),
        _ => return Err(Stop::Usage),
    };
    let all = c.sys.caps(pid).map_err(|error| match (error, pid) {
        (Error::NotFound, Some(pid)) => Stop::Fail(10, format!("there is no process {}", pid.0)),
        (error, _) => error.into(),
    })?;
    let mut table = Table::new(&[">Handle", ">Gen", "Kind", "Rights", "For"]);
    let count = all.len() as u64;
    for cap in all {
        table.row(Vec::from([
            cap.handle.to_string(),
            cap.generation.to_string(),
            cap.kind,
            cap.rights,
            cap.label,
        ]));
    }
    c.out(&table.text())?;
    c.line(&text::count(count, "capability", "capabilities"))?;
    Ok(OK)
}

fn trace(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    if arguments.is_empty() {
        let records = c.sys.trace(0)?;
        return show_trace(c, &records, OK);
    }
    if let Err(stop) = c
        .meaning(&arguments[0])
        .map(|meaning| matches!(meaning, Meaning::Alias(_)))
    {
        return match stop {
            Stop::Fail(code, why) => Err(Stop::Fail(code, format!("{}: {why}", arguments[0]))),
            stop => Err(stop),
        };
    }
    let since = c.sys.uptime_ns();
    let code = c.invoke(arguments)?;
    c.flush_console()?;
    let records = c.sys.trace(since)?;
    show_trace(c, &records, code)
}

fn show_trace(c: &mut Context<'_>, records: &[TraceRecord], code: i32) -> Ended {
    let Some(first) = records.first() else {
        c.complain("Trace: nothing was recorded");
        return Ok(code.max(WARN));
    };
    let mut table = Table::new(&[">Time", ">Step", ">Request", "Process", "Event"]);
    let mut before = first.time_ns;
    for record in records {
        table.row(Vec::from([
            text::short_time(record.time_ns.saturating_sub(first.time_ns)),
            text::short_time(record.time_ns.saturating_sub(before)),
            if record.request == 0 {
                String::new()
            } else {
                record.request.to_string()
            },
            record.process.clone(),
            record.event.clone(),
        ]));
        before = record.time_ns;
    }
    c.out(&table.text())?;
    Ok(code)
}
