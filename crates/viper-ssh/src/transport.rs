//! The transport protocol (RFC 4253) of either side: identification, key exchange, packets.
//!
//! Everything below the authentication and connection protocols happens here. Payloads of those
//! come out of [`Transport::receive`] and go in by [`Transport::send`], which holds them back
//! while keys are exchanged.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use zeroize::Zeroizing;

use crate::algorithm::{self, Algorithms, Negotiated, PeerKexInit, SignatureAlgorithm};
use crate::cipher::PacketCipher;
use crate::kex::{self, ClientShare, Hash, SharedSecret, Transcript};
use crate::output::Output;
use crate::packet::{MAX_PAYLOAD_LEN, Opener, Sealer, Usage};
use crate::random::Random;
use crate::version::VersionReader;
use crate::wire::{Put, Reader};
use crate::{Error, PrivateKey, PublicKey, message};

/// Payload bytes that wait for an exchange of keys to end; beyond this the peer is at fault.
const HELD_MAX: usize = 256 * 1024;
/// Packets in one direction after which new keys are due, however short they were.
const REKEY_PACKETS: u32 = 1 << 28;
/// An exchange that takes longer than this is given up.
const KEX_TIME_MAX: Duration = Duration::from_secs(120);
const SIGNATURE_ALGORITHMS_MAX: usize = 64;

/// What a [`Transport`] is made from.
pub(crate) struct Setup {
    pub algorithms: Algorithms,
    /// Empty for a client.
    pub host_keys: Vec<PrivateKey>,
    pub is_server: bool,
    pub version: String,
    pub rekey_bytes: u64,
    pub rekey_time: Duration,
}

/// What [`Transport::receive`] has to tell.
pub(crate) enum Incoming {
    /// A payload for the protocols above.
    Payload(Vec<u8>),
    /// The server proved to own this key; [`Transport::accept_host_key`] lets it go on.
    HostKey(PublicKey),
    /// Both directions use new keys.
    KeysExchanged { first: bool },
}

pub(crate) struct Transport {
    setup: Setup,
    random: Random,
    output: Output,
    version_reader: Option<VersionReader>,
    peer_version: Vec<u8>,
    sealer: Sealer,
    opener: Opener,
    strict: bool,
    session: Option<Hash>,
    /// Whether the first exchange is complete in both directions.
    keys_in_use: bool,
    host_key: Option<PublicKey>,
    negotiated: Option<Negotiated>,
    /// Our KEXINIT, from its sending to that of our NEWKEYS.
    our_init: Option<Vec<u8>>,
    stage: Stage,
    held: VecDeque<Vec<u8>>,
    held_len: usize,
    kex_deadline: Option<Duration>,
    rekey_at: Duration,
    peer_takes_ext_info: bool,
    peer_signature_algorithms: Option<Vec<String>>,
}

/// What the exchange of keys waits for.
enum Stage {
    /// The peer's KEXINIT, which may come at any time.
    Init,
    /// The client's share.
    ClientShare(Started),
    /// The server's share.
    ServerShare(Started, ClientShare),
    /// The caller's word on the host key.
    HostKey(NewKeys),
    /// The peer's NEWKEYS.
    NewKeys(PacketCipher),
}

struct Started {
    negotiated: Negotiated,
    peer_init: Vec<u8>,
    skip_guess: bool,
}

struct NewKeys {
    negotiated: Negotiated,
    secret: SharedSecret,
    hash: Hash,
}

impl Transport {
    /// Starts at once: our identification and KEXINIT are in the output.
    pub fn new(setup: Setup, random: Random, now: Duration) -> Result<Self, Error> {
        let mut output = Output::default();
        output.bytes().extend_from_slice(setup.version.as_bytes());
        output.bytes().extend_from_slice(b"\r\n");
        let mut transport = Transport {
            version_reader: Some(VersionReader::new(!setup.is_server)),
            rekey_at: now.saturating_add(setup.rekey_time),
            setup,
            random,
            output,
            peer_version: Vec::new(),
            sealer: Sealer::new(),
            opener: Opener::new(),
            strict: false,
            session: None,
            keys_in_use: false,
            host_key: None,
            negotiated: None,
            our_init: None,
            stage: Stage::Init,
            held: VecDeque::new(),
            held_len: 0,
            kex_deadline: None,
            peer_takes_ext_info: false,
            peer_signature_algorithms: None,
        };
        transport.start_kex(now)?;
        Ok(transport)
    }

