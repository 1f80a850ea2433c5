//! Algorithm names, preferences and their negotiation (RFC 4253 section 7.1).

use alloc::vec::Vec;

use crate::error::AlgorithmKind;
use crate::wire::{Put, Reader};
use crate::{Error, message};

macro_rules! named {
    ($(#[$doc:meta])* pub enum $type:ident { $($(#[$vdoc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $type { $($(#[$vdoc])* $variant,)* }

        impl $type {
            /// All of them, in the order of the default preference.
            pub const ALL: &'static [$type] = &[$($type::$variant,)*];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name,)* }
            }

            /// The algorithm of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some($type::$variant),)* _ => None }
            }
        }
    };
}

named! {
    /// Key exchange methods.
    pub enum Kex {
        /// ML-KEM-768 with X25519 (draft-ietf-sshm-mlkem-hybrid-kex).
        MlKem768X25519 = "mlkem768x25519-sha256",
        /// X25519 (RFC 8731).
        Curve25519 = "curve25519-sha256",
        /// X25519 under the name it had before RFC 8731.
        Curve25519LibSsh = "curve25519-sha256@libssh.org",
    }
}

named! {
    /// Signature algorithms of host and user keys.
    pub enum SignatureAlgorithm {
        /// Ed25519 (RFC 8709).
        Ed25519 = "ssh-ed25519",
        /// ECDSA over P-256 with SHA-256 (RFC 5656).
        EcdsaP256 = "ecdsa-sha2-nistp256",
        /// RSA PKCS#1 v1.5 with SHA-512 (RFC 8332). Verified, never made.
        RsaSha512 = "rsa-sha2-512",
        /// RSA PKCS#1 v1.5 with SHA-256 (RFC 8332). Verified, never made.
        RsaSha256 = "rsa-sha2-256",
    }
}

named! {
    /// Ciphers.
    pub enum Cipher {
        /// ChaCha20 with Poly1305, length encrypted under a second key.
        ChaCha20Poly1305 = "chacha20-poly1305@openssh.com",
        /// AES-256-GCM (RFC 5647 with OpenSSH's negotiation).
        Aes256Gcm = "aes256-gcm@openssh.com",
        /// AES-128-GCM (RFC 5647 with OpenSSH's negotiation).
        Aes128Gcm = "aes128-gcm@openssh.com",
        /// AES-256 in counter mode (RFC 4344).
        Aes256Ctr = "aes256-ctr",
        /// AES-192 in counter mode (RFC 4344).
        Aes192Ctr = "aes192-ctr",
        /// AES-128 in counter mode (RFC 4344).
        Aes128Ctr = "aes128-ctr",
    }
}

named! {
    /// Message authentication codes, for ciphers without their own.
    pub enum Mac {
        /// HMAC-SHA-256 over the ciphertext.
        HmacSha256Etm = "hmac-sha2-256-etm@openssh.com",
        /// HMAC-SHA-512 over the ciphertext.
        HmacSha512Etm = "hmac-sha2-512-etm@openssh.com",
        /// HMAC-SHA-256 over the plaintext (RFC 6668).
        HmacSha256 = "hmac-sha2-256",
        /// HMAC-SHA-512 over the plaintext (RFC 6668).
        HmacSha512 = "hmac-sha2-512",
    }
}

impl Cipher {
    /// Whether the cipher authenticates by itself, so that no [`Mac`] is used with it.
    pub fn is_aead(self) -> bool {
        matches!(
            self,
            Cipher::ChaCha20Poly1305 | Cipher::Aes128Gcm | Cipher::Aes256Gcm
        )
    }
}

/// What one side is willing to use, best first. `default()` is everything this crate has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms {
    /// Key exchange methods.
    pub kex: Vec<Kex>,
    /// Types of host key signature. A server uses those that its keys can make.
    pub host_key: Vec<SignatureAlgorithm>,
    /// Ciphers, for both directions.
    pub cipher: Vec<Cipher>,
    /// Message authentication codes, for both directions.
    pub mac: Vec<Mac>,
}

