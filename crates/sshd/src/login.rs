//! Who may log in: the users and their passwords, the keys, and how fast one may guess.
//!
//! `S:ssh/users` has a line `NAME:HASH:USER:GROUP` for each user; a `!` for the hash allows keys
//! only. User and group are the numbers that own what they make, and that files are kept from or
//! open to by; without them it is user 0, who may do everything.
//! `S:ssh/authorized_keys` is in the format of OpenSSH and holds for every user who has number 0;
//! others have keys in `S:ssh/authorized_keys.NAME`.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use viper_rt::clock::{MILLISECOND, SECOND};
use viper_ssh::key::{AuthorizedKeys, KeyOptions, check_password};
use viper_ssh::sftp::{Attributes, OpenFlags, SftpFs, Status};
use viper_ssh::{AuthAttempt, AuthMethod, Prompt, Prompts};

/// The users.
pub const USERS: &str = "/s/ssh/users";
/// The keys.
pub const AUTHORIZED_KEYS: &str = "/s/ssh/authorized_keys";

const FILE_MAX: usize = 256 * 1024;
/// The hash that is computed for users that do not exist, so that they take as long.
const NOBODY: &str =
    "$bcrypt-pbkdf$8$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What came of an attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) accepted: bool,
    /// For whom it works then.
    pub(crate) identity: Identity,
    /// What the key may be used for.
    pub(crate) options: KeyOptions,
    /// Whether this was a guess at a secret, and wrong.
    pub(crate) wrong_guess: bool,
}

/// A user and a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user; 0 may do everything.
    pub user: u32,
    /// The group.
    pub group: u32,
}

/// A line of the users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User<'a> {
    hash: &'a str,
    identity: Identity,
}

/// What is asked of those who log in by questions: the password, and nothing else.
pub(crate) fn questions() -> Prompts {
    Prompts {
        prompts: Vec::from([Prompt {
            text: String::from("Password: "),
            echo: false,
        }]),
        ..Prompts::default()
    }
}

/// Decides upon an attempt. Takes its time: a password is slow to check, on purpose.
pub(crate) fn judge<F: SftpFs>(files: &mut F, attempt: &AuthAttempt, from: IpAddr) -> Verdict {
    let users = read_text(files, USERS).unwrap_or_default();
    let user = find(&users, &attempt.user);
    let hash = user.map(|user| user.hash);
    let identity = user.map(|user| user.identity).unwrap_or_default();
    let password = |password: &str| {
        let right = check_password(hash.unwrap_or(NOBODY), password) && hash.is_some();
        Verdict {
            accepted: right,
            identity,
            wrong_guess: !right,
            ..Verdict::default()
        }
    };
    match &attempt.method {
        AuthMethod::Password(given) => password(given),
        AuthMethod::Answers(answers) => match answers.as_slice() {
            [given] => password(given),
            _ => Verdict::default(),
        },
        AuthMethod::PublicKey { key, proven } => {
            let place = match identity.user {
                0 => AUTHORIZED_KEYS.into(),
                _ => alloc::format!("{AUTHORIZED_KEYS}.{}", attempt.user),
            };
            // A name is one of the users', and no path.
            let known_user = user.filter(|_| !attempt.user.contains('/'));
            let keys = known_user.and_then(|_| read_text(files, &place).ok());
            let keys = keys.unwrap_or_default();
            let keys = AuthorizedKeys::parse(&keys);
            let known = keys.find(key).filter(|_| hash.is_some());
            let known = known.filter(|k| k.options.permits_from(&alloc::format!("{from}")));
            Verdict {
                accepted: known.is_some(),
                identity,
                wrong_guess: known.is_none() && *proven,
                options: known.map(|k| k.options.clone()).unwrap_or_default(),
            }
        }
        _ => Verdict::default(),
    }
}

/// A user, if there is one of this name. A line whose numbers are none is none.
fn find<'a>(users: &'a str, name: &str) -> Option<User<'a>> {
    let lines = users.lines().map(str::trim);
    let mut users = lines.filter_map(|line| line.split_once(':'));
    let (_, rest) =
        users.find(|(user, _)| !user.is_empty() && !user.starts_with('#') && *user == name)?;
    let mut fields = rest.split(':');
    let hash = fields.next()?;
    let mut number = || match fields.next() {
        None => Some(0),
        Some(text) => text.trim().parse().ok(),
    };
    let identity = Identity {
        user: number()?,
        group: number()?,
    };
    Some(User { hash, identity })
}

