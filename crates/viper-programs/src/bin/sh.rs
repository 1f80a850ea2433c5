//! `sh`: the shell, on the console or on a script.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::string::String;
use viper_programs::sh::{Options, Viper};
use viper_rt::{Error, program};
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
        Ok(Some(text)) => i64::from(Shell::new().run(&mut viper, &text).code),
        Ok(None) => interactive(&mut viper, &options),
        Err(error) => complain(&mut viper, error),
    };
    viper.drain();
    code
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
    if !options.recovery && session.startup(viper, STARTUP_SCRIPT).ended {
        return i64::from(session.shell().last_code());
    }
    match session.run(viper) {
        Ok(code) => i64::from(code),
        Err(_) => FAILED,
    }
}

fn complain(viper: &mut Viper, error: Error) -> i64 {
    let _ = viper.console_write(alloc::format!("sh: {error}\n").as_bytes(), true);
    FAILED
}
