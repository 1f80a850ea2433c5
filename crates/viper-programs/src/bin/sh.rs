//! `sh`: the shell, on the console or on a script.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::string::String;
use viper_programs::sh::{Options, Viper};
use viper_rt::{Error, program};
use viper_shell::error::Error::NoServer;
use viper_shell::system::{OpenMode, System};
use viper_shell::{Session, Shell};

viper_rt::entry!(run);

/// Return code of a shell that could not run what it was asked to.
const FAILED: i64 = 20;
const STARTUP_SCRIPT: &str = "S:startup";

fn run() -> i64 {
    let options = Options::parse(program::arguments().skip(1));
    let mut viper = match Viper::new(&options) {
        Ok(viper) => viper,
        Err(error) => {
            viper_rt::eprintln!("sh: {error}");
            return FAILED;
        }
    };
    let code = match text(&mut viper, &options) {
        Ok(Some(text)) => {
            let mut shell = Shell::new();
            for (name, value) in program::environment().filter(|(name, _)| *name != "PWD") {
                shell.export(name, value);
            }
            i64::from(shell.run(&mut viper, &text).code)
        }
        Ok(None) => interactive(&mut viper, &options),
        Err(error) => complain(&mut viper, error),
    };
    viper.drain();
    if options.boot_script.is_some() {
        keep(&mut viper);
    }
    code
}

/// The machine goes off after a boot script: what was written is to be on the disk then.
fn keep(viper: &mut Viper) {
    match viper.sync_all() {
        // Without files there is nothing to keep.
        Ok(()) | Err(NoServer) => {}
        Err(error) => {
            viper_rt::eprintln!("sh: the disk may not be up to date: {}", error.sentence())
        }
    }
}

/// The text to run; `None` for an interactive shell.
fn text(viper: &mut Viper, options: &Options) -> Result<Option<String>, Error> {
    if let Some(name) = &options.boot_script {
        return viper.boot_text(name).map(Some);
    }
    if let Some(path) = &options.script {
        return read_script(viper, path).map(Some);
    }
    Ok(options.text.clone())
}

fn read_script(viper: &mut Viper, path: &str) -> Result<String, Error> {
    let failed = |_| Error::NotFound;
    let file = viper.open(path, OpenMode::READ).map_err(failed)?;
    let mut bytes = alloc::vec::Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = viper
            .read(file, bytes.len() as u64, &mut part)
            .map_err(failed)?;
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&part[..count]);
    }
    let _ = viper.close(file);
    String::from_utf8(bytes).map_err(|_| Error::Corrupt)
}

fn interactive(viper: &mut Viper, options: &Options) -> i64 {
    for line in viper.lacks() {
        let _ = viper.console_write(alloc::format!("sh: {line}\n").as_bytes(), true);
    }
    let mut session = Session::new(viper);
    for (name, value) in program::environment().filter(|(name, _)| *name != "PWD") {
        session.shell().export(name, value);
    }
    if !viper.is_typed() {
        return piped(viper, &mut session);
    }
    let is_first = !options.recovery && !viper.has_streams();
    if is_first && session.startup(viper, STARTUP_SCRIPT).ended {
        return i64::from(session.shell().last_code());
    }
    match session.run(viper) {
        Ok(code) => i64::from(code),
        Err(_) => FAILED,
    }
}

/// Runs commands that come from a pipe or file, as they come.
fn piped(viper: &mut Viper, session: &mut Session) -> i64 {
    let mut line = alloc::vec::Vec::new();
    loop {
        // Byte by byte: what is behind the line is for the commands of the line to read.
        let mut byte = [0];
        let count = viper.console_read(&mut byte).unwrap_or(0);
        if count > 0 && byte != *b"\n" {
            line.push(byte[0]);
            continue;
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        line.clear();
        if count > 0 || !text.is_empty() {
            let outcome = session.enter(viper, &text);
            if outcome.ended {
                break;
            }
        }
        if count == 0 {
            break;
        }
    }
    i64::from(session.shell().last_code())
}

fn complain(viper: &mut Viper, error: Error) -> i64 {
    let _ = viper.console_write(alloc::format!("sh: {error}\n").as_bytes(), true);
    FAILED
}