    /// As if keys had been exchanged, but nothing is protected: a test's payloads cost no more
    /// than their handling.
    #[cfg(test)]
    pub fn pretend_keys(&mut self) {
        self.output_sent(self.output().len());
        self.version_reader = None;
        self.our_init = None;
        self.kex_deadline = None;
        self.session = Some([0; 32]);
        self.keys_in_use = true;
    }

    pub fn output(&self) -> &[u8] {
        self.output.pending()
    }

    pub fn output_sent(&mut self, len: usize) {
        self.output.sent(len);
    }

    pub fn session(&self) -> Option<&Hash> {
        self.session.as_ref()
    }

    pub fn negotiated(&self) -> Option<Negotiated> {
        self.negotiated
    }

    pub fn host_key(&self) -> Option<&PublicKey> {
        self.host_key.as_ref()
    }

    pub fn peer_version(&self) -> &[u8] {
        &self.peer_version
    }

    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// What the server said it verifies (RFC 8308 section 3.1).
    pub fn peer_signature_algorithms(&self) -> Option<&[String]> {
        self.peer_signature_algorithms.as_deref()
    }

    /// Whether payloads would be held back now.
    pub fn is_exchanging_keys(&self) -> bool {
        self.our_init.is_some()
    }

    pub fn is_waiting_for_caller(&self) -> bool {
        matches!(self.stage, Stage::HostKey(_))
    }

    /// Sends a payload of the protocols above, now or after the exchange of keys.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] if it is too long, or too much is held back. Nothing is sent.
    pub fn send(&mut self, payload: Vec<u8>) -> Result<(), Error> {
        if payload.len() > MAX_PAYLOAD_LEN {
            return Err(Error::LimitExceeded);
        }
        if self.is_exchanging_keys() {
            self.held_len = self.held_len.saturating_add(payload.len());
            if self.held_len > HELD_MAX {
                return Err(Error::LimitExceeded);
            }
            self.held.push_back(payload);
            return Ok(());
        }
        // Some hold passwords.
        if payload
            .first()
            .is_some_and(|number| message::is_authentication(*number))
        {
            return self.seal(&Zeroizing::new(payload));
        }
        self.seal(&payload)
    }

    /// Tells the peer why the connection ends.
    pub fn send_disconnect(&mut self, reason: u32, text: &str) -> Result<(), Error> {
        let mut payload = Vec::new();
        payload.put_u8(message::DISCONNECT);
        payload.put_u32(reason);
        payload.put_string(text);
        payload.put_string("");
        self.seal(&payload)
    }

    /// Tells the peer that its last packet was not understood.
    pub fn send_unimplemented(&mut self) -> Result<(), Error> {
        let mut payload = Vec::new();
        payload.put_u8(message::UNIMPLEMENTED);
        payload.put_u32(self.opener.sequence().wrapping_sub(1));
        self.seal(&payload)
    }

    fn seal(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.sealer
            .seal(payload, &mut self.random, self.output.bytes())
    }

