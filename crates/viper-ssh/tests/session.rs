//! The client against the server, in memory.

mod support;

use std::time::Duration;

use support::{Pair, host_key, rng, server_config, user_key};
use viper_ssh::{
    Algorithms, AuthAnswer, AuthMethod, ChannelKind, Cipher, Config, Credential, Error, Event, Kex,
    Mac, PrivateKey, Prompt, Prompts, Request, Server, ServerConfig, SignatureAlgorithm, Stream,
    TerminalSize,
};
use zeroize::Zeroizing;

fn config(algorithms: Algorithms) -> Config {
    Config {
        algorithms,
        ..Config::default()
    }
}

/// Sends `data` from the client through a fresh channel and back again.
fn echo(mut pair: Pair, len: usize) {
    let data: Vec<u8> = (0..len).map(|i| (i * 7 + i / 256) as u8).collect();
    let channel = pair.client.open_session().unwrap();
    let (mut sent, mut back, mut held) = (0, Vec::new(), Vec::new());
    let mut buffer = vec![0; 8192];
    let mut server_channel = None;
    while back.len() < len {
        let mut moved = pair.step().unwrap();
        for event in pair.server_events.drain(..) {
            if let Event::ChannelOffered { channel, .. } = event {
                pair.server.accept_channel(channel).unwrap();
                server_channel = Some(channel);
            }
        }
        pair.client_events.clear();
        if let Ok(more) = pair.client.write(channel, &data[sent..]) {
            moved |= more > 0;
            sent += more;
        }
        if let Some(channel) = server_channel {
            if held.is_empty() {
                let more = pair.server.read(channel, &mut buffer).unwrap();
                held.extend_from_slice(&buffer[..more]);
            }
            let more = pair.server.write(channel, &held).unwrap();
            held.drain(..more);
            moved |= more > 0;
        }
        if let Ok(more) = pair.client.read(channel, &mut buffer) {
            moved |= more > 0;
            back.extend_from_slice(&buffer[..more]);
        }
        assert!(moved, "stuck at {} of {len}", back.len());
    }
    assert!(back == data);
}

#[test]
fn every_key_exchange_and_host_key() {
    for kex in Kex::ALL {
        for host_key in [SignatureAlgorithm::Ed25519, SignatureAlgorithm::EcdsaP256] {
            let algorithms = Algorithms {
                kex: vec![*kex],
                host_key: vec![host_key],
                ..Algorithms::default()
            };
            let pair = Pair::logged_in(&config(algorithms), server_config());
            let used = pair.client.algorithms().unwrap();
            assert_eq!((used.kex, used.host_key), (*kex, host_key));
            assert_eq!(pair.server.algorithms(), Some(used));
            assert!(pair.client.is_strict() && pair.server.is_strict());
            assert_eq!(pair.server.user(), "viper");
        }
    }
}

#[test]
fn every_cipher_and_mac() {
    for cipher in Cipher::ALL {
        for mac in Mac::ALL {
            let algorithms = Algorithms {
                cipher: vec![*cipher],
                mac: vec![*mac],
                kex: vec![Kex::Curve25519],
                ..Algorithms::default()
            };
            let pair = Pair::logged_in(&config(algorithms), server_config());
            let used = pair.client.algorithms().unwrap().client_to_server;
            assert_eq!(used.cipher, *cipher);
            assert_eq!(used.mac, if cipher.is_aead() { None } else { Some(*mac) });
            echo(pair, 40_000);
            if cipher.is_aead() {
                break;
            }
        }
    }
}

#[test]
fn one_byte_at_a_time() {
    for cipher in [
        Cipher::ChaCha20Poly1305,
        Cipher::Aes128Gcm,
        Cipher::Aes128Ctr,
    ] {
        for mac in [Mac::HmacSha256, Mac::HmacSha256Etm] {
            let algorithms = Algorithms {
                cipher: vec![cipher],
                mac: vec![mac],
                ..Algorithms::default()
            };
            let mut pair = Pair::new(&config(algorithms), server_config());
            pair.chunk_len = 1;
            pair.log_in();
            echo(pair, 1000);
        }
    }
}

#[test]
fn new_keys_while_data_flows() {
    for client_limit in [20_000, u64::MAX] {
        let mut server = server_config();
        server.common.rekey_bytes = 30_000;
        let client = Config {
            rekey_bytes: client_limit,
            ..Config::default()
        };
        let mut pair = Pair::logged_in(&client, server);
        pair.chunk_len = 1500;
        echo(pair, 150_000);
    }
}

