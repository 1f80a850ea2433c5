//! A server's connection: answers, keep-alive, time-outs.

use std::time::Duration;
use viper_http::server::{Config, Connection, Timeouts};
use viper_http::{BodyLength, Error, ResponseHead, Status};

const START: Duration = Duration::from_secs(100);

fn connection() -> Connection {
    Connection::new(Config::default(), START)
}

/// Feeds everything that is taken, answers each request, returns what was sent.
fn serve(connection: &mut Connection, stream: &str, body: &[u8], length: BodyLength) -> String {
    let (mut at, mut sent) = (0, Vec::new());
    loop {
        let mut sink = [0; 64];
        let input = &stream.as_bytes()[at..];
        let taken = connection
            .handle_input(START, input, &mut sink)
            .map_or(0, |p| p.taken);
        at += taken;
        if connection.request().is_some() && connection.is_request_complete() {
            connection
                .respond(START, ResponseHead::new(Status::OK), length)
                .unwrap();
            assert_eq!(connection.write(body), body.len());
            connection.finish(START);
        } else if taken == 0 {
            sent.extend_from_slice(connection.poll_output());
            connection.output_sent(START, usize::MAX);
            return String::from_utf8(sent).unwrap();
        }
        sent.extend_from_slice(connection.poll_output());
        connection.output_sent(START, connection.poll_output().len());
    }
}

#[test]
fn requests_in_a_row() {
    let mut server = connection();
    let stream = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: h\r\n\r\nPOST /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyz";
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let sent = serve(&mut server, stream, b"ok", BodyLength::Known(2));
    assert_eq!(sent, format!("{ok}ok{ok}{ok}ok"));
    assert!(!server.is_closed());
    server.handle_end().unwrap();
    assert!(server.is_closed());
}