    /// The time at which [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn timeout(&self) -> Duration {
        self.kex_deadline.unwrap_or(self.rekey_at)
    }

    pub fn handle_timeout(&mut self, now: Duration) -> Result<(), Error> {
        if self.kex_deadline.is_some_and(|deadline| now >= deadline) {
            return Err(Error::TimedOut);
        }
        self.rekey_if_due(now)
    }

    /// Starts an exchange if enough was sent or received, or enough time passed.
    pub fn rekey_if_due(&mut self, now: Duration) -> Result<(), Error> {
        let limit = self.setup.rekey_bytes;
        let is_used = |usage: Usage| usage.bytes >= limit || usage.packets >= REKEY_PACKETS;
        let due = is_used(self.sealer.usage()) || is_used(self.opener.usage());
        if due || now >= self.rekey_at {
            self.rekey(now)
        } else {
            Ok(())
        }
    }

    /// Starts an exchange of keys unless one is under way.
    pub fn rekey(&mut self, now: Duration) -> Result<(), Error> {
        if self.our_init.is_none() && matches!(self.stage, Stage::Init) {
            return self.start_kex(now);
        }
        Ok(())
    }

    fn start_kex(&mut self, now: Duration) -> Result<(), Error> {
        let cookie = self.random.array();
        let init = algorithm::write_kexinit(&self.setup.algorithms, self.setup.is_server, cookie);
        self.seal(&init)?;
        self.our_init = Some(init);
        self.kex_deadline = Some(now.saturating_add(KEX_TIME_MAX));
        Ok(())
    }

    /// Takes bytes off the front of `input` until there is something to tell.
    pub fn receive(&mut self, now: Duration, input: &mut &[u8]) -> Result<Option<Incoming>, Error> {
        if let Some(reader) = &mut self.version_reader {
            let Some(version) = reader.read(input)? else {
                return Ok(None);
            };
            self.peer_version = version;
            self.version_reader = None;
        }
        while !self.is_waiting_for_caller() {
            let Some(payload) = self.opener.open(input)? else {
                break;
            };
            if let Some(incoming) = self.dispatch(now, payload)? {
                return Ok(Some(incoming));
            }
        }
        Ok(None)
    }

    fn dispatch(&mut self, now: Duration, payload: Vec<u8>) -> Result<Option<Incoming>, Error> {
        let number = *payload.first().ok_or(Error::Malformed)?;
        if !self.keys_in_use && self.strict {
            self.check_strict(number)?;
        }
        match number {
            message::DISCONNECT => {
                let mut reader = Reader::new(&payload);
                reader.u8()?;
                Err(Error::Disconnected(reader.u32()?))
            }
            message::IGNORE | message::DEBUG | message::UNIMPLEMENTED => Ok(None),
            message::EXT_INFO => self.handle_ext_info(&payload).map(|()| None),
            message::KEXINIT => self.handle_kexinit(now, payload).map(|()| None),
            message::NEWKEYS => self.handle_newkeys(&payload).map(Some),
            message::KEX_ECDH_INIT => self.handle_client_share(now, &payload).map(|()| None),
            message::KEX_ECDH_REPLY => self.handle_server_share(now, &payload),
            22..=29 | 32..=49 => self.handle_unknown_kex(number),
            _ if !matches!(self.stage, Stage::Init) || !self.keys_in_use => {
                Err(Error::UnexpectedMessage(number))
            }
            _ => Ok(Some(Incoming::Payload(payload))),
        }
    }

    /// During the first exchange strict mode allows nothing but its messages, in their order.
    fn check_strict(&self, number: u8) -> Result<(), Error> {
        let expected = match self.stage {
            Stage::Init => message::KEXINIT,
            Stage::ClientShare(_) => message::KEX_ECDH_INIT,
            Stage::ServerShare(..) => message::KEX_ECDH_REPLY,
            Stage::HostKey(_) | Stage::NewKeys(_) => message::NEWKEYS,
        };
        // A wrongly guessed first packet is part of the exchange and may have any kex number.
        let guess = matches!(&self.stage,
            Stage::ClientShare(s) | Stage::ServerShare(s, _) if s.skip_guess);
        let allowed = number == expected
            || number == message::DISCONNECT
            || (guess && (30..50).contains(&number));
        if allowed {
            Ok(())
        } else {
            Err(Error::StrictKexViolation)
        }
    }

    fn handle_unknown_kex(&mut self, number: u8) -> Result<Option<Incoming>, Error> {
        if self.take_guess() {
            Ok(None)
        } else {
            Err(Error::UnexpectedMessage(number))
        }
    }

    /// Whether this packet is the wrong guess that must be ignored.
    fn take_guess(&mut self) -> bool {
        match &mut self.stage {
            Stage::ClientShare(started) | Stage::ServerShare(started, _) => {
                core::mem::take(&mut started.skip_guess)
            }
            _ => false,
        }
    }

    fn handle_ext_info(&mut self, payload: &[u8]) -> Result<(), Error> {
        if !self.keys_in_use || !matches!(self.stage, Stage::Init) {
            return Err(Error::UnexpectedMessage(message::EXT_INFO));
        }
        let mut reader = Reader::new(payload);
        reader.u8()?;
        for _ in 0..reader.u32()? {
            let name = reader.string()?;
            let value = reader.string()?;
            if name == b"server-sig-algs" && !self.setup.is_server {
                let value = core::str::from_utf8(value).map_err(|_| Error::Malformed)?;
                let names = value.split(',').take(SIGNATURE_ALGORITHMS_MAX);
                self.peer_signature_algorithms = Some(names.map(String::from).collect());
            }
        }
        reader.finish()
    }

    fn handle_kexinit(&mut self, now: Duration, peer_init: Vec<u8>) -> Result<(), Error> {
        if !matches!(self.stage, Stage::Init) {
            return Err(Error::UnexpectedMessage(message::KEXINIT));
        }
        if self.our_init.is_none() {
            self.start_kex(now)?;
        }
        let is_server = self.setup.is_server;
        let peer = PeerKexInit::parse(&peer_init)?;
        if self.session.is_none() {
            self.strict = peer.is_strict(!is_server);
            self.peer_takes_ext_info = peer.takes_ext_info(!is_server);
            // "terminate the connection if SSH2_MSG_KEXINIT is not the first packet".
            if self.strict && self.opener.sequence() != 1 {
                return Err(Error::StrictKexViolation);
            }
        }
        let negotiated = peer.negotiate(&self.setup.algorithms, is_server)?;
        let skip_guess = peer.guessed_wrong(&self.setup.algorithms);
        let started = Started {
            negotiated,
            peer_init,
            skip_guess,
        };
        if is_server {
            self.stage = Stage::ClientShare(started);
            return Ok(());
        }
        let share = ClientShare::new(negotiated.kex, &mut self.random);
        let mut payload = Vec::new();
        payload.put_u8(message::KEX_ECDH_INIT);
        payload.put_string(share.public());
        self.stage = Stage::ServerShare(started, share);
        self.seal(&payload)
    }

    fn handle_client_share(&mut self, now: Duration, payload: &[u8]) -> Result<(), Error> {
        if self.take_guess() {
            return Ok(());
        }
        let Stage::ClientShare(started) = core::mem::replace(&mut self.stage, Stage::Init) else {
            return Err(Error::UnexpectedMessage(message::KEX_ECDH_INIT));
        };
        let mut reader = Reader::new(payload);
        reader.u8()?;
        let client_share = reader.string()?;
        reader.finish()?;
        let algorithm = started.negotiated.host_key;
        let host_key = self
            .setup
            .host_keys
            .iter()
            .find(|key| key.algorithm() == algorithm);
        let host_key = host_key.ok_or(Error::WrongState)?;
        let (server_share, secret) =
            kex::respond(started.negotiated.kex, client_share, &mut self.random)?;
        let public = host_key.public();
        let transcript = Transcript {
            client_version: &self.peer_version,
            server_version: self.setup.version.as_bytes(),
            client_init: &started.peer_init,
            server_init: self.our_init.as_deref().ok_or(Error::WrongState)?,
            host_key: public.blob(),
            client_share,
            server_share: &server_share,
        };
        let hash = transcript.hash(&secret);
        let mut reply = Vec::new();
        reply.put_u8(message::KEX_ECDH_REPLY);
        reply.put_string(public.blob());
        reply.put_string(&server_share);
        reply.put_string(host_key.sign(&hash));
        self.seal(&reply)?;
        self.host_key = Some(public);
        self.send_newkeys(
            now,
            NewKeys {
                negotiated: started.negotiated,
                secret,
                hash,
            },
        )
    }

    fn handle_server_share(
        &mut self,
        now: Duration,
        payload: &[u8],
    ) -> Result<Option<Incoming>, Error> {
        if self.take_guess() {
            return Ok(None);
        }
        let stage = core::mem::replace(&mut self.stage, Stage::Init);
        let Stage::ServerShare(started, share) = stage else {
            return Err(Error::UnexpectedMessage(message::KEX_ECDH_REPLY));
        };
        let mut reader = Reader::new(payload);
        reader.u8()?;
        let host_key_blob = reader.string()?;
        let server_share = reader.string()?;
        let signature = reader.string()?;
        reader.finish()?;
        let host_key = PublicKey::from_blob(host_key_blob)?;
        let client_share = share.public().to_vec();
        let secret = share.finish(server_share)?;
        let transcript = Transcript {
            client_version: self.setup.version.as_bytes(),
            server_version: &self.peer_version,
            client_init: self.our_init.as_deref().ok_or(Error::WrongState)?,
            server_init: &started.peer_init,
            host_key: host_key_blob,
            client_share: &client_share,
            server_share,
        };
        let hash = transcript.hash(&secret);
        host_key.verify(started.negotiated.host_key, &hash, signature)?;
        let keys = NewKeys {
            negotiated: started.negotiated,
            secret,
            hash,
        };
        match &self.host_key {
            None => {
                self.stage = Stage::HostKey(keys);
                self.host_key = Some(host_key.clone());
                Ok(Some(Incoming::HostKey(host_key)))
            }
            Some(known) if *known == host_key => self.send_newkeys(now, keys).map(|()| None),
            Some(_) => Err(Error::HostKeyChanged),
        }
    }

    /// The caller's word that the host key is the right one.
    pub fn accept_host_key(&mut self, now: Duration) -> Result<(), Error> {
        match core::mem::replace(&mut self.stage, Stage::Init) {
            Stage::HostKey(keys) => self.send_newkeys(now, keys),
            other => {
                self.stage = other;
                Err(Error::WrongState)
            }
        }
    }

    /// Sends NEWKEYS, uses the new keys for all that follows, and sends what was held back.
    fn send_newkeys(&mut self, now: Duration, keys: NewKeys) -> Result<(), Error> {
        let session = *self.session.as_ref().unwrap_or(&keys.hash);
        let first = self.session.is_none();
        let NewKeys {
            negotiated,
            secret,
            hash,
        } = &keys;
        let from_client =
            secret.packet_cipher(hash, &session, negotiated.client_to_server, true)?;
        let from_server =
            secret.packet_cipher(hash, &session, negotiated.server_to_client, false)?;
        let (to_peer, from_peer) = match self.setup.is_server {
            true => (from_server, from_client),
            false => (from_client, from_server),
        };
        self.seal(&[message::NEWKEYS])?;
        self.sealer.rekey(to_peer, self.strict);
        self.stage = Stage::NewKeys(from_peer);
        self.session = Some(session);
        self.negotiated = Some(keys.negotiated);
        self.our_init = None;
        self.rekey_at = now.saturating_add(self.setup.rekey_time);
        if first && self.setup.is_server && self.peer_takes_ext_info {
            self.send_ext_info()?;
        }
        self.held_len = 0;
        while let Some(payload) = self.held.pop_front() {
            self.seal(&payload)?;
        }
        Ok(())
    }

    fn send_ext_info(&mut self) -> Result<(), Error> {
        let mut payload = Vec::new();
        payload.put_u8(message::EXT_INFO);
        payload.put_u32(1);
        payload.put_string("server-sig-algs");
        payload.put_name_list(SignatureAlgorithm::ALL.iter().map(|a| a.name()));
        self.seal(&payload)
    }

    fn handle_newkeys(&mut self, payload: &[u8]) -> Result<Incoming, Error> {
        let Stage::NewKeys(cipher) = core::mem::replace(&mut self.stage, Stage::Init) else {
            return Err(Error::UnexpectedMessage(message::NEWKEYS));
        };
        if payload.len() != 1 {
            return Err(Error::Malformed);
        }
        self.opener.rekey(cipher, self.strict);
        self.kex_deadline = None;
        let first = !core::mem::replace(&mut self.keys_in_use, true);
        Ok(Incoming::KeysExchanged { first })
    }
}

/// Our identification string.
pub(crate) fn version_string(software: &str) -> String {
    let mut version = "SSH-2.0-".to_string();
    version.extend(
        software
            .chars()
            .filter(|c| c.is_ascii_graphic() && *c != '-')
            .take(200),
    );
    version
}
