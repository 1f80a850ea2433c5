//! Mutated input for both sides: recorded streams, and live connections.
//!
//! Live connections use a cipher that does not encrypt, so that what is behind the encryption is
//! mutated, too, and not merely refused for a wrong tag. Each run depends on its number alone.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError,
};
use rustls::crypto::{CryptoProvider, GetRandomFailed};
use rustls::{
    ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite, Tls13CipherSuite,
};
use std::cell::RefCell;
use std::sync::Arc;
use viper_tls::provider::{Crypto, FillFn};
use viper_tls::{
    ClientConfig, Connection, Error, Identity, Roots, SelfSigned, ServerConfig, UnixSeconds,
};

thread_local! {
    /// What both sides draw from.
    static SOURCE: RefCell<ChaCha20Rng> = RefCell::new(ChaCha20Rng::seed_from_u64(0));
}

fn fill(buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
    SOURCE.with(|source| source.borrow_mut().fill_bytes(buffer));
    Ok(())
}

static RANDOM: FillFn = FillFn(fill);
static CRYPTO: Crypto = Crypto::new(&RANDOM);

const NOW: UnixSeconds = UnixSeconds(1_795_305_600);
const HOST: &str = "host.example";

/// More than either buffer may ever hold.
const HELD_LEN_MAX: usize = 256 * 1024;

/// The configurations of both sides.
pub struct World {
    /// The second shows a certificate that is not meant for clients.
    clients: [ClientConfig; 2],
    servers: [ServerConfig; 2],
    corpus: Vec<Vec<u8>>,
}

impl World {
    pub fn new() -> Self {
        let provider = Arc::new(open_provider());
        let made = SelfSigned::new(&[HOST], NOW, 365, &RANDOM).expect("a certificate");
        let pem = made.certificate_pem.as_bytes();
        let identity = Identity::from_pem(pem, made.key_pem.as_bytes(), &provider);
        let identity = identity.expect("an identity");
        let roots = || {
            let mut roots = Roots::new();
            roots.add(pem).expect("a root");
            roots
        };
        let client = ClientConfig::new(provider.clone(), roots()).expect("a client");
        let client = client.with_alpn(&[b"http/1.1"]).with_sessions(2);
        let open = ServerConfig::new(provider.clone(), identity.clone()).expect("a server");
        let asking = ServerConfig::asking_clients(provider, identity.clone(), roots());
        let servers = [open, asking.expect("a server")]
            .map(|server| server.with_alpn(&[b"http/1.1"]).with_sessions(2));
        Self {
            clients: [client.clone(), client.with_identity(identity)],
            servers,
            corpus: corpus(),
        }
    }

    /// One run. What the mutated side said, if it noticed.
    pub fn run(&self, number: u64) -> Option<Error> {
        let mut random = ChaCha20Rng::seed_from_u64(number);
        SOURCE.with(|source| *source.borrow_mut() = ChaCha20Rng::seed_from_u64(!number));
        match random.next_u32() % 8 {
            0 => self.live(&mut random),
            _ => self.recorded(&mut random),
        }
    }

    /// A recorded stream, mutated, against a fresh client or server.
    fn recorded(&self, random: &mut ChaCha20Rng) -> Option<Error> {
        let mut bytes = self.corpus[below(random, self.corpus.len())].clone();
        for _ in 0..1 + below(random, 4) {
            mutate(&mut bytes, random);
        }
        let mut side = if random.next_u32().is_multiple_of(4) {
            self.connect(below(random, 2))
        } else {
            self.accept(random)
        };
        let result = feed(&mut side, &bytes, random);
        after(&mut side, result);
        result.err()
    }

