//! Requests and answers through the readers.

use viper_http::{
    BodyLength, Error, GzipDecoder, Limits, Method, Progress, RequestHead, RequestReader,
    ResponseReader, Status, Url, Version,
};

fn request(stream: &str) -> Result<RequestReader, Error> {
    let mut reader = RequestReader::new(Limits::SERVER);
    let mut out = [0; 256];
    let first = reader.handle_input(stream.as_bytes(), &mut out)?;
    reader.handle_input(&stream.as_bytes()[first.taken..], &mut out)?;
    Ok(reader)
}

fn response(asked: Method, stream: &[u8]) -> Result<(ResponseReader, Vec<u8>), Error> {
    let mut reader = ResponseReader::new(asked, true, Limits::CLIENT);
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let mut out = [0; 100];
        let progress = reader.handle_input(&stream[at..], &mut out)?;
        at += progress.taken;
        data.extend_from_slice(&out[..progress.given]);
        if reader.is_done() {
            return Ok((reader, data));
        }
        if progress == Progress::default() {
            reader.handle_end()?;
        }
    }
}

#[test]
fn a_request_as_it_is_sent() {
    let url = Url::parse("http://u:p@[::1]:8080/a b?c#d").unwrap();
    let mut head = RequestHead::new(Method::Get, &url).unwrap();
    head.headers.push("Accept", "*/*").unwrap();
    let mut sent = Vec::new();
    head.encode(&mut sent).unwrap();
    assert_eq!(
        String::from_utf8(sent.clone()).unwrap(),
        "GET /a%20b?c HTTP/1.1\r\nHost: [::1]:8080\r\nAccept: */*\r\n\r\n"
    );
    let reader = request(std::str::from_utf8(&sent).unwrap()).unwrap();
    assert_eq!(reader.head(), Some(&head));
    assert!(reader.is_done() && reader.keeps_alive());
}

#[test]
fn a_request_that_would_be_two_is_not_sent() {
    let url = Url::parse("http://h/").unwrap();
    let mut head = RequestHead::new(Method::Get, &url).unwrap();
    head.target = "/ HTTP/1.1\r\nHost: x\r\n\r\nGET /".into();
    assert_eq!(head.encode(&mut Vec::new()), Err(Error::BadTarget));
    head.target = "/".into();
    head.method = Method::from_name("GET /x");
    assert_eq!(head.encode(&mut Vec::new()), Err(Error::BadHeader));
}

#[test]
fn targets() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/a%20b?c?d", "/a%20b", Some("c?d")),
        ("http://x/a?b", "/a", Some("b")),
        ("HTTPS://x?b", "/", Some("b")),
        ("http://x", "/", None),
        ("//x/y", "//x/y", None),
        ("/http://x/y", "/http://x/y", None),
    ] {
        let reader = request(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).unwrap();
        let head = reader.head().unwrap();
        assert_eq!((head.path(), head.query()), (path, query), "{target}");
    }
    for target in [
        "x", "http:/x/", "*", "h:80", "/a#b", "ftp://x/", "http://", "/\u{e4}",
    ] {
        let result = request(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let error = result.expect_err(target);
        assert!(
            matches!(error, Error::BadTarget | Error::BadHead),
            "{target}"
        );
    }
}

/// Whatever one program could take for the end of the message and another one not.
#[test]
fn smuggling() {
    use Error as E;
    for (fields, error) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            E::AmbiguousLength,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            E::AmbiguousLength,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            E::AmbiguousLength,
        ),
        (
            "Content-Length: 5\r\ncontent-length: 6\r\n",
            E::AmbiguousLength,
        ),
        ("Content-Length: 5, 5\r\n", E::BadContentLength),
        ("Content-Length: +5\r\n", E::BadContentLength),
        ("Content-Length: -5\r\n", E::BadContentLength),
        ("Content-Length: 0x5\r\n", E::BadContentLength),
        ("Content-Length:\r\n", E::BadContentLength),
        ("Content-Length: 5 5\r\n", E::BadContentLength),
        (
            "Content-Length: 99999999999999999999\r\n",
            E::BadContentLength,
        ),
        ("Transfer-Encoding: identity\r\n", E::BadTransferEncoding),
        (
            "Transfer-Encoding: chunked, identity\r\n",
            E::BadTransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            E::BadTransferEncoding,
        ),
        ("Transfer-Encoding: xchunked\r\n", E::BadTransferEncoding),
        ("Transfer-Encoding: \u{b}chunked\r\n", E::BadHead),
        ("Transfer-Encoding:\r\n", E::BadTransferEncoding),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            E::UnsupportedTransferEncoding,
        ),
        ("Transfer-Encoding : chunked\r\n", E::BadHead),
        ("Transfer-Encoding: x\r\n chunked\r\n", E::FoldedHeader),
        (" X: y\r\n", E::FoldedHeader),
        ("X: y\n", E::BareLineEnd),
        ("X: y\rContent-Length: 5\r\n", E::BareLineEnd),
        ("X: \0\r\n", E::BadHead),
        ("X\r\n", E::BadHead),
        (": y\r\n", E::BadHead),
        ("Host: h\r\n", E::BadHost),
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\nhello");
        assert_eq!(request(&text).err(), Some(error), "{fields:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(request(old).err(), Some(Error::BadTransferEncoding));
}