#[test]
fn new_keys_by_time_in_both_roles() {
    for by_client in [true, false] {
        let mut server = server_config();
        let mut client = Config::default();
        let side = if by_client {
            &mut client
        } else {
            &mut server.common
        };
        side.rekey_time = Duration::from_secs(60);
        let (mut pair, channel, offered) = Pair::with_channel(&client, server);
        pair.client.write(channel, b"before").unwrap();
        assert!(pair.client.poll_timeout().unwrap() >= Duration::from_secs(60));
        pair.now = Duration::from_secs(61);
        pair.client.handle_timeout(pair.now).unwrap();
        pair.server.handle_timeout(pair.now).unwrap();
        // Whoever started may not send data now, and says so.
        let blocked = if by_client {
            pair.client.write(channel, b"x").unwrap()
        } else {
            pair.server.write(offered, b"x").unwrap()
        };
        assert_eq!(blocked, 0);
        // Messages other than data are held back and arrive afterwards.
        pair.client.request(channel, &Request::Shell, true).unwrap();
        pair.run().unwrap();
        assert!(pair.client_events.contains(&Event::Rekeyed));
        assert!(pair.server_events.contains(&Event::Rekeyed));
        let shell = Event::Request {
            channel: offered,
            request: Request::Shell,
            reply_wanted: true,
        };
        assert!(pair.server_events.contains(&shell));
        assert_eq!(pair.client.write(channel, b" and after").unwrap(), 10);
        pair.run().unwrap();
        let mut buffer = [0; 32];
        let len = pair.server.read(offered, &mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"before and after");
    }
}

#[test]
fn both_may_ask_for_new_keys_at_once() {
    let (mut pair, channel, offered) = Pair::with_channel(&Config::default(), server_config());
    for _ in 0..5 {
        pair.client.rekey().unwrap();
        pair.server.rekey().unwrap();
        pair.run().unwrap();
    }
    pair.client.write(channel, b"still here").unwrap();
    pair.run().unwrap();
    assert_eq!(pair.server.readable_len(offered, Stream::Data), 10);
}

#[test]
fn passwords_and_attempts() {
    let mut pair = Pair::new(&Config::default(), server_config());
    pair.run().unwrap();
    let try_password = |pair: &mut Pair, text: &str| {
        let credential = Credential::Password(Zeroizing::new(text.into()));
        pair.client.authenticate("viper", &credential).unwrap();
        let result = pair.run();
        (pair.client_events.pop_back(), result)
    };
    pair.client
        .authenticate("viper", &Credential::None)
        .unwrap();
    pair.run().unwrap();
    let failed = Event::AuthFailed {
        methods: vec!["publickey".into(), "password".into()],
        partial: false,
    };
    assert_eq!(pair.client_events.pop_back(), Some(failed.clone()));
    for _ in 0..5 {
        let (event, result) = try_password(&mut pair, "guess");
        assert_eq!((event, result), (Some(failed.clone()), Ok(())));
    }
    let (_, result) = try_password(&mut pair, "guess");
    assert_eq!(result, Err(Error::TooManyAttempts));
    // The client is told.
    assert_eq!(pair.run(), Err(Error::TooManyAttempts));
    pair.to_client.extend(pair.server.poll_output());
    let bytes: Vec<u8> = pair.to_client.drain(..).collect();
    assert_eq!(
        pair.client.handle_input(pair.now, &bytes),
        Err(Error::Disconnected(14))
    );

    let mut pair = Pair::new(&Config::default(), server_config());
    pair.run().unwrap();
    assert_eq!(
        try_password(&mut pair, "secret").0,
        Some(Event::Authenticated)
    );
}

#[test]
fn wrong_keys_and_users_are_refused() {
    let mut pair = Pair::new(&Config::default(), server_config());
    pair.run().unwrap();
    let other = PrivateKey::from_p256_scalar(&[9; 32]).unwrap();
    for (user, key) in [("viper", other), ("root", user_key())] {
        pair.client
            .authenticate(user, &Credential::Key(key))
            .unwrap();
        pair.run().unwrap();
        assert!(matches!(
            pair.client_events.pop_back(),
            Some(Event::AuthFailed { .. })
        ));
        assert_eq!(pair.client.open_session(), Err(Error::WrongState));
    }
}

