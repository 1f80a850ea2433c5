//! What a peer without manners can send. `examples/long_fuzz.rs` does the same for longer.

mod support;

use support::fuzz::{Corpus, corpus, gzip, mutate, requests, response, round};
use support::random::Random;
use viper_http::{Error, Method};

#[test]
fn corpus_is_read_as_before() {
    let requests_ok = corpus("request")
        .iter()
        .filter(|s| requests(None, s)[0].head)
        .count();
    let responses_ok = corpus("response")
        .iter()
        .filter(|s| response(None, s, Method::Get).end == Ok(true))
        .count();
    let gzip_ok = corpus("gzip")
        .iter()
        .filter(|s| gzip(&mut Random(1), s).1 == Ok(true))
        .count();
    assert_eq!((requests_ok, responses_ok, gzip_ok), (8, 12, 7));
}

#[test]
fn a_bomb_is_stopped() {
    let bomb = corpus("response")
        .into_iter()
        .find(|s| s.len() > 1000)
        .expect("the bomb is the largest seed");
    let outcome = response(None, &bomb, Method::Get);
    assert_eq!(outcome.end, Err(Error::BodyTooLarge));
}

#[test]
fn mutations() {
    let corpus = Corpus::load();
    let mut random = Random(2026);
    for _ in 0..20_000 {
        round(&mut random, &corpus);
    }
}

#[test]
fn mutations_reach_every_error() {
    let corpus = Corpus::load();
    let mut random = Random(7);
    let mut seen = Vec::new();
    for _ in 0..20_000 {
        let stream = mutate(&mut random, &corpus.requests);
        seen.extend(
            requests(None, &stream)
                .into_iter()
                .filter_map(|o| o.end.err()),
        );
        let stream = mutate(&mut random, &corpus.responses);
        seen.extend(response(None, &stream, Method::Get).end.err());
    }
    for error in [
        Error::BadHead,
        Error::BadVersion,
        Error::BareLineEnd,
        Error::FoldedHeader,
        Error::HeadTooLarge,
        Error::LineTooLong,
        Error::TargetTooLong,
        Error::TooManyHeaders,
        Error::BadTarget,
        Error::BadHost,
        Error::BadContentLength,
        Error::AmbiguousLength,
        Error::BadTransferEncoding,
        Error::UnsupportedTransferEncoding,
        Error::UnsupportedExpectation,
        Error::BadChunk,
        Error::BodyTooLarge,
        Error::UnexpectedEnd,
        Error::BadGzip,
        Error::UnsupportedContentEncoding,
    ] {
        assert!(seen.contains(&error), "never {error:?}");
    }
}
