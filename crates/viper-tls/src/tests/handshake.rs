//! Handshakes, data, and what comes after.

use super::pki::{Entity, Spec};
use super::*;
use crate::{Identity, Roots, SelfSigned};
use rustls::{CipherSuite, NamedGroup};

const HOST: &str = "host.example";

fn authority() -> Entity {
    Entity::self_signed(&Spec::authority("CN=authority"))
}

fn configs() -> (ClientConfig, ServerConfig) {
    configs_with(provider(), provider())
}

fn configs_with(
    client: Arc<CryptoProvider>,
    server: Arc<CryptoProvider>,
) -> (ClientConfig, ServerConfig) {
    let authority = authority();
    let identity = authority.signs(&Spec::server(HOST)).identity(&[]);
    (
        ClientConfig::new(client, authority.roots()).unwrap(),
        ServerConfig::new(server, identity).unwrap(),
    )
}

fn limited(suite: Option<usize>, group: Option<usize>) -> Arc<CryptoProvider> {
    let mut provider = CRYPTO.provider();
    if let Some(index) = suite {
        provider.cipher_suites = vec![provider.cipher_suites[index]];
    }
    if let Some(index) = group {
        provider.kx_groups = vec![provider.kx_groups[index]];
    }
    Arc::new(provider)
}

/// Sends `data` both ways and compares.
fn exchange(pair: &mut Pair, data: &[u8]) {
    let (mut sent, mut received) = (0, Vec::new());
    while sent < data.len() {
        sent += pair.client.write_plain(&data[sent..]).unwrap();
        pair.run().unwrap();
        received.extend(read_all(&mut pair.server));
    }
    assert!(received == data);
    let (mut sent, mut received) = (0, Vec::new());
    while sent < data.len() {
        sent += pair.server.write_plain(&data[sent..]).unwrap();
        pair.run().unwrap();
        received.extend(read_all(&mut pair.client));
    }
    assert!(received == data);
}

fn bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill(&mut bytes).unwrap();
    bytes
}

#[test]
fn every_suite_and_group() {
    let suites = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
    ];
    let groups = [
        NamedGroup::X25519MLKEM768,
        NamedGroup::X25519,
        NamedGroup::secp256r1,
        NamedGroup::secp384r1,
    ];
    for (suite, suite_id) in suites.into_iter().enumerate() {
        for (group, group_id) in groups.into_iter().enumerate() {
            let (client, server) = configs_with(limited(Some(suite), Some(group)), provider());
            let mut pair = Pair::new(&client, &server, HOST);
            pair.run().unwrap();
            for side in [&pair.client, &pair.server] {
                let peer = side.peer().unwrap();
                assert_eq!((peer.suite, peer.group), (suite_id, Some(group_id)));
                assert!(!peer.resumed && !peer.retried);
            }
            exchange(&mut pair, &bytes(40_000));
        }
    }
}

#[test]
fn byte_by_byte() {
    let (client, server) = configs();
    let mut pair = Pair::new(&client, &server, HOST);
    pair.run_in_parts(1).unwrap();
    assert!(pair.is_up());
    assert_eq!(pair.client.write_plain(b"hello"), Ok(5));
    pair.run_in_parts(1).unwrap();
    assert_eq!(read_all(&mut pair.server), b"hello");
}

