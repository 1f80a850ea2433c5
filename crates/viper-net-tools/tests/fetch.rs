//! `fetch` against servers on the host.

mod support;

use support::{Host, Httpd, MemoryTree, noise, scripted};
use viper_net_tools::fetch::Arguments;
use viper_net_tools::httpd::Settings;

/// Answers, what `fetch` writes, its code, and what its message says.
#[test]
fn answers() {
    let gzip = std::fs::read("../viper-http/corpus/response/gzip-chunked").unwrap();
    let text = "hello hello hello hello\n".repeat(20);
    for (answer, output, code, says) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], "ok", 0, ""),
        (b"HTTP/1.0 200 OK\r\n\r\nold", "old", 0, ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\nT: x\r\n\r\n", "abcd", 0, ""),
        (&gzip, &text, 0, ""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "", 0, ""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\noops", "", 10, "404 Not Found"),
        (b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", "", 10, "500 Internal Server Error"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "", 10, "302 Found"),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\n\r\n", "", 10, "redirect to nowhere"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "abc", 10, "closed before the end"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", "", 10, "unknown content coding"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/5\r\nContent-Length: 2\r\n\r\nab", "", 10, "another part"),
        (b"", "", 10, "closed before the end"),
        (b"SSH-2.0-x\r\n\r\n", "", 10, "neither HTTP/1.0 nor"),
    ] {
        let (at, server) = scripted(vec![answer.to_vec()]);
        let mut host = Host::default();
        let got = host.fetch(&format!("http://{at}/x"));
        let shown = &host.shown;
        assert_eq!(got, code, "{shown}");
        assert_eq!(String::from_utf8_lossy(&host.output), output);
        assert!(shown.contains(says) && shown.lines().count() <= 1, "{shown}");
        assert_eq!(shown.is_empty(), code == 0);
        server.join().unwrap();
    }
}

#[test]
fn nobody_there() {
    let mut host = Host::default();
    assert_eq!(host.fetch("http://127.0.0.1:1/"), 10);
    assert!(
        host.shown.starts_with("fetch: http://127.0.0.1:1/: "),
        "{}",
        host.shown
    );
}

#[test]
fn a_silent_server() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut host = Host::default();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    assert_eq!(host.fetch(&format!("{url} TIMEOUT 0")), 10);
    assert!(host.shown.contains("took too long"), "{}", host.shown);
}

#[test]
fn redirects() {
    let to = |location: &str| {
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
            .into_bytes()
    };
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    let (other, second) = scripted(vec![ok.clone()]);
    let (at, first) = scripted(vec![to("../b?c"), to(&format!("http://{other}/there"))]);
    let mut host = Host::default();
    assert_eq!(
        host.fetch(&format!("http://user:secret@{at}/d/a HEADER X-Key:1")),
        0
    );
    assert_eq!(host.output, b"ok");
    let (first, second) = (first.join().unwrap(), second.join().unwrap());
    assert!(first[0].starts_with("GET /d/a HTTP/1.1\r\n"));
    assert!(first[1].starts_with("GET /b?c HTTP/1.1\r\n"));
    for request in &first {
        assert!(
            request.contains("Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"),
            "{request}"
        );
        assert!(request.contains("X-Key: 1\r\n"));
    }
    assert!(second[0].starts_with("GET /there HTTP/1.1\r\n"));
    assert!(!second[0].contains("Authorization") && !second[0].contains("X-Key"));

    let (at, server) = scripted(vec![to("/again"); 11]);
    assert_eq!(host.fetch(&format!("http://{at}/")), 10);
    assert!(host.shown.contains("too many redirects"), "{}", host.shown);
    server.join().unwrap();
}

#[test]
fn to_a_file() {
    let data = noise(1 << 20);
    let server = Httpd::start(
        MemoryTree::with(&[("data", &data)]),
        Settings::default(),
        None,
    );
    let mut host = Host::default();
    assert_eq!(host.fetch(&format!("{} TO new", server.url("/data"))), 0);
    assert!(host.files["new"] == data && host.files.len() == 1);
    assert!(host.shown.starts_with("new: 1.0 MiB in ") && host.output.is_empty());
    assert_eq!(
        host.fetch(&format!("{} QUIET TO new", server.url("/data"))),
        0
    );
    assert_eq!(host.shown, "");
    // What was there before stays when nothing comes.
    assert_eq!(host.fetch(&format!("{} TO new", server.url("/none"))), 10);
    assert!(host.files["new"] == data && host.files.len() == 1);
}

