//! `httpd` on the host's sockets.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};
use support::{Host, Httpd, MemoryTree, noise, own_certificate, talk};
use viper_http::server::{Config, Timeouts};
use viper_net_tools::httpd::{Arguments, Settings};

const FILES: &[(&str, &[u8])] = &[
    ("hello.txt", b"hello, world"),
    ("empty", b""),
    ("site/index.html", b"<p>index"),
    ("docs/a&b <c>.txt", b"x"),
    ("docs/100%.html", b"percent"),
    ("docs/deep/down", b"y"),
    ("shrinks", b"0123456789"),
];

fn get(server: &Httpd, path: &str, fields: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    talk(server.at, request.as_bytes())
}

fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(0)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn files_and_folders() {
    let server = Httpd::plain(FILES);
    let answer = get(&server, "/hello.txt", "");
    assert_eq!(body(&answer), "hello, world");
    for field in [
        "HTTP/1.1 200 OK\r\n",
        "Content-Length: 12\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n",
        "ETag: \"7-c\"\r\n",
        "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "Accept-Ranges: bytes\r\n",
        "Date: Sun, 22 Nov 2026 00:00:00 GMT\r\n",
        "X-Content-Type-Options: nosniff\r\n",
    ] {
        assert!(answer.contains(field), "{field} not in {answer}");
    }
    assert_eq!(body(&get(&server, "/empty", "")), "");
    assert_eq!(body(&get(&server, "/site/", "")), "<p>index");
    let moved = get(&server, "/site?a=b", "");
    assert_eq!(status(&moved), 301);
    assert!(moved.contains("Location: /site/?a=b\r\n"), "{moved}");
    let listing = get(&server, "/docs/", "");
    assert!(listing.contains("<a href=\"./a%26b%20%3Cc%3E.txt\">a&amp;b &lt;c&gt;.txt</a>"));
    assert!(listing.contains("<a href=\"./deep/\">deep/</a>"));
    assert!(listing.contains("<a href=\"./100%25.html\">"));
    assert_eq!(body(&get(&server, "/docs/a%26b%20%3Cc%3E.txt", "")), "x");
    for (path, code) in [
        ("/nothing", 404),
        ("/hello.txt/", 404),
        ("/docs/../hello.txt", 404),
        ("/%2e%2e/etc/passwd", 404),
        ("//hello.txt", 404),
        ("/docs%2fdeep", 404),
        ("/broken", 503),
        ("http://other/hello.txt", 200),
    ] {
        assert_eq!(status(&get(&server, path, "")), code, "{path}");
    }
}

