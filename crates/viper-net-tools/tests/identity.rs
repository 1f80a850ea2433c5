//! Clients' certificates, asked for and shown, on the host.

mod support;

use std::net::TcpListener;
use std::sync::Arc;
use support::{CRYPTO, Host, Httpd, MemoryTree, Socket, now_s, own_identity, scripted};
use viper_net_tools::httpd::Settings;
use viper_net_tools::stream::{Fault, Secure, Stream, Wait};
use viper_tls::{Connection, Roots, ServerConfig};

/// An authority of clients, and certificates from it and from another one. All have the same key,
/// which `client.pem` has at its end.
const AUTHORITY: &[u8] = include_bytes!("../testdata/authority.pem");
const CLIENT: &[u8] = include_bytes!("../testdata/client.pem");
const STRANGER: &[u8] = include_bytes!("../testdata/stranger.pem");
const KEY: &[u8] = include_bytes!("../testdata/key.pem");

/// A server that asks for certificates, and somebody who trusts it.
fn asking(optional: bool) -> (Httpd, Host) {
    let (own, identity) = own_identity();
    let mut authorities = Roots::new();
    authorities.add(AUTHORITY).unwrap();
    let provider = Arc::new(CRYPTO.provider());
    let config = match optional {
        true => ServerConfig::asking_clients(provider, identity, authorities),
        false => ServerConfig::for_known_clients(provider, identity, authorities),
    };
    let tree = MemoryTree::with(&[("a", b"for friends")]);
    let server = Httpd::start(tree, Settings::default(), Some(config.unwrap()));
    let mut host = Host::default();
    host.roots.add(own.certificate_pem.as_bytes()).unwrap();
    for (name, file) in [("me", CLIENT), ("key", KEY), ("stranger", STRANGER)] {
        host.files.insert(name.into(), file.to_vec());
    }
    (server, host)
}

fn url(server: &Httpd, path: &str) -> String {
    format!("https://localhost:{}{path}", server.at.port())
}

#[test]
fn demanded() {
    let (server, mut host) = asking(false);
    let url = url(&server, "/a");
    for words in ["CERT me", "CERT me KEY key", "cert me noverify"] {
        assert_eq!(host.fetch(&format!("{url} {words}")), 0, "{}", host.shown);
        assert_eq!(host.output, b"for friends");
    }
    for (words, sentence) in [
        ("", "it wants a certificate of ours"),
        ("NOVERIFY", "it wants a certificate of ours"),
        (
            "CERT stranger KEY key",
            "our certificate is from an authority it does not know",
        ),
    ] {
        assert_eq!(host.fetch(&format!("{url} {words}")), 10);
        assert!(
            host.output.is_empty() && host.shown.contains(sentence),
            "{}",
            host.shown
        );
    }
}

#[test]
fn asked_for() {
    let (server, mut host) = asking(true);
    let there = url(&server, "/a");
    assert_eq!(host.fetch(&there), 0, "{}", host.shown);
    assert_eq!(host.fetch(&format!("{there} CERT me")), 0, "{}", host.shown);
    assert_eq!(host.fetch(&format!("{there} CERT stranger KEY key")), 10);
    // It is not about the certificate.
    assert_eq!(host.fetch(&url(&server, "/none")), 10);
    assert!(
        host.shown.ends_with("the server answered 404 Not Found\n"),
        "{}",
        host.shown
    );
}

#[test]
fn not_for_others() {
    // The first server is in clear text, and nobody's idea but that of a stranger is the second.
    let (second, mut host) = asking(false);
    let moved = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        url(&second, "/a")
    );
    let (at, first) = scripted(vec![moved.into_bytes()]);
    assert_eq!(host.fetch(&format!("http://{at}/ CERT me")), 10);
    assert!(
        host.shown.contains("it wants a certificate of ours"),
        "{}",
        host.shown
    );
    first.join().unwrap();
}

/// A server that takes any client, and answers as nginx does when it wants another one.
fn refusing(config: ServerConfig, status: &'static str) -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let tls = Connection::server(&config, Some(now_s())).unwrap();
        let mut stream = Secure::new(Socket::new(listener.accept().unwrap().0), tls);
        let mut request = Vec::new();
        let mut space = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.try_read(&mut space) {
                Ok(len) => request.extend_from_slice(&space[..len]),
                Err(Fault::WouldBlock) => stream.wait(u64::MAX).unwrap(),
                Err(fault) => panic!("{fault}"),
            }
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(stream.try_write(answer.as_bytes()), Ok(answer.len()));
        assert_eq!(stream.flush(), Ok(true));
    });
    (port, thread)
}

#[test]
fn refused_by_a_status() {
    let (own, identity) = own_identity();
    let mut authorities = Roots::new();
    authorities.add(AUTHORITY).unwrap();
    let provider = Arc::new(CRYPTO.provider());
    let plain = ServerConfig::new(provider.clone(), identity.clone()).unwrap();
    let asking = ServerConfig::asking_clients(provider, identity, authorities).unwrap();
    let mut host = Host::default();
    host.roots.add(own.certificate_pem.as_bytes()).unwrap();
    host.files.insert("me".into(), CLIENT.to_vec());
    for (config, status, words, sentence) in [
        (
            &asking,
            "400 Bad Request",
            "",
            "400 Bad Request; it wants a certificate of ours (CERT",
        ),
        (
            &asking,
            "400 Bad Request",
            "CERT me",
            "it asked for our certificate, and may not",
        ),
        (
            &asking,
            "404 Not Found",
            "",
            "the server answered 404 Not Found\n",
        ),
        (
            &plain,
            "403 Forbidden",
            "CERT me",
            "the server answered 403 Forbidden\n",
        ),
    ] {
        let (port, server) = refusing(config.clone(), status);
        assert_eq!(
            host.fetch(&format!("https://localhost:{port}/ {words}")),
            10
        );
        assert!(host.shown.contains(sentence), "{}", host.shown);
        server.join().unwrap();
    }
}