    /// Both sides, with one flight mutated on its way.
    fn live(&self, random: &mut ChaCha20Rng) -> Option<Error> {
        let mut sides = [self.connect(below(random, 2)), self.accept(random)];
        let victim = below(random, 8);
        for flight in 0..24 {
            let (from, to) = (flight % 2, (flight + 1) % 2);
            if flight > 3 {
                act(&mut sides[from], random);
            }
            let mut bytes = sides[from].tls_output().to_vec();
            sides[from].output_sent(bytes.len());
            if flight == victim {
                mutate_record(&mut bytes, random);
            }
            let result = feed(&mut sides[to], &bytes, random);
            if result.is_err() {
                after(&mut sides[to], result);
                let alert = sides[to].tls_output().to_vec();
                let told = feed(&mut sides[from], &alert, random);
                after(&mut sides[from], told);
                return result.err();
            }
        }
        None
    }

    fn connect(&self, index: usize) -> Connection {
        Connection::client(&self.clients[index], HOST, Some(NOW)).expect("a client")
    }

    fn accept(&self, random: &mut ChaCha20Rng) -> Connection {
        let server = &self.servers[below(random, 2)];
        Connection::server(server, Some(NOW)).expect("a server")
    }

    /// The streams of undisturbed connections, one file per side and flight.
    pub fn record(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for (index, server) in self.servers.iter().enumerate() {
            let server = Connection::server(server, Some(NOW)).expect("a server");
            let mut sides = [self.connect(0), server];
            let mut random = ChaCha20Rng::seed_from_u64(1);
            for flight in 0..10 {
                let (from, to) = (flight % 2, (flight + 1) % 2);
                if flight > 3 {
                    let _ = sides[from].write_plain(b"some data");
                    let _ = sides[from].update_keys();
                }
                if flight > 7 {
                    let _ = sides[from].close_notify();
                }
                let bytes = sides[from].tls_output().to_vec();
                sides[from].output_sent(bytes.len());
                feed(&mut sides[to], &bytes, &mut random).expect("undisturbed");
                if !bytes.is_empty() {
                    let who = ["client", "server"][from];
                    files.push((format!("{index}_{flight}_{who}"), bytes));
                }
            }
        }
        files
    }
}

/// Something that a program does with a connection.
fn act(side: &mut Connection, random: &mut ChaCha20Rng) {
    // Errors are final, and looked at where they come up.
    let _ = match random.next_u32() % 8 {
        0 => side.update_keys(),
        1 => side.close_notify(),
        _ => side.write_plain(&[7; 100][..below(random, 100)]).map(drop),
    };
}

/// Feeds `bytes` in parts, reading what comes out.
fn feed(side: &mut Connection, mut bytes: &[u8], random: &mut ChaCha20Rng) -> Result<(), Error> {
    let part = if random.next_u32().is_multiple_of(4) {
        1 + below(random, 200)
    } else {
        usize::MAX
    };
    while !bytes.is_empty() {
        let taken = side.read_tls(&bytes[..bytes.len().min(part)])?;
        assert!(side.plain().len() < HELD_LEN_MAX && side.tls_output().len() < HELD_LEN_MAX);
        let plain_len = side.plain().len();
        side.plain_taken(plain_len);
        assert!(
            taken > 0 || plain_len > 0 || !side.tls_output().is_empty(),
            "stuck"
        );
        if taken == 0 && plain_len == 0 {
            return Ok(());
        }
        bytes = &bytes[taken..];
    }
    Ok(())
}

/// Errors are final.
fn after(side: &mut Connection, result: Result<(), Error>) {
    let Err(error) = result else {
        return;
    };
    assert_ne!(error, Error::Bug);
    assert_eq!(side.read_tls(&[0]), Err(error));
    assert_eq!(side.write_plain(b"x"), Err(error));
    assert_eq!(side.update_keys(), Err(error));
    assert_eq!(side.close_notify(), Err(error));
}

/// Changes the contents of a record, and mostly lets its length be right.
fn mutate_record(bytes: &mut Vec<u8>, random: &mut ChaCha20Rng) {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(&[high, low]) = bytes.get(at + 3..at + 5) {
        starts.push(at);
        at += 5 + usize::from(u16::from_be_bytes([high, low]));
    }
    if starts.is_empty() || random.next_u32().is_multiple_of(8) {
        return mutate(bytes, random);
    }
    let index = below(random, starts.len());
    let start = starts[index];
    let end = starts.get(index + 1).copied().unwrap_or(bytes.len());
    let mut contents = bytes[start + 5..end].to_vec();
    for _ in 0..1 + below(random, 3) {
        mutate(&mut contents, random);
    }
    contents.truncate(16 * 1024);
    let len = u16::try_from(contents.len()).expect("short");
    bytes[start + 3..start + 5].copy_from_slice(&len.to_be_bytes());
    bytes.splice(start + 5..end, contents);
}