impl Default for Algorithms {
    fn default() -> Self {
        Algorithms {
            kex: Kex::ALL.to_vec(),
            host_key: SignatureAlgorithm::ALL.to_vec(),
            cipher: Cipher::ALL.to_vec(),
            mac: Mac::ALL.to_vec(),
        }
    }
}

/// The cipher and, unless it is an AEAD, the MAC of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// The cipher.
    pub cipher: Cipher,
    /// Present exactly when the cipher is no AEAD.
    pub mac: Option<Mac>,
}

/// The outcome of a negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Key exchange method.
    pub kex: Kex,
    /// How the host signs.
    pub host_key: SignatureAlgorithm,
    /// Client to server.
    pub client_to_server: Protection,
    /// Server to client.
    pub server_to_client: Protection,
}

const EXT_INFO: [&str; 2] = ["ext-info-c", "ext-info-s"];
const STRICT: [&str; 2] = [
    "kex-strict-c-v00@openssh.com",
    "kex-strict-s-v00@openssh.com",
];

/// Index into the pairs above.
fn side(is_server: bool) -> usize {
    usize::from(is_server)
}

/// Builds our SSH_MSG_KEXINIT.
pub(crate) fn write_kexinit(ours: &Algorithms, is_server: bool, cookie: [u8; 16]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.put_u8(message::KEXINIT);
    out.put_bytes(&cookie);
    let markers = [EXT_INFO[side(is_server)], STRICT[side(is_server)]];
    out.put_name_list(ours.kex.iter().map(|a| a.name()).chain(markers));
    out.put_name_list(ours.host_key.iter().map(|a| a.name()));
    for _ in 0..2 {
        out.put_name_list(ours.cipher.iter().map(|a| a.name()));
    }
    for _ in 0..2 {
        out.put_name_list(ours.mac.iter().map(|a| a.name()));
    }
    for _ in 0..2 {
        out.put_name_list(core::iter::once("none"));
    }
    for _ in 0..2 {
        out.put_name_list(core::iter::empty());
    }
    out.put_bool(false);
    out.put_u32(0);
    out
}

/// The peer's SSH_MSG_KEXINIT, its lists still as text.
pub(crate) struct PeerKexInit<'a> {
    lists: [&'a str; 8],
    first_kex_packet_follows: bool,
}

impl<'a> PeerKexInit<'a> {
    /// Reads the message, whose number has been seen already.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        reader.u8()?;
        reader.bytes(16)?;
        let mut lists = [""; 8];
        for list in &mut lists {
            *list = reader.text()?;
        }
        reader.string()?;
        reader.string()?;
        let first_kex_packet_follows = reader.bool()?;
        reader.u32()?;
        Ok(PeerKexInit {
            lists,
            first_kex_packet_follows,
        })
    }

    fn has_kex(&self, name: &str) -> bool {
        self.lists[0].split(',').any(|offered| offered == name)
    }

    /// Whether the peer asks for strict key exchange. Only meaningful in its first KEXINIT.
    pub fn is_strict(&self, peer_is_server: bool) -> bool {
        self.has_kex(STRICT[side(peer_is_server)])
    }

    /// Whether the peer takes SSH_MSG_EXT_INFO (RFC 8308).
    pub fn takes_ext_info(&self, peer_is_server: bool) -> bool {
        self.has_kex(EXT_INFO[side(peer_is_server)])
    }

    /// Picks the algorithms. `ours.host_key` must already be limited to the keys we have.
    pub fn negotiate(&self, ours: &Algorithms, is_server: bool) -> Result<Negotiated, Error> {
        let direction = |cipher: usize, mac: usize| -> Result<Protection, Error> {
            let cipher = pick(&ours.cipher, Cipher::name, self.lists[cipher], is_server)
                .ok_or(Error::NoCommonAlgorithm(AlgorithmKind::Cipher))?;
            let mac = if cipher.is_aead() {
                None
            } else {
                Some(
                    pick(&ours.mac, Mac::name, self.lists[mac], is_server)
                        .ok_or(Error::NoCommonAlgorithm(AlgorithmKind::Mac))?,
                )
            };
            Ok(Protection { cipher, mac })
        };
        let negotiated = Negotiated {
            kex: pick(&ours.kex, Kex::name, self.lists[0], is_server)
                .ok_or(Error::NoCommonAlgorithm(AlgorithmKind::Kex))?,
            host_key: pick(
                &ours.host_key,
                SignatureAlgorithm::name,
                self.lists[1],
                is_server,
            )
            .ok_or(Error::NoCommonAlgorithm(AlgorithmKind::HostKey))?,
            client_to_server: direction(2, 4)?,
            server_to_client: direction(3, 5)?,
        };
        for list in &self.lists[6..8] {
            if !list.split(',').any(|name| name == "none") {
                return Err(Error::NoCommonAlgorithm(AlgorithmKind::Compression));
            }
        }
        Ok(negotiated)
    }

    /// Whether the peer sent a guessed packet that has to be ignored (RFC 4253 section 7).
    ///
    /// "If the guess was wrong, the next packet MUST be silently ignored." A guess is right when
    /// the first kex and host key algorithms of both lists are the same.
    pub fn guessed_wrong(&self, ours: &Algorithms) -> bool {
        let first = |list: usize| self.lists[list].split(',').next().unwrap_or("");
        self.first_kex_packet_follows
            && (ours.kex.first().map(|a| a.name()) != Some(first(0))
                || ours.host_key.first().map(|a| a.name()) != Some(first(1)))
    }
}

