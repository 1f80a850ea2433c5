//! Hostile streams: mutations of the corpus, in pieces of any size, through every parser.

use super::random::Random;
use std::fs;
use std::path::Path;
use std::time::Duration;
use viper_http::server::{Config, Connection};
use viper_http::{
    BodyLength, ContentRange, Error, GzipDecoder, HttpDate, Limits, Method, Progress, RangeAnswer,
    RedirectPolicy, RequestHead, RequestReader, ResponseHead, ResponseReader, Status, Url,
    Validators,
};

/// Small enough that mutations reach every limit.
const LIMITS: Limits = Limits {
    head_bytes_max: 300,
    line_bytes_max: 150,
    target_bytes_max: 60,
    headers_max: 12,
    chunk_line_bytes_max: 24,
    body_bytes_max: 3000,
    informational_max: 2,
};

/// The files of one folder of the corpus.
pub fn corpus(kind: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(kind);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|file| file.expect("a readable entry").path())
        .collect();
    files.sort();
    let all: Vec<_> = files
        .iter()
        .map(|f| fs::read(f).expect("a readable file"))
        .collect();
    assert!(!all.is_empty(), "no corpus {kind}");
    all
}

const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Content-Encoding: gzip\r\n",
    "Host: b\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "Range: bytes=0-1\r\n",
    "If-None-Match: \"a\"\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "ffffffff",
    "fffffffffffffffff",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "100",
    "204",
    "304",
    "206",
    "-1",
    "+5",
    "0x5",
    ",",
    ";x=y",
    "\u{e9}",
    "http://",
    "*",
    "Location: //x\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
];

/// Flips, cuts, repeats, inserts, joins.
pub fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..random.below(5) {
        let at = random.below(bytes.len());
        match random.below(9) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => {
                let word = WORDS[random.below(WORDS.len())].bytes();
                drop(bytes.splice(at..at, word));
            }
            4 if !bytes.is_empty() => {
                bytes.remove(at);
            }
            5 => {
                let end = (at + random.below(20)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                for _ in 0..random.below(12) {
                    drop(bytes.splice(at..at, part.iter().copied()));
                }
            }
            6 => bytes.extend_from_slice(&seeds[random.below(seeds.len())]),
            7 if !bytes.is_empty() => {
                let end = (at + random.below(30)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {}
        }
    }
    bytes
}

/// What came of a stream: the data, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub head: bool,
    pub data: Vec<u8>,
    pub end: Result<bool, Error>,
}

/// Drives a reader over a stream in random pieces, or in one, and checks what it promises.
fn drive(
    mut pieces: Option<&mut Random>,
    stream: &[u8],
    mut step: impl FnMut(&[u8], &mut [u8]) -> Result<(Progress, bool), Error>,
    mut end: impl FnMut() -> Result<bool, Error>,
) -> (Vec<u8>, usize, Result<bool, Error>) {
    let (mut data, mut at) = (Vec::new(), 0);
    let mut size = |max: usize| match &mut pieces {
        Some(random) => 1 + random.below(max.min(40)),
        None => max,
    };
    let mut ended = false;
    loop {
        let len = size(4096).min(stream.len() - at);
        let mut out = vec![0; size(4096)];
        let (progress, done) = match step(&stream[at..at + len], &mut out) {
            Ok(ok) => ok,
            Err(error) => return (data, at, Err(error)),
        };
        assert!(progress.taken <= len && progress.given <= out.len());
        at += progress.taken;
        data.extend_from_slice(&out[..progress.given]);
        if done {
            return (data, at, Ok(true));
        }
        if progress != Progress::default() {
            continue;
        }
        assert_eq!(at, stream.len(), "neither progress nor an end");
        if ended {
            return (data, at, Ok(false));
        }
        ended = true;
        match end() {
            Ok(true) => return (data, at, Ok(true)),
            Ok(false) => {}
            Err(error) => return (data, at, Err(error)),
        }
    }
}