fn mutate(bytes: &mut Vec<u8>, random: &mut ChaCha20Rng) {
    let at = below(random, bytes.len() + 1);
    let len = below(random, 16).min(bytes.len() - at);
    let any = [0, 1, 2, 0x7f, 0x80, 0xff, random.next_u32() as u8][below(random, 7)];
    match random.next_u32() % 7 {
        0 if at < bytes.len() => bytes[at] ^= 1 << (random.next_u32() % 8),
        1 if at < bytes.len() => bytes[at] = any,
        2 => bytes.insert(at, any),
        3 => drop(bytes.drain(at..at + len)),
        4 => {
            let part = bytes[at..at + len].to_vec();
            bytes.splice(at..at, part);
        }
        5 if random.next_u32().is_multiple_of(4) => bytes.truncate(at),
        6 if len >= 2 => {
            let number = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let other = [
                number.wrapping_add(1),
                number.wrapping_sub(1),
                0,
                0xffff,
                0x4000,
            ];
            bytes[at..at + 2].copy_from_slice(&other[below(random, 5)].to_be_bytes());
        }
        _ => {
            let from = below(random, bytes.len() + 1);
            let part = bytes[from..bytes.len().min(from + 64)].to_vec();
            bytes.splice(at..at + len, part);
        }
    }
}

fn below(random: &mut ChaCha20Rng, end: usize) -> usize {
    (random.next_u64() % end.max(1) as u64) as usize
}

/// The files in `corpus/`.
fn corpus() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("corpus/")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("a file"))
        .collect()
}

/// The provider with one suite that leaves everything in the open.
fn open_provider() -> CryptoProvider {
    let mut provider = CRYPTO.provider();
    let real = provider.cipher_suites[0].tls13().expect("TLS 1.3");
    let suite = Tls13CipherSuite {
        common: rustls::crypto::CipherSuiteCommon {
            suite: real.common.suite,
            hash_provider: real.common.hash_provider,
            confidentiality_limit: real.common.confidentiality_limit,
        },
        hkdf_provider: real.hkdf_provider,
        aead_alg: &InTheOpen,
        quic: None,
    };
    provider.cipher_suites = vec![SupportedCipherSuite::Tls13(Box::leak(Box::new(suite)))];
    provider.kx_groups = vec![CRYPTO.x25519(), CRYPTO.secp256r1()];
    provider
}

struct InTheOpen;

const TAG_LEN: usize = 16;

impl Tls13AeadAlgorithm for InTheOpen {
    fn encrypter(&self, _: AeadKey, _: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(InTheOpen)
    }

    fn decrypter(&self, _: AeadKey, _: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(InTheOpen)
    }

    fn key_len(&self) -> usize {
        16
    }

    fn extract_keys(
        &self,
        _: AeadKey,
        _: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

impl MessageEncrypter for InTheOpen {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        _: u64,
    ) -> Result<OutboundOpaqueMessage, rustls::Error> {
        let total_len = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(total_len);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        payload.extend_from_slice(&[0; TAG_LEN]);
        Ok(OutboundOpaqueMessage::new(
            ContentType::ApplicationData,
            ProtocolVersion::TLSv1_2,
            payload,
        ))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + 1 + TAG_LEN
    }
}

impl MessageDecrypter for InTheOpen {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        _: u64,
    ) -> Result<InboundPlainMessage<'a>, rustls::Error> {
        let len = message.payload.len().checked_sub(TAG_LEN);
        message
            .payload
            .truncate(len.ok_or(rustls::Error::DecryptError)?);
        message.into_tls13_unpadded_message()
    }
}