#[test]
fn several_over_one_connection() {
    let server = Httpd::plain(&[("a", b"first "), ("b", b"second"), ("d/c", b"third")]);
    let mut host = Host::default();
    let urls = ["/a", "/none", "/b"].map(|path| server.url(path)).join(" ");
    assert_eq!(host.fetch(&urls), 10);
    assert_eq!(host.output, b"first second");
    assert!(
        host.shown.contains("/none: the server answered 404"),
        "{}",
        host.shown
    );
    assert_eq!(host.connections, 1);
    // Into a folder, each under its own name.
    let urls = ["/a", "/d/c"].map(|path| server.url(path)).join(" ");
    assert_eq!(host.fetch(&format!("{urls} QUIET TO T:")), 0);
    assert_eq!(host.files["T:a"], b"first ");
    assert_eq!(host.files["T:c"], b"third");
    assert_eq!(host.connections, 1);
    let done = server.stop();
    assert_eq!((done.connections, done.requests), (2, 5));
}

#[test]
fn connections_that_the_server_closes() {
    let ok =
        |more: &str| format!("HTTP/1.1 200 OK\r\n{more}Content-Length: 2\r\n\r\nok").into_bytes();
    // One says so, one does not, one cannot keep it open.
    let old = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    let (at, server) = scripted(vec![ok("Connection: close\r\n"), ok(""), old, ok("")]);
    let mut host = Host::default();
    let url = format!("http://{at}/x");
    assert_eq!(
        host.fetch(&format!("{url} {url} {url} {url}")),
        0,
        "{}",
        host.shown
    );
    assert_eq!(host.output, b"okokokok");
    assert_eq!(server.join().unwrap().len(), 4);
    // Nobody there any more: that is told, and what came before stays.
    let (at, server) = scripted(vec![ok("")]);
    let url = format!("http://{at}/x");
    assert_eq!(host.fetch(&format!("{url} {url}")), 10);
    assert_eq!(host.output, b"ok");
    server.join().unwrap();
}

#[test]
fn head() {
    let server = Httpd::plain(&[("a", b"abc")]);
    let mut host = Host::default();
    assert_eq!(host.fetch(&format!("{} HEAD", server.url("/a"))), 0);
    let text = String::from_utf8(host.output.clone()).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\n") && text.contains("Content-Length: 3\n"));
    assert_eq!(host.fetch(&format!("{} HEAD", server.url("/b"))), 10);
    assert!(host.output.starts_with(b"HTTP/1.1 404 Not Found\n"));
}

#[test]
fn ranges() {
    let server = Httpd::plain(&[("a", b"0123456789")]);
    let mut host = Host::default();
    for (range, text) in [("2-4", "234"), ("7-", "789"), ("-3", "789")] {
        assert_eq!(
            host.fetch(&format!("{} RANGE {range}", server.url("/a"))),
            0
        );
        assert_eq!(host.output, text.as_bytes());
    }
    assert_eq!(host.fetch(&format!("{} RANGE 10-", server.url("/a"))), 10);
    assert!(host.shown.contains("416"), "{}", host.shown);
}

#[test]
fn what_was_cut_off_is_kept_and_resumed() {
    let data = noise(200_000);
    let cut = [
        b"HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\nContent-Length: 200000\r\n\r\n".to_vec(),
        data[..70_000].to_vec(),
    ]
    .concat();
    let (at, broken) = scripted(vec![cut]);
    let mut host = Host::default();
    assert_eq!(host.fetch(&format!("http://{at}/data TO f")), 10);
    assert!(
        host.shown.contains("f.part has the first 70000 bytes"),
        "{}",
        host.shown
    );
    assert!(host.files["f.part"] == data[..70_000]);
    broken.join().unwrap();

    let server = Httpd::start(
        MemoryTree::with(&[("data", &data)]),
        Settings::default(),
        None,
    );
    let again = format!("{} RESUME TO f", server.url("/data"));
    assert_eq!(host.fetch(&again), 0, "{}", host.shown);
    assert!(host.files["f"] == data && host.files.len() == 1);
    assert!(server.stop().bytes < 132_000, "only the rest was sent");

    // All of it was there already.
    let server = Httpd::start(
        MemoryTree::with(&[("data", &data)]),
        Settings::default(),
        None,
    );
    host.files.insert("g.part".into(), data.clone());
    assert_eq!(
        host.fetch(&format!("{} RESUME TO g", server.url("/data"))),
        0
    );
    assert!(host.files["g"] == data, "{}", host.shown);
    // More than all of it.
    host.files.insert("h.part".into(), noise(200_001));
    assert_eq!(
        host.fetch(&format!("{} RESUME TO h", server.url("/data"))),
        10
    );
}

