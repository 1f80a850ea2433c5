//! Rows of cryptography: ciphers by themselves, and TLS with both ends in this process.

use super::{Figure, Sampler};
use alloc::sync::Arc;
use alloc::vec;
use rustls::crypto::GetRandomFailed;
use rustls::crypto::cipher::{AeadKey, Iv, OutboundPlainMessage};
use rustls::{ContentType, ProtocolVersion, SupportedCipherSuite};
use viper_rt::Error;
use viper_tls::provider::{Crypto, FillFn, suite};
use viper_tls::{ClientConfig, Connection, Identity, Roots, SelfSigned, ServerConfig, UnixSeconds};

type Row = (&'static str, fn(&Sampler) -> Result<Figure, Error>);

/// The rows, in order.
pub(super) const ROWS: &[Row] = &[
    ("aes-128-gcm", |s| {
        cipher(s, "aes-128-gcm", suite::TLS13_AES_128_GCM_SHA256)
    }),
    ("chacha20-poly1305", |s| {
        let suite = suite::TLS13_CHACHA20_POLY1305_SHA256;
        cipher(s, "chacha20-poly1305", suite)
    }),
    ("tls-handshake", |s| {
        handshake(s, "tls-handshake", Kind::Classical)
    }),
    ("tls-handshake-default", |s| {
        handshake(s, "tls-handshake-default", Kind::Default)
    }),
];

/// A full record.
const RECORD_LEN: usize = 16 * 1024;

/// Protects full records, as a connection does. In instructions per KiB.
fn cipher(
    sampler: &Sampler,
    name: &'static str,
    suite: SupportedCipherSuite,
) -> Result<Figure, Error> {
    let suite = suite.tls13().ok_or(Error::NotSupported)?;
    let (key, iv) = (AeadKey::from([1; 32]), Iv::from([2; 12]));
    let mut encrypter = suite.aead_alg.encrypter(key, iv);
    let data = vec![3; RECORD_LEN];
    let mut sequence = 0;
    let mut figure = sampler.take(21, name, 31, || {
        let message = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_3,
            payload: data.as_slice().into(),
        };
        sequence += 1;
        let sealed = encrypter.encrypt(message, sequence);
        sealed.map(drop).map_err(|_| Error::NotSupported)
    })?;
    figure.value /= (RECORD_LEN / 1024) as u32;
    figure.unit = "instructions/KiB";
    Ok(figure)
}

/// What a handshake is made of.
#[derive(Clone, Copy)]
enum Kind {
    /// X25519, and a certificate of Ed25519 that is verified.
    Classical,
    /// X25519MLKEM768, and a certificate of ECDSA with P-256.
    Default,
}

/// A full handshake of a client and a server, from nothing to both being done.
fn handshake(sampler: &Sampler, name: &'static str, kind: Kind) -> Result<Figure, Error> {
    let (client, server) = configs(kind).map_err(|_| Error::NotSupported)?;
    sampler.take(22, name, 11, || {
        let connected = connect(&client, &server);
        connected.map_err(|_| Error::NotSupported)
    })
}

const HOST: &str = "host.example";
const NOW: UnixSeconds = UnixSeconds(1_795_305_600);

fn configs(kind: Kind) -> Result<(ClientConfig, ServerConfig), viper_tls::Error> {
    let mut provider = CRYPTO.provider();
    let made = match kind {
        Kind::Classical => {
            provider.kx_groups = vec![CRYPTO.x25519()];
            SelfSigned::with_ed25519(&[HOST], NOW, 1, &RANDOM)?
        }
        Kind::Default => SelfSigned::new(&[HOST], NOW, 1, &RANDOM)?,
    };
    let provider = Arc::new(provider);
    let pem = made.certificate_pem.as_bytes();
    let identity = Identity::from_pem(pem, made.key_pem.as_bytes(), &provider)?;
    let mut roots = Roots::new();
    roots.add(pem)?;
    Ok((
        ClientConfig::new(provider.clone(), roots)?,
        ServerConfig::new(provider, identity)?,
    ))
}

fn connect(client: &ClientConfig, server: &ServerConfig) -> Result<(), viper_tls::Error> {
    let mut client = Connection::client(client, HOST, Some(NOW))?;
    let mut server = Connection::server(server, Some(NOW))?;
    while client.is_handshaking() || server.is_handshaking() {
        let taken = server.read_tls(client.tls_output())?;
        client.output_sent(taken);
        let taken = client.read_tls(server.tls_output())?;
        server.output_sent(taken);
    }
    Ok(())
}

static RANDOM: FillFn = FillFn(fill);
static CRYPTO: Crypto = Crypto::new(&RANDOM);

/// A figure needs no secrets.
#[expect(clippy::unnecessary_wraps, reason = "sources may fail")]
fn fill(buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
    for (place, byte) in buffer.iter_mut().zip((1..=251).cycle()) {
        *place = byte;
    }
    Ok(())
}
