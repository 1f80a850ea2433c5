//! Every suite and group the two providers have in common, each provider on each side.

use rustls::crypto::{CryptoProvider, GetRandomFailed};
use rustls::{CipherSuite, NamedGroup, ProtocolVersion};
use std::io::Read;
use std::sync::Arc;
use viper_tls::UnixSeconds;
use viper_tls::provider::{Crypto, FillFn};
use viper_tls::{ClientConfig, Connection, Error, Identity, Roots, SelfSigned, ServerConfig};

fn fill(buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
    let source = std::fs::File::open("/dev/urandom");
    let filled = source.and_then(|mut source| source.read_exact(buffer));
    filled.map_err(|_| GetRandomFailed)
}

static RANDOM: FillFn = FillFn(fill);
static CRYPTO: Crypto = Crypto::new(&RANDOM);

const HOST: &str = "host.example";
const NOW: UnixSeconds = UnixSeconds(1_795_305_600);

const SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// The groups of 0.0.2-alpha.
const GROUPS: [NamedGroup; 3] = [
    NamedGroup::X25519,
    NamedGroup::secp256r1,
    NamedGroup::secp384r1,
];

/// One provider with one suite and one group.
fn only(mut provider: CryptoProvider, suite: CipherSuite, group: NamedGroup) -> CryptoProvider {
    provider
        .cipher_suites
        .retain(|it| it.suite() == suite && it.version().version == ProtocolVersion::TLSv1_3);
    provider.kx_groups.retain(|it| it.name() == group);
    assert_eq!(
        (provider.cipher_suites.len(), provider.kx_groups.len()),
        (1, 1)
    );
    provider
}

fn deliver(from: &mut Connection, to: &mut Connection) -> Result<(), Error> {
    let taken = to.read_tls(from.tls_output())?;
    from.output_sent(taken);
    Ok(())
}

/// A handshake, data both ways, and the same once more with the session.
fn talk(client: CryptoProvider, server: CryptoProvider) -> Result<(), Error> {
    let (client, server) = (Arc::new(client), Arc::new(server));
    let made = SelfSigned::new(&[HOST], NOW, 1, &RANDOM)?;
    let pem = made.certificate_pem.as_bytes();
    let identity = Identity::from_pem(pem, made.key_pem.as_bytes(), &server)?;
    let mut roots = Roots::new();
    roots.add(pem)?;
    let client = ClientConfig::new(client, roots)?.with_sessions(4);
    let server = ServerConfig::new(server, identity)?.with_sessions(4);
    for resumed in [false, true] {
        let mut client = Connection::client(&client, HOST, Some(NOW))?;
        let mut server = Connection::server(&server, Some(NOW))?;
        while client.is_handshaking() || server.is_handshaking() {
            deliver(&mut client, &mut server)?;
            deliver(&mut server, &mut client)?;
        }
        assert_eq!(client.write_plain(&[7; 10_000])?, 10_000);
        client.update_keys()?;
        assert_eq!(server.write_plain(&[9; 10_000])?, 10_000);
        deliver(&mut client, &mut server)?;
        deliver(&mut server, &mut client)?;
        assert_eq!(server.plain(), [7; 10_000]);
        assert_eq!(client.plain(), [9; 10_000]);
        assert_eq!(client.peer().map(|peer| peer.resumed), Some(resumed));
    }
    Ok(())
}

#[test]
fn each_provider_on_each_side() {
    for suite in SUITES {
        for group in GROUPS {
            let ours = || only(CRYPTO.provider(), suite, group);
            let theirs = || only(rustls_rustcrypto::provider(), suite, group);
            assert_eq!(talk(theirs(), ours()), Ok(()), "{suite:?} {group:?}");
            assert_eq!(talk(ours(), theirs()), Ok(()), "{suite:?} {group:?}");
            assert_eq!(talk(theirs(), theirs()), Ok(()), "{suite:?} {group:?}");
        }
    }
}

/// The reason why it is not the one that ships, besides its age.
#[test]
fn where_they_differ() {
    let limit = |provider: CryptoProvider| {
        let suite = only(provider, SUITES[0], GROUPS[0]).cipher_suites[0];
        suite
            .tls13()
            .map(|suite| suite.common.confidentiality_limit)
    };
    assert_eq!(limit(CRYPTO.provider()), Some(1 << 24));
    assert_eq!(limit(rustls_rustcrypto::provider()), Some(u64::MAX));
}