#[test]
fn resuming_where_there_are_no_parts() {
    let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole".to_vec();
    let (at, server) = scripted(vec![whole]);
    let mut host = Host::default();
    host.files.insert("f.part".into(), b"xx".to_vec());
    assert_eq!(host.fetch(&format!("http://{at}/ RESUME TO f")), 0);
    assert_eq!(host.files["f"], b"whole");
    assert!(host.shown.contains("starting again"));
    assert!(server.join().unwrap()[0].contains("Range: bytes=2-\r\n"));

    let other =
        b"HTTP/1.1 206 P\r\nContent-Range: bytes 3-4/5\r\nContent-Length: 2\r\n\r\nle".to_vec();
    let (at, server) = scripted(vec![other]);
    host.files.insert("f.part".into(), b"wh".to_vec());
    assert_eq!(host.fetch(&format!("http://{at}/ RESUME TO f")), 10);
    assert_eq!(host.files["f.part"], b"wh", "nothing was added");
    server.join().unwrap();
}

#[test]
fn what_cannot_be_resumed_is_removed() {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec();
    let (at, server) = scripted(vec![cut]);
    let mut host = Host::default();
    assert_eq!(host.fetch(&format!("http://{at}/ TO f")), 10);
    assert!(host.files.is_empty() && host.shown.contains("f.part was removed"));
    server.join().unwrap();
}

#[test]
fn a_full_disk() {
    let server = Httpd::start(
        MemoryTree::with(&[("a", &noise(300_000))]),
        Settings::default(),
        None,
    );
    let mut host = Host {
        full_at: Some(100_000),
        ..Host::default()
    };
    assert_eq!(host.fetch(&format!("{} TO f", server.url("/a"))), 20);
    assert!(host.shown.contains("fetch: f: "), "{}", host.shown);
    for words in ["", " HEAD"] {
        host.full_at = Some(words.len());
        assert_eq!(host.fetch(&format!("{}{words}", server.url("/a"))), 20);
        assert!(
            host.shown.starts_with("fetch: standard output: "),
            "{}",
            host.shown
        );
    }
}

#[test]
fn words() {
    let parse = |text: &str| Arguments::parse(text.split_whitespace());
    for bad in [
        "",
        "h/x",
        "ftp://h/",
        "http://h/ TO",
        "http://h/ FOO",
        "http://h/ RESUME",
        "http://h/ HEAD TO f",
        "http://h/ RANGE 5",
        "http://h/ RANGE -",
        "http://h/ RANGE 1-2,3-4",
        "http://h/ TIMEOUT soon",
        "http://h/ HEADER x",
        "http://h/ HEADER Host:x",
        "http://h/ http://h/b TO f",
        "http://h/ ftp://h/b",
        "https://h/ KEY k",
        "https://h/ CERT",
    ] {
        let message = parse(bad).expect_err(bad);
        assert!(!message.contains('\n') && !message.is_empty());
    }
    let plain = parse("https://h/x").unwrap();
    assert!(plain.verify && !plain.insecure);
    assert!(!parse("https://h/x noverify to f").unwrap().verify);
    let several = parse("http://h/a TO T: http://h/b cert c").unwrap();
    assert_eq!(several.urls.len(), 2);
    assert_eq!(several.identity(), Some(("c", "c")));
    let apart = parse("http://h/a CERT c KEY k").unwrap();
    assert_eq!(apart.identity(), Some(("c", "k")));
}