#[test]
fn lengths_that_are_not_known() {
    for (version, sent) in [
        (
            "1.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        ("1.0", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"),
    ] {
        for length in [BodyLength::Chunked, BodyLength::UntilClose] {
            let mut server = connection();
            let stream =
                format!("GET / HTTP/{version}\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
            assert_eq!(serve(&mut server, &stream, b"ok", length), sent);
            assert_eq!(server.is_closed(), version == "1.0");
        }
    }
}

#[test]
fn the_connection_closes_when_it_should() {
    for (fields, closes) in [
        ("", false),
        ("Connection: close\r\n", true),
        ("Connection: x, Close\r\n", true),
    ] {
        let mut server = connection();
        let stream = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let sent = serve(&mut server, &stream, b"", BodyLength::Known(0));
        assert_eq!(sent.contains("Connection: close"), closes);
        assert_eq!(server.is_closed(), closes);
    }
    let config = Config {
        requests_max: 2,
        ..Config::default()
    };
    let mut server = Connection::new(config, START);
    let stream = "GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(3);
    let sent = serve(&mut server, &stream, b"", BodyLength::Known(0));
    assert_eq!(sent.matches("200 OK").count(), 2);
    assert!(sent.ends_with("Connection: close\r\n\r\n"));
}

#[test]
fn an_answer_that_is_too_short_closes() {
    let mut server = connection();
    server
        .handle_input(START, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &mut [])
        .unwrap();
    server
        .respond(START, ResponseHead::new(Status::OK), BodyLength::Known(5))
        .unwrap();
    assert_eq!(server.write(b"way too much"), 5);
    assert!(server.is_answering());
    server.finish(START);
    assert!(!server.is_answering());

    let mut server = connection();
    server
        .handle_input(START, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &mut [])
        .unwrap();
    server
        .respond(START, ResponseHead::new(Status::OK), BodyLength::Known(5))
        .unwrap();
    server.write(b"abc");
    server.finish(START);
    server.output_sent(START, usize::MAX);
    assert!(server.is_closed());
}

#[test]
fn a_body_that_was_not_taken_closes() {
    let mut server = connection();
    let stream =
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\nExpect: 100-continue\r\n\r\n";
    server.handle_input(START, stream, &mut []).unwrap();
    assert!(server.request().is_some() && !server.is_request_complete());
    server
        .respond(START, ResponseHead::new(Status(405)), BodyLength::Known(0))
        .unwrap();
    server.finish(START);
    let sent = String::from_utf8(server.poll_output().to_vec()).unwrap();
    assert!(sent.contains("Connection: close"), "{sent}");
    server.output_sent(START, sent.len());
    assert!(server.is_closed());
}

#[test]
fn continue_is_sent_when_it_is_waited_for() {
    let mut server = connection();
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n";
    server.handle_input(START, head, &mut []).unwrap();
    server.send_continue();
    assert_eq!(server.poll_output(), b"HTTP/1.1 100 Continue\r\n\r\n");
    server.output_sent(START, 25);
    let mut body = [0; 4];
    let progress = server.handle_input(START, b"okGET", &mut body).unwrap();
    assert_eq!((progress.taken, progress.given), (2, 2));
    assert!(server.is_request_complete());
}

#[test]
fn errors_are_answered() {
    for (stream, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        ("POST / HTTP/1.1\r\nHost: h\r\nExpect: magic\r\n\r\n", 417),
    ] {
        let mut server = connection();
        assert!(
            server
                .handle_input(START, stream.as_bytes(), &mut [])
                .is_err()
        );
        let sent = String::from_utf8(server.poll_output().to_vec()).unwrap();
        assert!(sent.starts_with(&format!("HTTP/1.1 {status} ")), "{sent}");
        assert!(!server.is_closed());
        server.output_sent(START, sent.len());
        assert!(server.is_closed());
        assert_eq!(
            server.handle_input(START, b"GET", &mut []).unwrap().taken,
            0
        );
    }
}

#[test]
fn slow_clients() {
    let timeouts = Timeouts::default();
    // Says nothing: cut off in silence.
    let mut server = connection();
    assert_eq!(server.poll_timeout(), START + timeouts.idle);
    server.handle_timeout(START + timeouts.idle - Duration::from_nanos(1));
    assert!(!server.is_closed());
    server.handle_timeout(START + timeouts.idle);
    assert!(server.is_closed() && server.poll_output().is_empty());

    // Sends a byte now and then: the head has one deadline, however many bytes come.
    let mut server = connection();
    let mut now = START;
    for byte in b"GET / HTTP/1.1\r\n" {
        now += Duration::from_millis(500);
        server.handle_input(now, &[*byte], &mut []).unwrap();
    }
    let begun = START + Duration::from_millis(500);
    assert_eq!(server.poll_timeout(), begun + timeouts.head);
    server.handle_timeout(server.poll_timeout());
    assert!(server.poll_output().starts_with(b"HTTP/1.1 408 "));

    // Does not read: what waits is bounded, and the deadline moves only with what is taken.
    let mut server = connection();
    server
        .handle_input(START, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &mut [])
        .unwrap();
    server
        .respond(
            START,
            ResponseHead::new(Status::OK),
            BodyLength::Known(1 << 40),
        )
        .unwrap();
    let data = vec![0; 1 << 20];
    while server.room() > 0 {
        server.write(&data);
    }
    assert!(server.poll_output().len() <= Config::default().output_bytes_max);
    let later = START + Duration::from_secs(10);
    server.output_sent(later, 1);
    assert_eq!(server.poll_timeout(), later + timeouts.progress);
    server.handle_timeout(server.poll_timeout());
    assert!(server.is_closed());
}

#[test]
fn an_end_in_the_midst_is_noticed() {
    let mut server = connection();
    server.handle_input(START, b"GET / HT", &mut []).unwrap();
    assert_eq!(server.handle_end(), Err(Error::UnexpectedEnd));
    assert!(server.is_closed());

    // The client has said all it wanted; the answer still goes out.
    let mut server = connection();
    server
        .handle_input(START, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &mut [])
        .unwrap();
    server.handle_end().unwrap();
    server
        .respond(START, ResponseHead::new(Status::OK), BodyLength::Known(2))
        .unwrap();
    server.write(b"ok");
    server.finish(START);
    assert!(server.poll_output().ends_with(b"ok") && !server.is_closed());
}
