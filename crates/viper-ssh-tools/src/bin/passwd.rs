//! `passwd [USER]`: sets the password with which a user logs in by SSH.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::string::String;
use viper_proto::entropy::Random;
use viper_proto::names;
use viper_rt::abi::Slot;
use viper_rt::program;
use viper_ssh::key::{PASSWORD_ROUNDS, hash_password};
use viper_ssh_tools::failure::{About, Result, fail};
use viper_ssh_tools::local::Local;
use viper_ssh_tools::user::User;

viper_rt::entry!(run);

/// The users that may log in.
const USERS: &str = "S:ssh/users";

fn run() -> i64 {
    let user = User::new();
    match change(&user) {
        Ok(()) => 0,
        Err(failure) => {
            user.say(&alloc::format!("passwd: {failure}"));
            20
        }
    }
}

fn change(user: &User) -> Result<()> {
    let name = program::arguments().nth(1).unwrap_or("viper");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return fail(alloc::format!("{name} is no name of a user"));
    }
    let names = program::take(Slot::NAMES).ok_or(viper_rt::Error::NoService)?;
    let mut local = Local::new(names::Client::new(names.into_object()));
    let password = user.ask(&alloc::format!("New password of {name}: "), false)?;
    let again = user.ask("The same again: ", false)?;
    if *password != *again {
        return fail("these are two different ones");
    }
    let mut random = Random::new(local.names()).about("random numbers")?;
    let hash = hash_password(&password, PASSWORD_ROUNDS, &mut random).about("the password")?;
    let users = local.text(USERS)?;
    local.replace(USERS, &with_user(&users, name, &hash), 0o600)
}

/// The file with the line of this user in the place of the one there was, whose numbers it keeps.
fn with_user(users: &str, name: &str, hash: &str) -> String {
    let mut before = users.lines().filter_map(|line| line.split_once(':'));
    let before = before.find(|(user, _)| user.trim() == name);
    let numbers = before.and_then(|(_, rest)| rest.split_once(':'));
    let line = match numbers {
        Some((_, numbers)) => alloc::format!("{name}:{hash}:{numbers}"),
        None => alloc::format!("{name}:{hash}"),
    };
    let mut text = String::new();
    let mut found = false;
    for old in users.lines() {
        let is_it = old
            .split_once(':')
            .is_some_and(|(user, _)| user.trim() == name);
        match (is_it, found) {
            (true, false) => text.push_str(&line),
            (true, true) => continue,
            (false, _) => text.push_str(old),
        }
        found |= is_it;
        text.push('\n');
    }
    if !found {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_one_line() {
        let users = "# all\nviper:old\nother:x\nviper:older\n";
        assert_eq!(
            with_user(users, "viper", "new"),
            "# all\nviper:new\nother:x\n"
        );
        assert_eq!(with_user("", "viper", "new"), "viper:new\n");
        assert_eq!(with_user("v:x:10:5\n", "v", "new"), "v:new:10:5\n");
    }
}