#[test]
fn hosts() {
    for host in ["h", "h:80", "[::1]:80", "1.2.3.4", "a-b.c_d"] {
        assert!(request(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).is_ok());
    }
    for host in ["", "a b", "u@h", "h:x", "h/x", "[::1", "h:99999", "a%41"] {
        let result = request(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(result.err(), Some(Error::BadHost), "{host}");
    }
    assert_eq!(
        request("GET / HTTP/1.1\r\n\r\n").err(),
        Some(Error::BadHost)
    );
    assert!(request("GET / HTTP/1.0\r\n\r\n").is_ok());
}

#[test]
fn chunks() {
    let good = |body: &str| {
        format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    let reader = request(&good(
        "5;a=\"b\"\r\nhello\r\n000A\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
    ))
    .unwrap();
    assert!(reader.is_done());
    assert_eq!(reader.trailers().unwrap().text("x"), Some("y"));
    for bad in [
        "5\nhello\r\n",
        "5\r\nhelloX",
        "5\r\nhello\n",
        ";x\r\n",
        "\r\n",
        "0x5\r\n",
        "-5\r\n",
        "+5\r\n",
        " 5\r\n",
        "5 \r\n",
        "g\r\n",
        "fffffffffffffffff\r\n",
        "5;a\0\r\n",
        "5\r\r\n",
        "0000000000000005\r\n",
    ] {
        assert_eq!(request(&good(bad)).err(), Some(Error::BadChunk), "{bad:?}");
    }
    let long = format!("5;{}\r\n", "x".repeat(300));
    assert_eq!(request(&good(&long)).err(), Some(Error::LineTooLong));
    assert_eq!(
        request(&good("0\r\nX: y\n\r\n")).err(),
        Some(Error::BareLineEnd)
    );
}

#[test]
fn limits() {
    let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let limits = Limits::SERVER;
    let many = "a: b\r\n".repeat(limits.headers_max);
    assert_eq!(request(&head(&many)).err(), Some(Error::TooManyHeaders));
    assert!(request(&head(&"a: b\r\n".repeat(limits.headers_max - 1))).is_ok());
    let long = format!("a: {}\r\n", "x".repeat(limits.line_bytes_max));
    assert_eq!(request(&head(&long)).err(), Some(Error::LineTooLong));
    let large = format!("a: {}\r\n", "x".repeat(limits.line_bytes_max - 10)).repeat(3);
    assert_eq!(request(&head(&large)).err(), Some(Error::HeadTooLarge));
    let target = format!(
        "GET /{} HTTP/1.1\r\nHost: h\r\n\r\n",
        "x".repeat(limits.target_bytes_max)
    );
    assert_eq!(request(&target).err(), Some(Error::TargetTooLong));
    let body = head("Content-Length: 1048577\r\n");
    assert_eq!(request(&body).err(), Some(Error::BodyTooLarge));
}

#[test]
fn versions() {
    for (version, error) in [
        ("HTTP/2.0", Error::BadVersion),
        ("HTTP/1.2", Error::BadVersion),
        ("HTTP/1.10", Error::BadHead),
        ("http/1.1", Error::BadVersion),
    ] {
        let result = request(&format!("GET / {version}\r\nHost: h\r\n\r\n")).err();
        assert!(
            result == Some(error) || result == Some(Error::BadHead),
            "{version} {result:?}"
        );
    }
    assert!(request("GET /\r\n\r\n").is_err());
}

#[test]
fn answers() {
    let (reader, data) = response(
        Method::Get,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    )
    .unwrap();
    assert_eq!(
        (data.as_slice(), reader.keeps_alive()),
        (b"hello".as_slice(), true)
    );
    let (reader, data) = response(Method::Get, b"HTTP/1.0 200 OK\r\n\r\nhello").unwrap();
    assert_eq!(
        (data.as_slice(), reader.keeps_alive()),
        (b"hello".as_slice(), false)
    );
    assert_eq!(reader.body_length(), Some(BodyLength::UntilClose));
    let (reader, data) = response(
        Method::Head,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    )
    .unwrap();
    assert_eq!((data.len(), reader.keeps_alive()), (0, true));
    let early = b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n";
    let (reader, _) = response(Method::Get, early).unwrap();
    assert_eq!(reader.head().unwrap().status, Status::NOT_MODIFIED);
    assert_eq!(reader.head().unwrap().version, Version::Http11);
}

#[test]
fn answers_that_are_none() {
    for (stream, error) in [
        ("", Error::UnexpectedEnd),
        ("HTTP/1.1 200 OK\r\nContent-Le", Error::UnexpectedEnd),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            Error::UnexpectedEnd,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            Error::UnexpectedEnd,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Error::AmbiguousLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
            Error::UnsupportedContentEncoding,
        ),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Error::BadHead),
        ("HTTP/1.1 099 Low\r\n\r\n", Error::BadHead),
        ("HTTP/1.1 20 Short\r\n\r\n", Error::BadHead),
        ("SSH-2.0-x\r\n\r\n", Error::BadVersion),
        ("HTTP/2.0 200 OK\r\n\r\n", Error::BadVersion),
    ] {
        assert_eq!(
            response(Method::Get, stream.as_bytes()).err(),
            Some(error),
            "{stream}"
        );
    }
    let early = "HTTP/1.1 100 Continue\r\n\r\n".repeat(9);
    assert_eq!(
        response(Method::Get, early.as_bytes()).err(),
        Some(Error::BadHead)
    );
}