/// A whole file as text.
pub(crate) fn read_text<F: SftpFs>(files: &mut F, path: &str) -> Result<String, Status> {
    let mut file = files.open(path, OpenFlags::READ, &Attributes::default())?;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let result = loop {
        match files.read(&mut file, bytes.len() as u64, &mut part) {
            Ok(0) => break Ok(()),
            Ok(count) => bytes.extend_from_slice(part.get(..count).unwrap_or(&[])),
            Err(status) => break Err(status),
        }
        if bytes.len() > FILE_MAX {
            break Err(Status::Failure);
        }
    };
    files.close(file)?;
    result?;
    String::from_utf8(bytes).map_err(|_| Status::Failure)
}

/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 64;
/// After this time a wrong guess is forgotten.
const FORGET_NS: u64 = 600 * SECOND;
const DELAY_NS: u64 = 250 * MILLISECOND;
const DELAY_MAX_NS: u64 = 8 * SECOND;

/// How often each address guessed wrong: the answer to the next wrong guess takes longer.
#[derive(Debug, Default)]
pub(crate) struct Guesses(BTreeMap<IpAddr, (u32, u64)>);

impl Guesses {
    /// Counts a wrong guess. Returns how long the answer is to be held back, in nanoseconds.
    pub(crate) fn wrong(&mut self, from: IpAddr, now: u64) -> u64 {
        self.0
            .retain(|_, (_, at)| now.saturating_sub(*at) < FORGET_NS);
        if self.0.len() >= ADDRESSES_MAX
            && !self.0.contains_key(&from)
            && let Some(oldest) = self
                .0
                .iter()
                .min_by_key(|(_, (_, at))| *at)
                .map(|(a, _)| *a)
        {
            self.0.remove(&oldest);
        }
        let (count, at) = self.0.entry(from).or_insert((0, now));
        let delay = DELAY_NS << (*count).min(5);
        (*count, *at) = (count.saturating_add(1), now);
        delay.min(DELAY_MAX_NS)
    }

    /// Somebody there knew the secret.
    pub(crate) fn right(&mut self, from: IpAddr) {
        self.0.remove(&from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let found = |users, name| {
            let user = find(users, name)?;
            Some((user.hash, user.identity.user, user.identity.group))
        };
        let users = "# viper:x\n\nviper:$hash\nroot:!\n:empty\nann:x:10:5\nbob:y:x\neve:z:-1:0\n";
        assert_eq!(found(users, "ann"), Some(("x", 10, 5)));
        assert_eq!(found(users, "bob"), None, "not the system by mistake");
        assert_eq!(found(users, "eve"), None);
        assert_eq!(found(users, "viper"), Some(("$hash", 0, 0)));
        assert_eq!(found(users, "root"), Some(("!", 0, 0)));
        for nobody in ["", "vip", "viper2", "# viper", "nobody"] {
            assert_eq!(found(users, nobody), None, "{nobody}");
        }
    }

    #[test]
    fn the_hash_for_nobody_costs_as_much_as_a_real_one() {
        let rounds = alloc::format!("${}$", viper_ssh::key::PASSWORD_ROUNDS);
        assert!(NOBODY.contains(&rounds));
        assert!(!check_password(NOBODY, "viper"));
    }

    #[test]
    fn guessing_gets_slower_and_memory_is_bounded() {
        let mut guesses = Guesses::default();
        let one = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let delays: Vec<u64> = (0..8)
            .map(|n| guesses.wrong(one, n) / MILLISECOND)
            .collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        guesses.right(one);
        assert_eq!(guesses.wrong(one, 9), DELAY_NS);
        assert_eq!(guesses.wrong(one, 9 + FORGET_NS), DELAY_NS, "forgotten");
        for n in 0..1000u32 {
            guesses.wrong(IpAddr::V4(Ipv4Addr::from_bits(n)), u64::from(n) + FORGET_NS);
        }
        assert!(guesses.0.len() <= ADDRESSES_MAX);
    }
}