#[test]
fn questions() {
    let mut server = server_config();
    server.keyboard_interactive = true;
    server.banner = Some("hello".into());
    let mut pair = Pair::new(&Config::default(), server);
    pair.run().unwrap();
    assert_eq!(
        pair.client_events.pop_back(),
        Some(Event::Banner("hello".into()))
    );
    pair.client
        .authenticate("viper", &Credential::KeyboardInteractive)
        .unwrap();
    let asked = Prompts {
        name: "n".into(),
        instruction: "i".into(),
        prompts: vec![Prompt {
            text: "2 + 2?".into(),
            echo: true,
        }],
    };
    let answer_next = |pair: &mut Pair, answer: AuthAnswer| {
        let output = pair.client.poll_output().to_vec();
        pair.client.output_sent(output.len());
        pair.server.handle_input(pair.now, &output).unwrap();
        let Some(Event::AuthAttempt(attempt)) = pair.server.poll_event() else {
            panic!()
        };
        pair.server.answer_auth(answer).unwrap();
        pair.run().unwrap();
        attempt.method
    };
    let method = answer_next(&mut pair, AuthAnswer::Ask(asked.clone()));
    assert_eq!(method, AuthMethod::KeyboardInteractive);
    assert_eq!(pair.client_events.pop_back(), Some(Event::Prompts(asked)));
    pair.client
        .answer_prompts(&[Zeroizing::new("4".into())])
        .unwrap();
    let method = answer_next(&mut pair, AuthAnswer::Partial);
    assert_eq!(
        method,
        AuthMethod::Answers(vec![Zeroizing::new("4".into())])
    );
    let Some(Event::AuthFailed { partial, .. }) = pair.client_events.pop_back() else {
        panic!()
    };
    assert!(partial);
    pair.log_in_after_partial();
}

impl Pair {
    fn log_in_after_partial(&mut self) {
        self.client
            .authenticate("viper", &Credential::Key(user_key()))
            .unwrap();
        self.run().unwrap();
        assert_eq!(self.client_events.pop_back(), Some(Event::Authenticated));
    }
}

#[test]
fn a_refused_host_key_ends_it() {
    let mut pair = Pair::new(&Config::default(), server_config());
    let mut refused = false;
    for _ in 0..10 {
        let output = pair.client.poll_output().to_vec();
        pair.client.output_sent(output.len());
        if !output.is_empty() {
            let _ = pair.server.handle_input(pair.now, &output);
        }
        let output = pair.server.poll_output().to_vec();
        pair.server.output_sent(output.len());
        let mut rest = &output[..];
        while !rest.is_empty() && !refused {
            let taken = pair.client.handle_input(pair.now, rest).unwrap();
            rest = &rest[taken..];
            if let Some(Event::HostKey(key)) = pair.client.poll_event() {
                assert_eq!(key, host_key().public());
                // Nothing more is taken until there is a decision.
                assert_eq!(pair.client.handle_input(pair.now, b"x").unwrap(), 0);
                pair.client.refuse_host_key();
                refused = true;
            }
        }
    }
    assert!(refused);
    assert_eq!(pair.client.failed(), Some(Error::HostKeyRefused));
    assert_eq!(
        pair.client.handle_input(pair.now, b"x"),
        Err(Error::HostKeyRefused)
    );
    assert_eq!(pair.server.failed(), Some(Error::Disconnected(9)));
}