fn compressed(file: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/corpus/response/{file}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

#[test]
fn compressed_answers() {
    let text = "hello hello hello hello\n".repeat(20).into_bytes();
    for file in ["gzip", "gzip-chunked", "gzip-close"] {
        let stream = compressed(file);
        let (reader, data) = response(Method::Get, &stream).unwrap();
        assert!(reader.is_decoding());
        assert_eq!(data, text, "{file}");
        for cut in 1..30 {
            assert!(
                response(Method::Get, &stream[..stream.len() - cut]).is_err(),
                "{file}"
            );
        }
    }
    // A wrong checksum, a wrong length.
    let whole = compressed("gzip-close");
    for at in 1..=8 {
        let mut stream = whole.clone();
        let index = stream.len() - at;
        stream[index] ^= 1;
        assert_eq!(
            response(Method::Get, &stream).err(),
            Some(Error::BadGzip),
            "{at}"
        );
    }
    let mut reader = ResponseReader::new(Method::Get, false, Limits::CLIENT);
    let head = reader.handle_input(&whole, &mut []).unwrap();
    let mut out = [0; 10];
    reader.handle_input(&whole[head.taken..], &mut out).unwrap();
    assert_eq!(out[..2], [0x1f, 0x8b], "not asked to decode");
}

#[test]
fn what_came_before_damage_is_given() {
    let stream = compressed("gzip-close");
    let body = stream.windows(2).position(|at| at == [0x1f, 0x8b]).unwrap();
    let mut data = stream[body..].to_vec();
    data.extend_from_slice(b"no gzip data");
    let mut out = [0; 4096];
    let mut decoder = GzipDecoder::new();
    let done = decoder.decode(&data, &mut out).unwrap();
    let text = "hello hello hello hello\n".repeat(20);
    assert_eq!(&out[..done.given], text.as_bytes());
    let rest = decoder.decode(&data[done.taken..], &mut out);
    assert_eq!(rest, Err(Error::BadGzip));
}

/// The limit is passed before the data turns out to be damaged: in one piece as byte by byte.
#[test]
fn what_comes_first_is_the_error() {
    let mut stream = compressed("gzip-close");
    let body = stream.windows(2).position(|at| at == [0x1f, 0x8b]).unwrap();
    let member = stream[body..].to_vec();
    stream.extend_from_slice(&member);
    stream.extend_from_slice(b"no gzip data");
    let mut limits = Limits::CLIENT;
    // A member is 480 bytes: the second one is too much.
    for (max, error) in [(500, Error::BodyTooLarge), (1000, Error::BadGzip)] {
        limits.body_bytes_max = max;
        for piece in [1, 7, stream.len()] {
            let mut reader = ResponseReader::new(Method::Get, true, limits);
            let mut failed = None;
            for part in stream.chunks(piece) {
                let mut rest = part;
                while !rest.is_empty() && failed.is_none() {
                    match reader.handle_input(rest, &mut [0; 4096]) {
                        Ok(done) => rest = &rest[done.taken..],
                        Err(error) => failed = Some(error),
                    }
                }
            }
            assert_eq!(failed, Some(error), "at most {max}, {piece} at a time");
        }
    }
}