#[test]
fn what_is_known_afterwards() {
    let (client, server) = configs();
    let client = client.with_alpn(&[b"h2", b"http/1.1"]);
    let server = server.with_alpn(&[b"http/1.1"]);
    let mut pair = Pair::new(&client, &server, HOST);
    assert!(pair.client.peer().is_none() && pair.server.peer().is_none());
    assert_eq!(pair.client.write_plain(b"too early"), Ok(0));
    pair.run().unwrap();
    let (server, client) = (pair.client.peer().unwrap(), pair.server.peer().unwrap());
    assert_eq!(server.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(client.alpn, server.alpn);
    assert_eq!(client.server_name.as_deref(), Some(HOST));
    assert_eq!(
        (server.certificates.len(), client.certificates.len()),
        (1, 0)
    );
    // The order of preference, and that the server keeps to the client's.
    assert_eq!(server.suite, CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(server.group, Some(NamedGroup::X25519MLKEM768));
}

#[test]
fn no_protocol_in_common() {
    let (client, server) = configs();
    let client = client.with_alpn(&[b"h2"]);
    let server = server.with_alpn(&[b"http/1.1"]);
    let mut pair = Pair::new(&client, &server, HOST);
    assert_eq!(pair.run(), Err((Who::Server, Error::NoCommonProtocol)));
    deliver(&mut pair.server, &mut pair.client, usize::MAX).unwrap_err();
    assert_eq!(pair.client.read_tls(&[0]), Err(Error::NoCommonProtocol));
}

#[test]
fn nothing_in_common() {
    let (client, server) = configs_with(limited(Some(0), None), limited(Some(1), None));
    let mut pair = Pair::new(&client, &server, HOST);
    assert_eq!(pair.run(), Err((Who::Server, Error::NothingInCommon)));
    let refused = deliver(&mut pair.server, &mut pair.client, usize::MAX);
    assert_eq!(refused, Err(Error::NothingInCommon));
}

#[test]
fn hello_retry_request() {
    for group in 1..4 {
        let (client, server) = configs_with(provider(), limited(None, Some(group)));
        let mut pair = Pair::new(&client, &server, HOST);
        pair.run().unwrap();
        // X25519 is offered along with the hybrid, so it needs no second round.
        let retried = group != 1;
        assert_eq!(pair.client.peer().unwrap().retried, retried);
        assert_eq!(pair.server.peer().unwrap().retried, retried);
        exchange(&mut pair, b"after a second hello");
    }
}

#[test]
fn resumption() {
    let (client, server) = configs();
    let (client, server) = (client.with_sessions(8), server.with_sessions(8));
    let resumed: Vec<bool> = (0..3)
        .map(|_| {
            let mut pair = Pair::new(&client, &server, HOST);
            pair.run().unwrap();
            exchange(&mut pair, b"data");
            let (server, client) = (pair.client.peer().unwrap(), pair.server.peer().unwrap());
            assert_eq!(server.resumed, client.resumed);
            assert_eq!(server.certificates.len(), 1, "remembered");
            server.resumed
        })
        .collect();
    assert_eq!(resumed, [false, true, true]);
    // Another host, another client: no session of theirs.
    let mut other = Pair::new(&client, &server, "other.example");
    assert_eq!(other.run(), Err((Who::Client, Error::WrongHost)));
    // A server that forgot.
    let (_, forgetful) = configs();
    let mut pair = Pair::new(&client, &forgetful, HOST);
    assert_eq!(pair.run(), Err((Who::Client, Error::BadSignature)));
}

#[test]
fn client_certificates() {
    let authority = authority();
    let server = authority.signs(&Spec::server(HOST)).identity(&[]);
    let known = authority.signs(&Spec::client()).identity(&[]);
    let base = ClientConfig::new(provider(), authority.roots()).unwrap();
    let roots = authority.roots();
    let demanding = ServerConfig::for_known_clients(provider(), server.clone(), roots).unwrap();
    let asking = ServerConfig::asking_clients(provider(), server, authority.roots()).unwrap();

    for config in [&demanding, &asking] {
        let client = base.clone().with_identity(known.clone());
        let mut pair = Pair::new(&client, config, HOST);
        pair.run().unwrap();
        assert_eq!(pair.server.peer().unwrap().certificates.len(), 1);
        assert_eq!(client.times_asked(), 1);
    }
    assert_eq!(base.times_asked(), 0);
    let mut pair = Pair::new(&base, &asking, HOST);
    pair.run().unwrap();
    assert!(pair.server.peer().unwrap().certificates.is_empty());

    let mut pair = Pair::new(&base, &demanding, HOST);
    assert_eq!(pair.run(), Err((Who::Server, Error::NoCertificate)));
    let refused = deliver(&mut pair.server, &mut pair.client, usize::MAX);
    assert_eq!(refused, Err(Error::Refused(116)));
    assert_eq!(base.times_asked(), 2);

    let strange = Entity::self_signed(&Spec::authority("CN=strange"));
    let stranger = strange.signs(&Spec::client()).identity(&[]);
    let wrong_use = authority.signs(&Spec::server(HOST)).identity(&[]);
    let mut old = Spec::client();
    old.not_after = NOW.0 - DAY;
    let expired = authority.signs(&old).identity(&[]);
    for (identity, error) in [
        (stranger, Error::UnknownAuthority),
        (wrong_use, Error::WrongUsage),
        (expired, Error::Expired),
    ] {
        for config in [&demanding, &asking] {
            let client = base.clone().with_identity(identity.clone());
            let mut pair = Pair::new(&client, config, HOST);
            assert_eq!(pair.run(), Err((Who::Server, error)));
        }
    }
    assert_eq!(
        Connection::server(&demanding, None).err(),
        Some(Error::NoClock)
    );
}

#[test]
fn new_keys_in_the_midst_of_data() {
    let (client, server) = configs();
    let mut pair = Pair::new(&client, &server, HOST);
    assert_eq!(pair.client.update_keys(), Err(Error::Closed));
    pair.run().unwrap();
    for _ in 0..3 {
        pair.client.update_keys().unwrap();
        exchange(&mut pair, &bytes(70_000));
        pair.server.update_keys().unwrap();
        pair.client.update_keys().unwrap();
        exchange(&mut pair, b"little");
    }
}

#[test]
fn closing() {
    let (client, server) = configs();
    let mut pair = Pair::new(&client, &server, HOST);
    pair.run().unwrap();
    assert_eq!(pair.client.write_plain(b"last words"), Ok(10));
    pair.client.close_notify().unwrap();
    pair.client.close_notify().unwrap();
    assert_eq!(pair.client.write_plain(b"more"), Err(Error::Closed));
    pair.run().unwrap();
    assert_eq!(read_all(&mut pair.server), b"last words");
    assert!(pair.server.peer_closed() && !pair.client.peer_closed());
    assert_eq!(pair.server.end_of_input(), Ok(()));
    // The other direction goes on.
    assert_eq!(pair.server.write_plain(b"answer"), Ok(6));
    pair.run().unwrap();
    assert_eq!(read_all(&mut pair.client), b"answer");
    assert_eq!(pair.client.end_of_input(), Err(Error::Truncated));
}

#[test]
fn buffers_are_bounded() {
    let (client, server) = configs();
    let mut pair = Pair::new(&client, &server, HOST);
    pair.run().unwrap();
    let data = bytes(1 << 20);
    let mut written = 0;
    loop {
        match pair.client.write_plain(&data[written..]).unwrap() {
            0 => break,
            len => written += len,
        }
    }
    assert!(written < 200_000 && pair.client.tls_output().len() < 210_000);
    let mut sent = Vec::from(pair.client.tls_output());
    while written < data.len() {
        pair.client.output_sent(usize::MAX);
        written += pair.client.write_plain(&data[written..]).unwrap();
        sent.extend_from_slice(pair.client.tls_output());
    }
    // The server takes no more than it can hold while nobody reads.
    let mut taken = 0;
    loop {
        match pair.server.read_tls(&sent[taken..]).unwrap() {
            0 => break,
            len => taken += len,
        }
    }
    assert!(taken < 100_000 && pair.server.plain().len() < 100_000);
    let mut read = read_all(&mut pair.server);
    sent.drain(..taken);
    while !sent.is_empty() {
        let taken = pair.server.read_tls(&sent).unwrap();
        sent.drain(..taken);
        read.extend(read_all(&mut pair.server));
    }
    assert!(read == data);
}

#[test]
fn damage_is_noticed() {
    let (client, server) = configs();
    let mut pair = Pair::new(&client, &server, HOST);
    pair.run().unwrap();
    pair.client.write_plain(b"data").unwrap();
    let mut record = pair.client.tls_output().to_vec();
    let last = record.len() - 1;
    record[last] ^= 1;
    assert_eq!(pair.server.read_tls(&record), Err(Error::BadRecord));
    assert_eq!(pair.server.read_tls(&record), Err(Error::BadRecord));
    assert_eq!(pair.server.write_plain(b"data"), Err(Error::BadRecord));
    // The alert reaches the client: bad_record_mac.
    let told = deliver(&mut pair.server, &mut pair.client, usize::MAX);
    assert_eq!(told, Err(Error::Refused(20)));
}

#[test]
fn without_a_clock() {
    let (client, server) = configs();
    let failed = Connection::client(&client, HOST, None);
    assert_eq!(failed.err(), Some(Error::NoClock));
    let trusting = ClientConfig::without_verification(provider()).unwrap();
    let trusting = trusting.with_sessions(4);
    let server = server.with_sessions(4);
    for _ in 0..2 {
        let mut pair = Pair {
            client: Connection::client(&trusting, HOST, None).unwrap(),
            server: Connection::server(&server, None).unwrap(),
        };
        pair.run().unwrap();
        exchange(&mut pair, b"data");
        assert!(!pair.client.peer().unwrap().resumed);
    }
}

#[test]
fn names() {
    let (client, _) = configs();
    for bad in ["", "a b", "a..b", "-", "1.2.3.4.5.", "http://host.example"] {
        let failed = Connection::client(&client, bad, Some(NOW));
        assert_eq!(failed.err(), Some(Error::BadName), "{bad}");
    }
    let empty = ClientConfig::new(provider(), Roots::new());
    assert_eq!(empty.err(), Some(Error::NoRoots));
}

#[test]
fn self_signed() {
    let names = [HOST, "10.0.2.15", "::1"];
    check_self_signed(
        &names,
        SelfSigned::with_ed25519(&names, NOW, 365, &RANDOM).unwrap(),
    );
    check_self_signed(&names, SelfSigned::new(&names, NOW, 365, &RANDOM).unwrap());
    assert_eq!(
        SelfSigned::new(&[], NOW, 1, &RANDOM).err(),
        Some(Error::BadName)
    );
    assert_eq!(
        SelfSigned::new(&["a b"], NOW, 1, &RANDOM).err(),
        Some(Error::BadName)
    );
    let far = UnixSeconds(u64::MAX);
    let failed = SelfSigned::new(&[HOST], far, 1, &RANDOM);
    assert_eq!(failed.err(), Some(Error::BadCertificate));
}

fn check_self_signed(names: &[&str], made: SelfSigned) {
    assert!(!format!("{made:?}").contains("PRIVATE"));
    let pem = made.certificate_pem.as_bytes();
    let identity = Identity::from_pem(pem, made.key_pem.as_bytes(), &provider()).unwrap();
    let server = ServerConfig::new(provider(), identity).unwrap();
    let mut roots = Roots::new();
    assert_eq!(roots.add(pem), Ok(1));
    let client = ClientConfig::new(provider(), roots).unwrap();
    for name in names {
        let mut pair = Pair::new(&client, &server, name);
        pair.run().unwrap();
    }
    let mut pair = Pair::new(&client, &server, "10.0.2.16");
    assert_eq!(pair.run(), Err((Who::Client, Error::WrongHost)));
    let stranger = ClientConfig::new(provider(), authority().roots()).unwrap();
    let mut pair = Pair::new(&stranger, &server, HOST);
    assert_eq!(pair.run(), Err((Who::Client, Error::SelfSigned)));
    let mut pair = Pair::new(&client, &server, HOST);
    pair.client = Connection::client(&client, HOST, Some(UnixSeconds(NOW.0 + 366 * DAY))).unwrap();
    assert_eq!(pair.run(), Err((Who::Client, Error::Expired)));
}

#[test]
fn files() {
    let mut roots = Roots::new();
    assert_eq!(roots.add(b""), Err(Error::BadCertificate));
    assert_eq!(roots.add(b"nothing here"), Err(Error::BadCertificate));
    let broken = b"-----BEGIN CERTIFICATE-----\nAAA=BBB\n-----END CERTIFICATE-----\n";
    assert_eq!(roots.add(broken), Err(Error::BadPem));
    let der = authority().der;
    assert_eq!(roots.add(&der[..der.len() - 1]), Err(Error::BadCertificate));
    let two = [&der[..], &authority().der].concat();
    assert_eq!(roots.add(&two), Ok(2));
    assert_eq!(roots.len(), 2);
    assert!(!roots.is_empty());

    let made = SelfSigned::new(&[HOST], NOW, 1, &RANDOM).unwrap();
    let other = SelfSigned::new(&[HOST], NOW, 1, &RANDOM).unwrap();
    let load = |chain: &str, key: &str| {
        Identity::from_pem(chain.as_bytes(), key.as_bytes(), &provider()).err()
    };
    let (chain, key) = (made.certificate_pem.as_str(), made.key_pem.as_str());
    assert_eq!(load(chain, key), None);
    assert_eq!(
        load(chain, other.key_pem.as_str()),
        Some(Error::KeyMismatch)
    );
    assert_eq!(load(chain, chain), Some(Error::BadKey));
    assert_eq!(load(key, key), Some(Error::BadCertificate));
    assert_eq!(
        load(&format!("{chain}{key}"), &format!("{chain}{key}")),
        None
    );
}

/// A ServerHello of TLS 1.2, as an answer to this ClientHello, whose random value ends so.
fn old_server_hello(client_hello: &[u8], end: &[u8; 8]) -> Vec<u8> {
    let session_len = usize::from(client_hello[43]);
    let mut body = vec![3, 3];
    body.extend([0x55; 24]);
    body.extend(end);
    body.extend(&client_hello[43..44 + session_len]);
    // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, no compression.
    body.extend([0xc0, 0x2b, 0]);
    let mut record = vec![22, 3, 3, 0, body.len() as u8 + 4, 2, 0, 0, body.len() as u8];
    record.extend(body);
    record
}

#[test]
fn who_was_talked_into_an_older_version_is_told_apart() {
    let (config, _) = configs();
    for (end, error) in [
        (b"DOWNGRD\x01", Error::Downgraded),
        (b"DOWNGRD\x00", Error::Downgraded),
        (b"DOWNGRD\x02", Error::OldVersion),
        (b"\x55\x55\x55\x55\x55\x55\x55\x55", Error::OldVersion),
    ] {
        for part in [1, 40, 1000] {
            let mut client = Connection::client(&config, HOST, Some(NOW)).unwrap();
            let hello = old_server_hello(client.tls_output(), end);
            let mut result = Ok(0);
            for piece in hello.chunks(part) {
                result = client.read_tls(piece);
                if result.is_err() {
                    break;
                }
            }
            assert_eq!(result, Err(error), "{end:?} in parts of {part}");
            assert_eq!(client.read_tls(b"x"), Err(error));
        }
    }
}