/// The first name of the client's list that the server's list has too.
fn pick<A: Copy>(ours: &[A], name: fn(A) -> &'static str, theirs: &str, server: bool) -> Option<A> {
    let ours_by_name = |wanted: &str| ours.iter().copied().find(|a| name(*a) == wanted);
    if server {
        theirs.split(',').find_map(ours_by_name)
    } else {
        ours.iter()
            .copied()
            .find(|a| theirs.split(',').any(|offered| offered == name(*a)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_order_decides_on_both_sides() {
        let client = Algorithms {
            cipher: alloc::vec![Cipher::Aes128Ctr, Cipher::Aes256Gcm],
            ..Default::default()
        };
        let server = Algorithms {
            cipher: alloc::vec![Cipher::Aes256Gcm, Cipher::Aes128Ctr],
            ..Default::default()
        };
        let client_init = write_kexinit(&client, false, [0; 16]);
        let server_init = write_kexinit(&server, true, [0; 16]);
        let by_server = PeerKexInit::parse(&client_init)
            .unwrap()
            .negotiate(&server, true)
            .unwrap();
        let by_client = PeerKexInit::parse(&server_init)
            .unwrap()
            .negotiate(&client, false)
            .unwrap();
        assert_eq!(by_server, by_client);
        assert_eq!(by_client.client_to_server.cipher, Cipher::Aes128Ctr);
        assert_eq!(by_client.client_to_server.mac, Some(Mac::HmacSha256Etm));
    }

    #[test]
    fn nothing_in_common_is_named() {
        let client = Algorithms {
            mac: alloc::vec![],
            cipher: alloc::vec![Cipher::Aes128Ctr],
            ..Default::default()
        };
        let init = write_kexinit(&client, false, [0; 16]);
        let result = PeerKexInit::parse(&init)
            .unwrap()
            .negotiate(&Algorithms::default(), true);
        assert_eq!(result, Err(Error::NoCommonAlgorithm(AlgorithmKind::Mac)));
    }

    #[test]
    fn markers_are_per_side() {
        let init = write_kexinit(&Algorithms::default(), false, [0; 16]);
        let parsed = PeerKexInit::parse(&init).unwrap();
        assert!(parsed.is_strict(false) && parsed.takes_ext_info(false));
        assert!(!parsed.is_strict(true) && !parsed.takes_ext_info(true));
    }
}