/// A stream through the client's reader.
pub fn response(pieces: Option<&mut Random>, stream: &[u8], asked: Method) -> Outcome {
    let reader = std::cell::RefCell::new(ResponseReader::new(asked.clone(), true, LIMITS));
    let (data, _, end) = drive(
        pieces,
        stream,
        |input, out| {
            let mut reader = reader.borrow_mut();
            let progress = reader.handle_input(input, out)?;
            Ok((progress, reader.is_done()))
        },
        || {
            let mut reader = reader.borrow_mut();
            reader.handle_end().map(|()| reader.is_done())
        },
    );
    let reader = reader.into_inner();
    assert!(data.len() as u64 <= LIMITS.body_bytes_max);
    // What came before an error depends on the pieces.
    let data = if end.is_ok() { data } else { Vec::new() };
    if let Some(head) = reader.head() {
        check_head(head, &asked, &reader);
    }
    Outcome {
        head: reader.head().is_some(),
        data,
        end,
    }
}

fn check_head(head: &ResponseHead, asked: &Method, reader: &ResponseReader) {
    let _ = reader.keeps_alive();
    let base = Url::parse("http://u:p@host:81/a/b?c#d").expect("a URL");
    let policy = RedirectPolicy::default();
    if let Ok(Some(redirect)) = policy.next(0, &base, asked, head) {
        let text = redirect.url.to_string();
        assert_eq!(Url::parse(&text).as_ref(), Ok(&redirect.url), "{text}");
    }
    for value in head.headers.all("Content-Range") {
        let _ = ContentRange::parse(value);
    }
    let mut again = Vec::new();
    head.encode(&mut again)
        .expect("what was read can be written");
    // Written, a line may be a few bytes longer: a space behind the colon, say.
    let mut limits = LIMITS;
    limits.line_bytes_max += 8;
    let mut second = ResponseReader::new(asked.clone(), true, limits);
    if again.len() < LIMITS.head_bytes_max {
        second.handle_input(&again, &mut []).expect("a head");
        assert_eq!(second.head(), Some(head));
    }
}

/// A stream through the server's reader, request after request.
pub fn requests(mut pieces: Option<&mut Random>, stream: &[u8]) -> Vec<Outcome> {
    let (mut all, mut at) = (Vec::new(), 0);
    loop {
        let reader = std::cell::RefCell::new(RequestReader::new(LIMITS));
        let (data, taken, end) = drive(
            pieces.as_deref_mut(),
            &stream[at..],
            |input, out| {
                let mut reader = reader.borrow_mut();
                let progress = reader.handle_input(input, out)?;
                Ok((progress, reader.is_done()))
            },
            || Err(Error::UnexpectedEnd),
        );
        at += taken;
        let reader = reader.into_inner();
        if let Some(head) = reader.head() {
            check_request(head);
        }
        let more = end == Ok(true);
        all.push(Outcome {
            head: reader.head().is_some(),
            data: if more { data } else { Vec::new() },
            end,
        });
        if !more {
            return all;
        }
    }
}

fn check_request(head: &RequestHead) {
    let length = BodyLength::of_request(head).expect("it was accepted");
    assert_ne!(length, BodyLength::UntilClose);
    let told = ["Content-Length", "Transfer-Encoding"].map(|n| head.headers.all(n).count());
    assert!(told[0] + told[1].min(1) <= 1, "two lengths got through");
    assert!(
        head.path().starts_with('/') || head.path() == "*",
        "{}",
        head.target
    );
    let _ = (head.query(), viper_http::url::percent_decode(head.path()));
    let validators = Validators {
        etag: Some("\"a\"".into()),
        modified: HttpDate::parse("Sun, 06 Nov 1994 08:49:37 GMT"),
    };
    let _ = validators.judge(head, 1000);
    for value in head.headers.all("Range") {
        if let RangeAnswer::Part(range) = RangeAnswer::of(value, 1000) {
            assert!(range.start < range.end && range.end <= 1000);
        }
    }
}

