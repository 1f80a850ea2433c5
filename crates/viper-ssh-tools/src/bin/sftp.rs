//! `sftp [-p] [-P PORT] [-i KEY] [-J HOST] [-b FILE] [USER@]HOST[:PATH]`: files of another machine.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::string::String;
use viper_proto::names;
use viper_proto::stream::CHUNK_MAX;
use viper_rt::abi::{FOREVER, Slot};
use viper_rt::program;
use viper_ssh_tools::arguments::{Options, remote_path};
use viper_ssh_tools::commands::{Commands, Next};
use viper_ssh_tools::failure::{About, Failure, Result};
use viper_ssh_tools::local::Local;
use viper_ssh_tools::login;
use viper_ssh_tools::remote::Remote;
use viper_ssh_tools::user::User;

viper_rt::entry!(run);

/// Exit codes: a command of a batch failed; there was no session.
const COMMAND_FAILED: i64 = 1;
const FAILED: i64 = 255;

fn run() -> i64 {
    let user = User::new();
    match session(&user) {
        Ok(code) => code,
        Err(failure) => {
            user.say(&alloc::format!("sftp: {failure}"));
            FAILED
        }
    }
}

fn session(user: &User) -> Result<i64> {
    let mut options = Options::parse(program::arguments().skip(1), 'P')?;
    options.batch |= options.batch_file.is_some();
    let Some(target) = options.words.first() else {
        return Err(Failure(
            "sftp [-p] [-P PORT] [-i KEY] [-J HOST] [-b FILE] [USER@]HOST[:PATH]".into(),
        ));
    };
    let (target, path) = remote_path(target).unwrap_or((target, ""));
    let names = program::take(Slot::NAMES).ok_or(viper_rt::Error::NoService)?;
    let mut local = Local::new(names::Client::new(names.into_object()));
    let batch = match options.batch_file.as_deref() {
        Some("-") | None => None,
        Some(file) => {
            local.stat(file)?;
            Some(local.text(file)?)
        }
    };
    let link = login::open(&mut local, user, &options, target)?;
    let commands = Commands::new(Remote::start(link)?, &mut local, user, options.quiet)?;
    let mut commands = commands.keeping(options.keeps);
    if !path.is_empty() {
        commands.change(path)?;
    }
    let stops = options.batch_file.is_some();
    let code = match batch {
        Some(text) => {
            let mut lines = text.lines().map(String::from);
            run_lines(&mut commands, user, stops, || Ok(lines.next()))?
        }
        None => {
            let input = user.input().about("standard input")?;
            let typed = user.terminal().is_some() && !stops;
            let mut ahead = String::new();
            run_lines(&mut commands, user, stops, || {
                if typed {
                    user.write(b"sftp> ")?;
                }
                next_line(input.as_ref(), &mut ahead)
            })?
        }
    };
    commands.close();
    Ok(code)
}

/// Runs lines until there are no more. A line that begins with `-` may fail in a batch.
fn run_lines(
    commands: &mut Commands<'_>,
    user: &User,
    stops: bool,
    mut next: impl FnMut() -> Result<Option<String>>,
) -> Result<i64> {
    while let Some(line) = next()? {
        let (may_fail, command) = match line.trim_start().strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, line.as_str()),
        };
        match commands.run(command) {
            Ok(Next::GoOn) => {}
            Ok(Next::End) => break,
            Err(failure) => {
                user.say(&alloc::format!("sftp: {failure}"));
                if stops && !may_fail {
                    return Ok(COMMAND_FAILED);
                }
            }
        }
    }
    Ok(0)
}

/// The next line of the standard input.
fn next_line(
    input: Option<&viper_proto::console::Client>,
    ahead: &mut String,
) -> Result<Option<String>> {
    let Some(input) = input else { return Ok(None) };
    loop {
        if let Some((line, rest)) = ahead.split_once('\n') {
            let (line, rest) = (String::from(line), String::from(rest));
            *ahead = rest;
            return Ok(Some(line));
        }
        match input.read(CHUNK_MAX as u32, FOREVER) {
            Ok(bytes) if bytes.is_empty() => {
                let last = core::mem::take(ahead);
                return Ok((!last.is_empty()).then_some(last));
            }
            Ok(bytes) => ahead.push_str(&String::from_utf8_lossy(&bytes)),
            Err(viper_rt::Error::Interrupted) => {
                ahead.clear();
                return Ok(Some(String::new()));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