#[test]
fn methods() {
    let server = Httpd::plain(FILES);
    let ask = |method: &str| {
        let request =
            format!("{method} /hello.txt HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxy");
        talk(server.at, request.as_bytes())
    };
    let head = ask("HEAD");
    assert!(
        head.contains("Content-Length: 12\r\n") && body(&head).is_empty(),
        "{head}"
    );
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
        let answer = ask(method);
        assert_eq!(status(&answer), 405, "{method}");
        assert!(answer.contains("Allow: GET, HEAD, OPTIONS\r\n"));
    }
    assert_eq!(status(&ask("OPTIONS")), 204);
    assert_eq!(
        status(&talk(
            server.at,
            b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n"
        )),
        400
    );
    assert_eq!(
        status(&talk(server.at, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")),
        400
    );
}

#[test]
fn ranges_and_conditions() {
    let server = Httpd::plain(FILES);
    for (fields, code, text) in [
        ("Range: bytes=7-\r\n", 206, "world"),
        ("Range: bytes=-5\r\n", 206, "world"),
        ("Range: bytes=0-4\r\n", 206, "hello"),
        ("Range: bytes=0-4\r\nIf-Range: \"7-c\"\r\n", 206, "hello"),
        (
            "Range: bytes=0-4\r\nIf-Range: \"other\"\r\n",
            200,
            "hello, world",
        ),
        ("Range: bytes=12-\r\n", 416, ""),
        ("Range: bytes=0-1,3-4\r\n", 200, "hello, world"),
        ("If-None-Match: \"7-c\"\r\n", 304, ""),
        ("If-None-Match: \"8-c\"\r\n", 200, "hello, world"),
        (
            "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            304,
            "",
        ),
        ("If-Match: \"x\"\r\n", 412, ""),
    ] {
        let answer = get(&server, "/hello.txt", fields);
        assert_eq!((status(&answer), body(&answer)), (code, text), "{fields}");
    }
    let part = get(&server, "/hello.txt", "Range: bytes=7-\r\n");
    assert!(part.contains("Content-Range: bytes 7-11/12\r\n"), "{part}");
    let none = get(&server, "/hello.txt", "Range: bytes=12-\r\n");
    assert!(none.contains("Content-Range: bytes */12\r\n"), "{none}");
    // Without Content-Length, and so keep-alive goes on.
    let twice = "GET /hello.txt HTTP/1.1\r\nHost: h\r\nIf-None-Match: *\r\n\r\n".repeat(2);
    assert_eq!(
        talk(server.at, twice.as_bytes()).matches("304 Not").count(),
        2
    );
}

#[test]
fn one_connection_many_requests() {
    let server = Httpd::plain(FILES);
    let stream = "GET /hello.txt HTTP/1.1\r\nHost: h\r\n\r\n".repeat(100);
    let answer = talk(server.at, stream.as_bytes());
    assert_eq!(answer.matches("hello, world").count(), 100);
    assert_eq!(server.stop().connections, 1);
}

#[test]
fn a_file_that_shrinks_is_not_passed_off_as_whole() {
    let tree = MemoryTree::with(&[("shrinks", &[b'x'; 100_000])]);
    let server = Httpd::start(tree, Settings::default(), None);
    let answer = get(&server, "/shrinks", "");
    assert!(answer.contains("Content-Length: 100000\r\n"));
    assert!(body(&answer).len() < 100_000);
}

#[test]
fn nobody_blocks_anybody() {
    let large = noise(8 << 20);
    let tree = MemoryTree::with(&[("large", &large), ("small", b"quick")]);
    let server = Httpd::start(tree, Settings::default(), None);
    // Some ask for much and read nothing, some never finish asking, some say nothing.
    let mut hogs = Vec::new();
    for at in 0..20 {
        let mut hog = TcpStream::connect(server.at).unwrap();
        let text = match at % 3 {
            0 => "GET /large HTTP/1.1\r\nHost: h\r\n\r\n".repeat(20),
            1 => "GET /small HTTP/1.1\r\nHo".into(),
            _ => String::new(),
        };
        hog.write_all(text.as_bytes()).unwrap();
        hogs.push(hog);
    }
    let start = Instant::now();
    for _ in 0..50 {
        assert_eq!(
            body(&get(&server, "/small", "Connection: close\r\n")),
            "quick"
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn many_clients_at_once() {
    let data = noise(300_000);
    let tree = MemoryTree::with(&[("data", &data)]);
    let server = Httpd::start(tree, Settings::default(), None);
    let url = server.url("/data");
    let threads: Vec<_> = (0..40)
        .map(|_| {
            let (url, data) = (url.clone(), data.clone());
            thread::spawn(move || {
                let mut host = Host::default();
                assert_eq!(host.fetch(&url), 0, "{}", host.shown);
                assert!(host.output == data);
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(server.stop().connections, 40);
}

#[test]
fn silent_clients_lose_their_places() {
    let settings = Settings {
        clients_max: 4,
        ..Settings::default()
    };
    let server = Httpd::start(MemoryTree::with(FILES), settings, None);
    let silent: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(server.at).unwrap())
        .collect();
    thread::sleep(Duration::from_millis(1200));
    for _ in 0..4 {
        assert_eq!(body(&get(&server, "/hello.txt", "")), "hello, world");
    }
    drop(silent);
    assert!(server.stop().dropped >= 1);
}

#[test]
fn slow_clients_are_told_and_left() {
    let connection = Config {
        timeouts: Timeouts {
            idle: Duration::from_millis(200),
            head: Duration::from_millis(300),
            progress: Duration::from_millis(300),
        },
        ..Config::default()
    };
    let settings = Settings {
        connection,
        ..Settings::default()
    };
    let server = Httpd::start(MemoryTree::with(FILES), settings, None);
    let read = |text: &[u8]| {
        let mut stream = TcpStream::connect(server.at).unwrap();
        stream.write_all(text).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        all
    };
    assert_eq!(read(b""), "");
    assert_eq!(status(&read(b"GET / HTTP/1.1\r\nHost:")), 408);
}

#[test]
fn over_tls() {
    let (own, config) = own_certificate();
    let data = noise(300_000);
    let tree = MemoryTree::with(&[("data", &data)]);
    let server = Httpd::start(tree, Settings::default(), Some(config));
    let url = format!("https://localhost:{}/data", server.at.port());
    let mut host = Host::default();
    host.roots.add(own.certificate_pem.as_bytes()).unwrap();
    assert_eq!(host.fetch(&url), 0, "{}", host.shown);
    assert!(host.output == data);
    assert_eq!(
        host.fetch(&format!("https://127.0.0.1:{}/data", server.at.port())),
        0
    );

    // Trusting somebody else is not enough, unless the user says so.
    let (other, _) = own_certificate();
    let mut stranger = Host::default();
    stranger
        .roots
        .add(other.certificate_pem.as_bytes())
        .unwrap();
    assert_eq!(stranger.fetch(&url), 10);
    assert!(stranger.shown.contains("certificate"), "{}", stranger.shown);
    assert!(stranger.output.is_empty());
    assert_eq!(stranger.fetch(&format!("{url} NOVERIFY")), 0);
    assert!(stranger.output == data);

    // Clear text at the TLS port.
    let text = talk(server.at, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(!text.contains("HTTP/1.1"), "{text}");
}

#[test]
fn words() {
    let parse = |text: &str| Arguments::parse(text.split_whitespace());
    let plain = parse("").unwrap();
    assert_eq!((plain.port, plain.tls_port), (80, 0));
    // Whoever asks for certificates serves nothing in clear text, unless told to.
    let asking = parse("T:site TLSPORT 443 CLIENTCA S:ca.pem").unwrap();
    assert_eq!((asking.port, asking.tls_port), (0, 443));
    assert_eq!(asking.client_authority.as_deref(), Some("S:ca.pem"));
    assert!(!asking.client_optional);
    let both = parse("TLSPORT 443 PORT 80 CLIENTCA c OPTIONAL").unwrap();
    assert!(both.port == 80 && both.client_optional);
    for bad in [
        "CLIENTCA c",
        "TLSPORT 443 CLIENTCA",
        "TLSPORT 443 OPTIONAL",
        "PORT 0",
        "a b",
        "CLIENTS 0",
        "PORT 70000",
    ] {
        let message = parse(bad).expect_err(bad);
        assert!(!message.contains('\n') && !message.is_empty());
    }
}

/// What TLS refuses is told, and the client can go on sending until it has heard it.
#[test]
fn refusals_are_heard() {
    let (_, config) = own_certificate();
    let server = Httpd::start(MemoryTree::with(FILES), Settings::default(), Some(config));
    let mut stream = TcpStream::connect(server.at).unwrap();
    let nonsense = [b'x'; 100_000];
    stream.write_all(&nonsense).unwrap();
    thread::sleep(Duration::from_millis(300));
    stream.write_all(&nonsense).unwrap();
    let mut alert = [0; 7];
    stream.read_exact(&mut alert).unwrap();
    // A fatal alert, in a record of its own.
    assert_eq!(alert[..2], [21, 3]);
    assert_eq!(alert[3..6], [0, 2, 2]);
}
