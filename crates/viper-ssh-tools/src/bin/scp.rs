//! `scp [-rp] [-P PORT] [-i KEY] [-J HOST] SOURCE ... TARGET`: copies files to or from another machine, by SFTP.
//!
//! What is on the other machine is written as `[USER@]HOST:PATH`.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::string::String;
use viper_proto::names;
use viper_rt::abi::Slot;
use viper_rt::program;
use viper_ssh_tools::arguments::{Options, remote_path};
use viper_ssh_tools::commands::Commands;
use viper_ssh_tools::failure::{Result, fail};
use viper_ssh_tools::local::Local;
use viper_ssh_tools::login;
use viper_ssh_tools::remote::Remote;
use viper_ssh_tools::transfer::How;
use viper_ssh_tools::user::User;

viper_rt::entry!(run);

fn run() -> i64 {
    let user = User::new();
    match copy(&user) {
        Ok(()) => 0,
        Err(failure) => {
            user.say(&alloc::format!("scp: {failure}"));
            20
        }
    }
}

fn copy(user: &User) -> Result<()> {
    let options = Options::parse(program::arguments().skip(1), 'P')?;
    let Some((target, sources @ [first, ..])) = options.words.split_last() else {
        return fail("scp [-rp] [-P PORT] [-i KEY] [-J HOST] SOURCE ... TARGET");
    };
    let names = program::take(Slot::NAMES).ok_or(viper_rt::Error::NoService)?;
    let mut local = Local::new(names::Client::new(names.into_object()));
    let host = match (remote_path(first), remote_path(target)) {
        (Some((host, _)), None) | (None, Some((host, _))) => String::from(host),
        _ => return fail("one side, and only one, has to be [USER@]HOST:PATH"),
    };
    if sources.len() > 1 && remote_path(target).is_none() && !local.is_directory(target) {
        return fail(alloc::format!("{target} is no directory"));
    }
    let link = login::open(&mut local, user, &options, &host)?;
    let mut commands = Commands::new(Remote::start(link)?, &mut local, user, options.quiet)?;
    let how = How {
        tree: options.recursive,
        keep: options.keeps,
        resume: false,
    };
    for source in sources {
        match (remote_path(source), remote_path(target)) {
            (Some((from, path)), None) if from == host => {
                commands.get_matching(path, target, how)?;
            }
            (None, Some((_, path))) => commands.put_matching(source, path, how)?,
            _ => return fail("all sources have to be on the same machine"),
        }
    }
    commands.close();
    Ok(())
}