#[test]
fn a_session_from_start_to_end() {
    let (mut pair, channel, offered) = Pair::with_channel(&Config::default(), server_config());
    let size = TerminalSize {
        columns: 80,
        rows: 24,
        width_px: 0,
        height_px: 0,
    };
    let requests = [
        Request::Pty {
            term: "vt100".into(),
            size,
            modes: vec![0],
        },
        Request::Env {
            name: "LANG".into(),
            value: b"C".to_vec(),
        },
        Request::Exec(b"ls".to_vec()),
    ];
    for request in &requests {
        pair.client.request(channel, request, true).unwrap();
    }
    pair.run().unwrap();
    for (request, answer) in requests.iter().zip([true, false, true]) {
        let expected = Event::Request {
            channel: offered,
            request: request.clone(),
            reply_wanted: true,
        };
        assert_eq!(pair.server_events.pop_front(), Some(expected));
        pair.server.reply(offered, answer).unwrap();
    }
    assert_eq!(pair.server.reply(offered, true), Err(Error::WrongState));
    pair.run().unwrap();
    for success in [true, false, true] {
        assert_eq!(
            pair.client_events.pop_front(),
            Some(Event::Reply { channel, success })
        );
    }
    // The client ends its input; the server still answers, on both streams.
    pair.client.write(channel, b"in").unwrap();
    pair.client.send_eof(channel).unwrap();
    assert_eq!(pair.client.write(channel, b"x"), Err(Error::ChannelClosed));
    pair.run().unwrap();
    assert_eq!(
        pair.server_events,
        [Event::Readable(offered), Event::Eof(offered)]
    );
    pair.server_events.clear();
    pair.server.write(offered, b"out").unwrap();
    pair.server
        .write_to(offered, Stream::Stderr, b"err")
        .unwrap();
    pair.server
        .request(offered, &Request::ExitStatus(3), false)
        .unwrap();
    pair.server.send_eof(offered).unwrap();
    pair.server.close(offered).unwrap();
    pair.run().unwrap();
    let exit = Event::Request {
        channel,
        request: Request::ExitStatus(3),
        reply_wanted: false,
    };
    let expected = [
        Event::Readable(channel),
        exit,
        Event::Eof(channel),
        Event::Closed(channel),
    ];
    assert_eq!(pair.client_events, expected);
    // What came can be read after the end; then the channel is gone on both sides.
    let mut buffer = [0; 8];
    assert_eq!(pair.client.read(channel, &mut buffer), Ok(3));
    assert_eq!(
        pair.client.read_from(channel, Stream::Stderr, &mut buffer),
        Ok(3)
    );
    assert_eq!(&buffer[..3], b"err");
    assert_eq!(
        pair.client.read(channel, &mut buffer),
        Err(Error::NoSuchChannel)
    );
    assert_eq!(
        (pair.client.channel_count(), pair.server.channel_count()),
        (0, 0)
    );
}

#[test]
fn roles_do_not_mix() {
    let (mut pair, channel, offered) = Pair::with_channel(&Config::default(), server_config());
    assert_eq!(
        pair.server.request(offered, &Request::Shell, false),
        Err(Error::WrongState)
    );
    assert_eq!(
        pair.client.request(channel, &Request::ExitStatus(0), false),
        Err(Error::WrongState)
    );
    assert_eq!(pair.client.answer_prompts(&[]), Err(Error::WrongState));
    assert_eq!(
        pair.server.answer_auth(AuthAnswer::Accept),
        Err(Error::WrongState)
    );
}

#[test]
fn the_window_holds_the_sender_back() {
    let server = ServerConfig {
        common: Config {
            window_len: 40_000,
            ..Config::default()
        },
        ..server_config()
    };
    let (mut pair, channel, offered) = Pair::with_channel(&Config::default(), server);
    let data = vec![7; 100_000];
    let mut sent = pair.client.write(channel, &data).unwrap();
    pair.run().unwrap();
    sent += pair.client.write(channel, &data).unwrap();
    pair.run().unwrap();
    assert_eq!(sent, 40_000);
    assert_eq!(pair.server.readable_len(offered, Stream::Data), 40_000);
    let mut buffer = vec![0; 30_000];
    assert_eq!(pair.server.read(offered, &mut buffer), Ok(30_000));
    pair.run().unwrap();
    assert_eq!(
        pair.client_events.pop_back(),
        Some(Event::Writable(channel))
    );
    assert_eq!(pair.client.write(channel, &data), Ok(30_000));
}

