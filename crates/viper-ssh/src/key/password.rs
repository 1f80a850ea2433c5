//! Passwords as a server keeps them: `$bcrypt-pbkdf$ROUNDS$SALT$HASH`, salt and hash in base64.

use alloc::format;
use alloc::string::String;

use base64ct::{Base64Unpadded, Encoding};
use bcrypt_pbkdf::bcrypt_pbkdf;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::Error;

/// Rounds for new hashes. Each costs whoever guesses as much as it costs us.
pub const PASSWORD_ROUNDS: u32 = 8;
const SCHEME: &str = "bcrypt-pbkdf";
const ROUNDS_MAX: u32 = 1024;
const SALT_LEN: usize = 16;
const HASH_LEN: usize = 32;

/// The hash of a password, salted from `rng`. Takes some milliseconds for each round.
///
/// # Errors
/// [`Error::Malformed`] for an empty password, or rounds outside of 1..=1024.
pub fn hash_password(
    password: &str,
    rounds: u32,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<String, Error> {
    let mut salt = [0; SALT_LEN];
    rng.fill_bytes(&mut salt);
    let hash = derive(password, &salt, rounds)?;
    let (salt, hash) = (
        Base64Unpadded::encode_string(&salt),
        Base64Unpadded::encode_string(&*hash),
    );
    Ok(format!("${SCHEME}${rounds}${salt}${hash}"))
}

/// Whether the hash is that of the password. Says no to a hash it cannot read.
///
/// It takes as long for a wrong password as for the right one.
pub fn check_password(hash: &str, password: &str) -> bool {
    let Some((rounds, salt, known)) = parse(hash) else {
        return false;
    };
    match derive(password, &salt, rounds) {
        Ok(hash) => hash.as_slice().ct_eq(&known).into(),
        Err(_) => false,
    }
}

fn parse(hash: &str) -> Option<(u32, [u8; SALT_LEN], [u8; HASH_LEN])> {
    let mut fields = hash.trim().split('$');
    if fields.next() != Some("") || fields.next() != Some(SCHEME) {
        return None;
    }
    let rounds = fields.next()?.parse().ok()?;
    let (mut salt, mut known) = ([0; SALT_LEN], [0; HASH_LEN]);
    let salt_len = Base64Unpadded::decode(fields.next()?, &mut salt)
        .ok()?
        .len();
    let known_len = Base64Unpadded::decode(fields.next()?, &mut known)
        .ok()?
        .len();
    let whole = salt_len == SALT_LEN && known_len == HASH_LEN && fields.next().is_none();
    whole.then_some((rounds, salt, known))
}

fn derive(password: &str, salt: &[u8], rounds: u32) -> Result<Zeroizing<[u8; HASH_LEN]>, Error> {
    if !(1..=ROUNDS_MAX).contains(&rounds) {
        return Err(Error::Malformed);
    }
    let mut hash = Zeroizing::new([0; HASH_LEN]);
    bcrypt_pbkdf(password, salt, rounds, &mut *hash).map_err(|_| Error::Malformed)?;
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    #[test]
    fn only_the_password_itself_fits() {
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let hash = hash_password("viper", 1, &mut rng).unwrap();
        assert!(hash.starts_with("$bcrypt-pbkdf$1$"));
        assert!(check_password(&hash, "viper"));
        for wrong in ["", "Viper", "viper ", "vipe"] {
            assert!(!check_password(&hash, wrong), "{wrong:?}");
        }
        assert_ne!(hash, hash_password("viper", 1, &mut rng).unwrap(), "salted");
        assert_eq!(hash_password("", 1, &mut rng), Err(Error::Malformed));
        assert_eq!(hash_password("a", 0, &mut rng), Err(Error::Malformed));
    }

    #[test]
    fn damaged_hashes_let_nobody_in() {
        let mut rng = ChaCha20Rng::from_seed([6; 32]);
        let hash = hash_password("viper", 1, &mut rng).unwrap();
        for cut in 0..hash.len() {
            assert!(!check_password(&hash[..cut], "viper"), "{cut}");
        }
        for wrong in [
            hash.replace("$1$", "$0$"),
            hash.replace("$1$", "$99999$"),
            hash.replace("bcrypt", "scrypt"),
            format!("{hash}$"),
            format!("x{hash}"),
            String::new(),
        ] {
            assert!(!check_password(&wrong, "viper"), "{wrong}");
        }
    }
}