/// A stream through a server's connection that answers everything; returns what it sent.
pub fn connection(random: &mut Random, stream: &[u8]) -> Vec<u8> {
    let config = Config {
        limits: LIMITS,
        output_bytes_max: 64,
        ..Config::default()
    };
    let mut now = Duration::ZERO;
    let mut server = Connection::new(config, now);
    let (mut at, mut sent, mut ended) = (0, Vec::new(), false);
    for _ in 0..100_000 {
        now += Duration::from_millis(1);
        let output = server.poll_output();
        let len = output.len().min(1 + random.below(100));
        sent.extend_from_slice(&output[..len]);
        server.output_sent(now, len);
        if server.is_closed() {
            return sent;
        }
        if server.is_answering() {
            let data = vec![b'x'; server.room().min(1 + random.below(50))];
            server.write(&data);
            if random.below(4) == 0 {
                server.finish(now);
            }
            continue;
        }
        let len = (stream.len() - at).min(1 + random.below(60));
        let mut body = [0; 64];
        let Ok(progress) = server.handle_input(now, &stream[at..at + len], &mut body) else {
            continue;
        };
        at += progress.taken;
        if server.request().is_some() && (server.is_request_complete() || random.below(3) == 0) {
            let length = match random.below(3) {
                0 => BodyLength::Known(random.below(100) as u64),
                1 => BodyLength::Chunked,
                _ => BodyLength::UntilClose,
            };
            let status = [200, 204, 304, 404][random.below(4)];
            let head = ResponseHead::new(Status(status));
            server.respond(now, head, length).expect("a request waits");
        } else if at == stream.len() && !ended && progress == Progress::default() {
            ended = true;
            let _ = server.handle_end();
        }
    }
    panic!("the connection does not end");
}

/// Compressed data through the decoder, in random pieces.
pub fn gzip(random: &mut Random, stream: &[u8]) -> (Vec<u8>, Result<bool, Error>) {
    let decoder = std::cell::RefCell::new(GzipDecoder::new());
    let (data, _, end) = drive(
        Some(random),
        stream,
        |input, out| {
            let progress = decoder.borrow_mut().decode(input, out)?;
            // A bomb: enough is enough.
            Ok((progress, false))
        },
        || Ok(false),
    );
    let decoder = decoder.into_inner();
    (data, end.map(|_| decoder.is_at_end()))
}

/// One round with every parser; the seeds are those of [`Corpus::load`].
pub fn round(random: &mut Random, corpus: &Corpus) {
    match random.below(8) {
        0 | 1 => {
            let stream = mutate(random, &corpus.requests);
            let whole = requests(None, &stream);
            let pieces = requests(Some(random), &stream);
            same(&stream, &whole, &pieces);
        }
        2 => {
            let stream = mutate(random, &corpus.requests);
            connection(random, &stream);
        }
        3..=5 => {
            let stream = mutate(random, &corpus.responses);
            let asked = [Method::Get, Method::Get, Method::Head][random.below(3)].clone();
            let mut whole = response(None, &stream, asked.clone());
            let pieces = response(Some(random), &stream, asked);
            // Damage shows up to 32 KiB ahead of the data that is given, which may be too much.
            let one_of = |end| [Err(Error::BadGzip), Err(Error::BodyTooLarge)].contains(end);
            if one_of(&whole.end) && one_of(&pieces.end) {
                whole.end = pieces.end;
            }
            same(&stream, &whole, &pieces);
        }
        6 => {
            let stream = mutate(random, &corpus.gzip);
            let _ = gzip(random, &stream);
        }
        _ => {
            let text = match random.below(2) {
                0 => super::urls::generate(random),
                _ => String::from_utf8_lossy(&mutate(random, &corpus.urls)).into_owned(),
            };
            if let Err(difference) = super::urls::compare(&text, None) {
                panic!("{text:?}: {difference}");
            }
            if let Err(difference) = super::urls::compare(&text, Some("http://u:p@h:8/a/b?c#d")) {
                panic!("{text:?} as a reference: {difference}");
            }
        }
    }
}

/// In one piece or in many: the result is the same.
fn same<T: PartialEq + core::fmt::Debug>(stream: &[u8], whole: &T, pieces: &T) {
    assert_eq!(whole, pieces, "for {:?}", String::from_utf8_lossy(stream));
}

/// The seeds of all parsers.
pub struct Corpus {
    pub requests: Vec<Vec<u8>>,
    pub responses: Vec<Vec<u8>>,
    pub gzip: Vec<Vec<u8>>,
    pub urls: Vec<Vec<u8>>,
}

impl Corpus {
    pub fn load() -> Corpus {
        Corpus {
            requests: corpus("request"),
            responses: corpus("response"),
            gzip: corpus("gzip"),
            urls: corpus("url"),
        }
    }
}