#[test]
fn forwarding_to_the_server_and_back() {
    let mut pair = Pair::logged_in(&Config::default(), server_config());
    let channel = pair
        .client
        .open_direct_tcpip("example.org", 80, ("10.0.0.1", 4000))
        .unwrap();
    pair.run().unwrap();
    let Some(Event::ChannelOffered {
        channel: offered,
        kind: ChannelKind::DirectTcpip(to),
    }) = pair.server_events.pop_back()
    else {
        panic!()
    };
    assert_eq!((to.host.as_str(), to.port), ("example.org", 80));
    pair.server.refuse_channel(offered, "no").unwrap();
    pair.run().unwrap();
    let refused = Event::ChannelRefused {
        channel,
        reason: 1,
        message: "no".into(),
    };
    assert_eq!(pair.client_events.pop_back(), Some(refused));

    // A forwarded connection nobody asked for never reaches the caller.
    pair.server
        .open_forwarded_tcpip("", 8080, ("10.0.0.2", 5000))
        .unwrap();
    pair.run().unwrap();
    assert!(matches!(
        pair.server_events.pop_back(),
        Some(Event::ChannelRefused { .. })
    ));

    pair.client.request_forward("", 0).unwrap();
    pair.client.request_forward("::1", 22).unwrap();
    pair.run().unwrap();
    let asked = Event::ForwardRequested {
        address: "".into(),
        port: 0,
    };
    assert_eq!(pair.server_events.pop_front(), Some(asked));
    pair.server.answer_forward(Some(8080)).unwrap();
    pair.server.answer_forward(None).unwrap();
    pair.run().unwrap();
    let reply = |address: &str, port| Event::ForwardReply {
        address: address.into(),
        port,
    };
    assert_eq!(
        pair.client_events,
        [reply("", Some(8080)), reply("::1", None)]
    );
    pair.client_events.clear();
    let channel = pair
        .server
        .open_forwarded_tcpip("", 8080, ("10.0.0.2", 5000))
        .unwrap();
    pair.run().unwrap();
    let Some(Event::ChannelOffered {
        channel: offered,
        kind: ChannelKind::ForwardedTcpip(from),
    }) = pair.client_events.pop_back()
    else {
        panic!()
    };
    assert_eq!(from.originator, "10.0.0.2");
    pair.client.accept_channel(offered).unwrap();
    pair.client.cancel_forward("", 8080).unwrap();
    pair.run().unwrap();
    assert!(pair.server_events.contains(&Event::ChannelOpened(channel)));
    assert!(pair.server_events.contains(&Event::ForwardCancelled {
        address: "".into(),
        port: 8080
    }));
}

#[test]
fn signs_of_life() {
    let mut server = server_config();
    server.common.keepalive_time = Some(Duration::from_secs(10));
    let mut pair = Pair::logged_in(&Config::default(), server);
    for second in [10, 20, 30, 40, 50] {
        pair.now = Duration::from_secs(second);
        assert!(pair.server.poll_timeout().unwrap() <= pair.now);
        pair.server.handle_timeout(pair.now).unwrap();
        assert!(!pair.server.poll_output().is_empty());
        pair.run().unwrap();
    }
    for second in [60, 70, 80] {
        pair.server
            .handle_timeout(Duration::from_secs(second))
            .unwrap();
    }
    let result = pair.server.handle_timeout(Duration::from_secs(90));
    assert_eq!(result, Err(Error::TimedOut));
}

#[test]
fn a_silent_peer_is_given_up() {
    let mut server = Server::new(server_config(), rng(1), Duration::ZERO).unwrap();
    assert_eq!(server.poll_timeout(), Some(Duration::from_secs(120)));
    assert_eq!(server.handle_timeout(Duration::from_secs(119)), Ok(()));
    assert_eq!(
        server.handle_timeout(Duration::from_secs(120)),
        Err(Error::TimedOut)
    );
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn channels_are_limited_on_both_sides() {
    let mut server = server_config();
    server.common.channels_max = 2;
    let mut pair = Pair::logged_in(
        &Config {
            channels_max: 4,
            ..Config::default()
        },
        server,
    );
    for _ in 0..3 {
        pair.client.open_session().unwrap();
    }
    pair.run().unwrap();
    let refused = pair.client_events.pop_back();
    assert!(
        matches!(refused, Some(Event::ChannelRefused { reason: 4, .. })),
        "{refused:?}"
    );
    assert_eq!(pair.server.channel_count(), 2);
    pair.client.open_session().unwrap();
    pair.client.open_session().unwrap();
    assert_eq!(pair.client.open_session(), Err(Error::LimitExceeded));
}

#[test]
fn leaving() {
    let mut pair = Pair::logged_in(&Config::default(), server_config());
    pair.client.disconnect("bye");
    let output = pair.client.poll_output().to_vec();
    assert_eq!(
        pair.server.handle_input(pair.now, &output),
        Err(Error::Disconnected(11))
    );
    assert!(pair.server.poll_output().is_empty());
    assert_eq!(
        pair.client.handle_input(pair.now, b""),
        Err(Error::Disconnected(11))
    );
}

#[test]
fn a_request_that_is_too_long_ends_nothing() {
    let (mut pair, channel, offered) = Pair::with_channel(&Config::default(), server_config());
    let long = Request::Exec(vec![b'x'; 40_000]);
    assert_eq!(
        pair.client.request(channel, &long, true),
        Err(Error::LimitExceeded)
    );
    pair.client.request(channel, &Request::Shell, true).unwrap();
    pair.run().unwrap();
    pair.server.reply(offered, true).unwrap();
    pair.run().unwrap();
    assert_eq!(
        pair.client_events,
        [Event::Reply {
            channel,
            success: true
        }]
    );
}
