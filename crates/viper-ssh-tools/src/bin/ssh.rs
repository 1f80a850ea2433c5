//! `ssh [OPTIONS] [USER@]HOST [COMMAND ...]`: a shell or a command on another machine.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use viper_proto::names;
use viper_proto::net::client::Network;
use viper_rt::abi::Slot;
use viper_rt::program;
use viper_ssh_tools::arguments::Options;
use viper_ssh_tools::failure::{About, Failure, Result};
use viper_ssh_tools::local::Local;
use viper_ssh_tools::user::User;
use viper_ssh_tools::{login, shell};

viper_rt::entry!(run);

fn run() -> i64 {
    let user = User::new();
    match session(&user) {
        Ok(code) => code,
        Err(failure) => {
            user.say(&alloc::format!("ssh: {failure}"));
            shell::FAILED
        }
    }
}

fn session(user: &User) -> Result<i64> {
    let options = Options::parse(program::arguments().skip(1), 'p')?;
    let Some((target, command)) = options.words.split_first() else {
        let usage = "ssh [-p PORT] [-l USER] [-i KEY] [-J [USER@]HOST[:PORT],...] \
                     [-L|-R PORT:HOST:PORT] [-W HOST:PORT] [-N] [-t|-T] [USER@]HOST [COMMAND ...]";
        return Err(Failure(usage.into()));
    };
    let names = program::take(Slot::NAMES).ok_or(viper_rt::Error::NoService)?;
    let mut local = Local::new(names::Client::new(names.into_object()));
    let network = Network::connect_through(local.names()).about("the network")?;
    let mut link = login::open(&mut local, user, &options, target)?;
    let command = (!command.is_empty()).then(|| command.join(" "));
    let result = shell::run(&mut link, user, network, &options, command);
    link.close();
    result
}
