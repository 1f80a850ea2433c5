//! What a peer with the right keys, but no manners, can send.
//!
//! A real client makes the connection; then arbitrary payloads go through its transport, so that
//! they reach the server's parsers decrypted and authenticated, and the other way round. Valid
//! messages are the seeds (`corpus/payload`), and mutations of them the test. A failure prints
//! the payloads; add them to the corpus.

use std::fs;
use std::path::Path;
use std::println;
use std::string::{String, ToString};
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::sftp::{Attributes, Entry, OpenFlags, SftpClient, SftpFs, SftpServer, Status};
use crate::*;

const NOW: Duration = Duration::ZERO;

/// Number of mutated payloads, or those asked for by `VIPER_SSH_FUZZ`.
fn rounds(default: u64) -> u64 {
    number("VIPER_SSH_FUZZ").unwrap_or(default)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn corpus(kind: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(kind);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Changes bytes, numbers and lengths, cuts and joins.
fn mutate(rng: &mut ChaCha20Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut below = |limit: usize| (rng.next_u32() as usize) % limit.max(1);
    let mut bytes = seeds[below(seeds.len())].clone();
    for _ in 0..=below(4) {
        let len = bytes.len();
        let at = below(len);
        match below(7) {
            0 if len > 0 => bytes[at] ^= 1 << below(8),
            1 if len > 0 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
            2 => bytes.truncate(at),
            3 => bytes.extend((0..below(40)).map(|i| i as u8)),
            4 if len >= 4 => {
                let at = below(len - 3);
                let value = [0, 1, 3, 0x7fff_ffff, u32::MAX, len as u32, 35_000][below(7)];
                bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
            }
            5 => {
                let other = &seeds[below(seeds.len())];
                let cut = below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[cut..]);
            }
            _ if len > 0 => bytes[0] = below(110) as u8,
            _ => {}
        }
    }
    bytes.truncate(30_000);
    bytes
}

struct Pair {
    client: Client,
    server: Server,
}

impl Pair {
    /// Before a log-in, without the exchange of keys and without protection.
    fn unprotected(seed: u8) -> Self {
        let (config, host_key) = (Config::default(), PrivateKey::from_ed25519_seed(&[1; 32]));
        let mut server_config = ServerConfig::new(vec![host_key]);
        server_config.keyboard_interactive = true;
        let mut pair = Pair {
            client: Client::new(&config, rng(seed), NOW).unwrap(),
            server: Server::new(server_config, rng(seed ^ 0xff), NOW).unwrap(),
        };
        pair.client.core.transport.pretend_keys();
        pair.server.core.transport.pretend_keys();
        let Session { core, role, .. } = &mut pair.client;
        role.keys_exchanged(core).unwrap();
        pair.run();
        pair
    }

    fn new(log_in: bool, seed: u8) -> Self {
        let algorithms = Algorithms {
            kex: vec![Kex::Curve25519],
            ..Algorithms::default()
        };
        let config = Config {
            algorithms,
            ..Config::default()
        };
        let host_key = PrivateKey::from_ed25519_seed(&[1; 32]);
        let mut server_config = ServerConfig::new(vec![host_key]);
        server_config.keyboard_interactive = true;
        let mut pair = Pair {
            client: Client::new(&config, rng(seed), NOW).unwrap(),
            server: Server::new(server_config, rng(seed ^ 0xff), NOW).unwrap(),
        };
        pair.run();
        if log_in {
            pair.client
                .authenticate("viper", &Credential::Password("x".to_string().into()))
                .unwrap();
            pair.run();
            pair.client.open_session().unwrap();
            pair.client.request_forward("", 0).unwrap();
            pair.run();
            assert!(pair.client.core.authenticated && pair.server.core.authenticated);
        }
        pair
    }

    /// Moves bytes both ways; both sides do what a caller would.
    fn run(&mut self) {
        for round in 0..12 {
            let is_quiet =
                self.client.poll_output().is_empty() && self.server.poll_output().is_empty();
            if round > 0 && is_quiet {
                return;
            }
            deliver(&mut self.client, &mut self.server);
            deliver(&mut self.server, &mut self.client);
            while let Some(event) = self.client.poll_event() {
                let _ = match event {
                    Event::HostKey(_) => self.client.accept_host_key(),
                    Event::ChannelOffered { channel, .. } => self.client.accept_channel(channel),
                    Event::Prompts(_) => self.client.answer_prompts(&[]),
                    Event::Readable(channel) => read_all(&mut self.client, channel),
                    _ => Ok(()),
                };
            }
            while let Some(event) = self.server.poll_event() {
                let server = &mut self.server;
                let _ = match event {
                    Event::AuthAttempt(attempt) => server.answer_auth(match attempt.method {
                        AuthMethod::Password(text) if text.as_str() == "x" => AuthAnswer::Accept,
                        AuthMethod::PublicKey { proven: false, .. } => AuthAnswer::Accept,
                        AuthMethod::PublicKey { .. } => panic!("nobody has signed anything"),
                        AuthMethod::KeyboardInteractive => AuthAnswer::Ask(Prompts::default()),
                        _ => AuthAnswer::Reject,
                    }),
                    Event::ChannelOffered { channel, .. } => server.accept_channel(channel),
                    Event::Request {
                        channel,
                        reply_wanted: true,
                        ..
                    } => server.reply(channel, true),
                    Event::Readable(channel) => read_all(server, channel),
                    Event::ForwardRequested { .. } => server.answer_forward(Some(1)),
                    _ => Ok(()),
                };
            }
        }
    }

    fn is_over(&self) -> bool {
        self.client.failed().or(self.server.failed()).is_some()
    }
}

fn deliver<A: Role, B: Role>(from: &mut Session<A>, to: &mut Session<B>) {
    let output = from.poll_output().to_vec();
    let taken = to.handle_input(NOW, &output).unwrap_or(output.len());
    from.output_sent(taken);
}

fn read_all<R: Role>(session: &mut Session<R>, channel: ChannelId) -> Result<(), Error> {
    let mut buffer = [0; 4096];
    for stream in [Stream::Data, Stream::Stderr] {
        while session.read_from(channel, stream, &mut buffer)? > 0 {}
    }
    Ok(())
}

/// Sends payloads one after the other from each side.
fn bombard(payloads: impl Iterator<Item = Vec<u8>>, make: impl Fn(u8) -> Pair) {
    let mut pair = make(0);
    let mut recent = Vec::new();
    for (index, payload) in payloads.enumerate() {
        if pair.is_over() || recent.len() > 30 {
            pair = make(index as u8);
            recent.clear();
        }
        recent.push(payload.clone());
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = match index % 2 {
                0 => pair.client.core.transport.send(payload),
                _ => pair.server.core.transport.send(payload),
            };
            pair.run();
            check_limits(&pair);
        }));
        if let Err(panic) = result {
            println!("after these payloads (alternating from the client): {recent:02x?}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Whatever was sent, nobody holds much.
fn check_limits(pair: &Pair) {
    for (events, output, channels) in [
        (
            pair.client.core.events.len(),
            pair.client.poll_output().len(),
            pair.client.channel_count(),
        ),
        (
            pair.server.core.events.len(),
            pair.server.poll_output().len(),
            pair.server.channel_count(),
        ),
    ] {
        assert!(events < 80 && output < 600_000 && channels <= 32);
    }
}

#[test]
fn the_corpus_of_payloads() {
    for log_in in [false, true] {
        // Twice, so that each is sent by either side.
        let seeds = corpus("payload");
        assert!(seeds.len() > 20);
        // Without a log-in everything from 80 on ends it in the same way.
        let seeds = seeds.into_iter().filter(|seed| log_in || seed[0] <= 80);
        let doubled = seeds.flat_map(|seed| [seed.clone(), seed]);
        bombard(doubled, |seed| Pair::new(log_in, seed));
    }
}

#[test]
fn mutated_payloads() {
    let seeds = corpus("payload");
    let mut rng = rng(42);
    let count = rounds(60);
    for log_in in [false, true] {
        let payloads = (0..count).map(|_| mutate(&mut rng, &seeds));
        bombard(payloads, |seed| Pair::new(log_in, seed));
    }
}

/// What strangers can reach once keys are exchanged. Alone in being cheap enough for millions:
/// `VIPER_SSH_FUZZ=10000000 cargo test --release -p viper-ssh before_log_in -- --nocapture`, with
/// `VIPER_SSH_SEED=n` for others.
#[test]
fn mutated_payloads_before_log_in() {
    let seeds: Vec<_> = corpus("payload")
        .into_iter()
        .filter(|seed| seed[0] < 80)
        .collect();
    let (count, first) = (rounds(3000), number("VIPER_SSH_SEED").unwrap_or(42));
    let mut rng = rng(first as u8);
    let start = std::time::Instant::now();
    let payloads = (0..count).map(|_| mutate(&mut rng, &seeds));
    bombard(payloads, Pair::unprotected);
    let (seconds, seeds) = (start.elapsed().as_secs_f64(), seeds.len());
    println!("{count} payloads before a log-in from {seeds} seeds in {seconds:.1} s: no panic");
}

/// The bytes that both sides send in a connection, before and after keys are in use.
fn record() -> [Vec<u8>; 2] {
    let mut pair = Pair {
        client: Client::new(&Config::default(), rng(1), NOW).unwrap(),
        server: Server::new(
            ServerConfig::new(vec![PrivateKey::from_ed25519_seed(&[1; 32])]),
            rng(2),
            NOW,
        )
        .unwrap(),
    };
    let mut streams = [Vec::new(), Vec::new()];
    for _ in 0..6 {
        streams[0].extend_from_slice(pair.client.poll_output());
        deliver(&mut pair.client, &mut pair.server);
        streams[1].extend_from_slice(pair.server.poll_output());
        deliver(&mut pair.server, &mut pair.client);
        while let Some(event) = pair.client.poll_event() {
            if let Event::HostKey(_) = event {
                pair.client.accept_host_key().unwrap();
            }
        }
    }
    streams
}

/// Each of these streams is only right for the random numbers of its run, which are fixed.
#[test]
fn mutated_streams() {
    let streams = record();
    let (count, first) = (rounds(40), number("VIPER_SSH_SEED").unwrap_or(7));
    let mut rng = rng(first as u8);
    let start = std::time::Instant::now();
    for round in 0..count {
        let to_server = round % 2 == 0;
        let seeds = core::slice::from_ref(&streams[usize::from(!to_server)]);
        let bytes = if round % 3 == 0 {
            random_bytes(&mut rng)
        } else {
            mutate(&mut rng, seeds)
        };
        let changed = bytes != seeds[0];
        if to_server {
            let config = ServerConfig::new(vec![PrivateKey::from_ed25519_seed(&[1; 32])]);
            let mut server = Server::new(config, self::rng(2), NOW).unwrap();
            feed(&mut server, &bytes);
            assert!(!changed || !server.core.authenticated);
        } else {
            let mut client = Client::new(&Config::default(), self::rng(1), NOW).unwrap();
            feed(&mut client, &bytes);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{count} streams before a log-in in {seconds:.1} s: no panic");
}

fn feed<R: Role>(session: &mut Session<R>, bytes: &[u8]) {
    for chunk in bytes.chunks(700) {
        if session.handle_input(NOW, chunk).is_err() {
            return;
        }
        while session.poll_event().is_some() {}
    }
}

fn random_bytes(rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut bytes = b"SSH-2.0-x\r\n".to_vec();
    bytes.resize(bytes.len() + (rng.next_u32() as usize) % 200, 0);
    rng.fill_bytes(&mut bytes[11..]);
    if bytes.len() > 16 {
        // A length that is likely to be right, so that more than the first check is seen.
        bytes[11..15].copy_from_slice(&[0, 0, 0, 12]);
        bytes[15] %= 12;
    }
    bytes
}

/// A server whose files are all alike.
struct OneFile;

impl SftpFs for OneFile {
    type File = ();
    type Directory = u8;

    fn open(&mut self, path: &str, _: OpenFlags, _: &Attributes) -> Result<(), Status> {
        if path.is_empty() {
            Err(Status::NoSuchFile)
        } else {
            Ok(())
        }
    }
    fn read(&mut self, (): &mut (), offset: u64, out: &mut [u8]) -> Result<usize, Status> {
        Ok(if offset > 1000 { 0 } else { out.len() })
    }
    fn write(&mut self, (): &mut (), _: u64, _: &[u8]) -> Result<(), Status> {
        Ok(())
    }
    fn file_attributes(&mut self, (): &mut ()) -> Result<Attributes, Status> {
        Ok(Attributes::default())
    }
    fn attributes(&mut self, _: &str, _: bool) -> Result<Attributes, Status> {
        Ok(Attributes::default())
    }
    fn open_directory(&mut self, _: &str) -> Result<u8, Status> {
        Ok(0)
    }
    fn read_directory(&mut self, read: &mut u8) -> Result<Option<Entry>, Status> {
        *read = read.saturating_add(1);
        let entry = Entry {
            name: "x".repeat(300),
            attributes: Attributes::default(),
        };
        Ok((*read < 200).then_some(entry))
    }
    fn real_path(&mut self, path: &str) -> Result<String, Status> {
        Ok(path.into())
    }
}

#[test]
fn mutated_sftp() {
    let seeds = corpus("sftp");
    assert!(seeds.len() > 20);
    let mut rng = rng(9);
    let start = [0, 0, 0, 5, 1, 0, 0, 0, 3];
    let mut server = SftpServer::new(OneFile);
    server.handle_input(&start).unwrap();
    for round in 0..rounds(3000) {
        let message = mutate(&mut rng, &seeds);
        let mut framed = (message.len() as u32).to_be_bytes().to_vec();
        framed.extend_from_slice(&message);
        if server.handle_input(&framed).is_err() || round % 50 == 0 {
            server = SftpServer::new(OneFile);
            server.handle_input(&start).unwrap();
        }
        assert!(server.poll_output().len() < 800_000);
        server.output_sent(usize::MAX);

        let mut client = SftpClient::new();
        client.handle_input(&[0, 0, 0, 5, 2, 0, 0, 0, 3]).unwrap();
        for _ in 0..2 {
            client
                .open("/a", OpenFlags::READ, &Attributes::default())
                .unwrap();
            client.real_path(".").unwrap();
            client.attributes("/a", true).unwrap();
        }
        let _ = client.handle_input(&framed);
    }
}

#[test]
fn mutated_files() {
    let mut rng = rng(11);
    let seeds = corpus("file");
    assert!(seeds.len() >= 6);
    for _ in 0..rounds(60) {
        let bytes = mutate(&mut rng, &seeds);
        let text = String::from_utf8_lossy(&bytes);
        // Not with a passphrase: the work of bcrypt is not what is tested.
        let _ = PrivateKey::from_openssh(&text, None);
        let key = PrivateKey::from_ed25519_seed(&[1; 32]).public();
        let _ = key::KnownHosts::parse(&text).check("example.org", 22, &key);
        let _ = key::AuthorizedKeys::parse(&text).find(&key);
        let _ = PublicKey::from_text(&text);
        let _ = PublicKey::from_blob(&bytes);
        let _ = key.verify(SignatureAlgorithm::Ed25519, b"", &bytes);
    }
}

// Breaches of the protocol that must be told apart from mere nonsense.

fn send_from_client(pair: &mut Pair, payload: &[u8]) -> Option<Error> {
    pair.client.core.transport.send(payload.to_vec()).unwrap();
    deliver(&mut pair.client, &mut pair.server);
    pair.server.failed()
}

#[test]
fn nothing_but_authentication_before_it() {
    for number in [80, 90, 94, 98] {
        let mut pair = Pair::new(false, 0);
        let payload = [number, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let result = send_from_client(&mut pair, &payload);
        assert_eq!(result, Some(Error::UnexpectedMessage(number)));
    }
    // Nor may the client say that it was successful.
    let mut pair = Pair::new(false, 0);
    let result = send_from_client(&mut pair, &[message::USERAUTH_SUCCESS]);
    assert_eq!(
        result,
        Some(Error::UnexpectedMessage(message::USERAUTH_SUCCESS))
    );
    // And a server that says so unasked is not believed.
    let mut pair = Pair::new(false, 0);
    pair.server
        .core
        .transport
        .send(vec![message::USERAUTH_SUCCESS])
        .unwrap();
    deliver(&mut pair.server, &mut pair.client);
    let unexpected = Error::UnexpectedMessage(message::USERAUTH_SUCCESS);
    assert_eq!(pair.client.failed(), Some(unexpected));
}

#[test]
fn more_data_than_the_window_is_an_error() {
    let mut pair = Pair::new(true, 0);
    let mut payload = vec![message::CHANNEL_DATA, 0, 0, 0, 0, 0, 0, 0x80, 0];
    payload.resize(payload.len() + 0x8000, 0);
    for _ in 0..16 {
        assert_eq!(send_from_client(&mut pair, &payload), None);
    }
    assert_eq!(
        send_from_client(&mut pair, &payload),
        Some(Error::WindowExceeded)
    );
}

#[test]
fn data_after_the_end_and_unknown_channels_are_errors() {
    let data = [message::CHANNEL_DATA, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let mut pair = Pair::new(true, 0);
    assert_eq!(
        send_from_client(&mut pair, &[message::CHANNEL_EOF, 0, 0, 0, 0]),
        None
    );
    let result = send_from_client(&mut pair, &data);
    assert_eq!(
        result,
        Some(Error::UnexpectedMessage(message::CHANNEL_DATA))
    );
    let mut pair = Pair::new(true, 0);
    assert_eq!(
        send_from_client(&mut pair, &[message::CHANNEL_CLOSE, 0, 0, 0, 0]),
        None
    );
    assert_eq!(
        send_from_client(&mut pair, &data),
        Some(Error::NoSuchChannel)
    );
}

#[test]
fn messages_during_the_exchange_of_keys_are_errors() {
    // The server has seen KEXINIT and must see nothing of the upper protocols before NEWKEYS.
    let mut pair = Pair::new(true, 0);
    let init = algorithm::write_kexinit(&Algorithms::default(), false, [0; 16]);
    assert_eq!(send_from_client(&mut pair, &init), None);
    let result = send_from_client(&mut pair, &[message::CHANNEL_EOF, 0, 0, 0, 0]);
    assert_eq!(result, Some(Error::UnexpectedMessage(message::CHANNEL_EOF)));
    let mut pair = Pair::new(true, 0);
    assert_eq!(send_from_client(&mut pair, &init), None);
    let result = send_from_client(&mut pair, &init);
    assert_eq!(result, Some(Error::UnexpectedMessage(message::KEXINIT)));
}

#[test]
fn an_unknown_message_is_answered_and_survived() {
    let mut pair = Pair::new(true, 0);
    assert_eq!(send_from_client(&mut pair, &[192, 1, 2, 3]), None);
    deliver(&mut pair.server, &mut pair.client);
    assert!(!pair.is_over());
}

/// An unprotected packet, as before the first keys.
fn plain_packet(payload: &[u8]) -> Vec<u8> {
    let mut random = random::Random::new(rng(3));
    let mut out = Vec::new();
    packet::Sealer::new()
        .seal(payload, &mut random, &mut out)
        .unwrap();
    out
}

/// The attack on the first exchange that strict mode ends: packets put in, and others cut off.
#[test]
fn strict_exchange_takes_no_strangers() {
    let strangers: [&[u8]; 3] = [
        &[message::IGNORE, 0, 0, 0, 0],
        &[message::DEBUG, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[message::UNIMPLEMENTED, 0, 0, 0, 0],
    ];
    for stranger in strangers {
        for before_init in [true, false] {
            let config = ServerConfig::new(vec![PrivateKey::from_ed25519_seed(&[1; 32])]);
            let mut server = Server::new(config, rng(2), NOW).unwrap();
            let init = algorithm::write_kexinit(&Algorithms::default(), false, [0; 16]);
            let mut input = b"SSH-2.0-x\r\n".to_vec();
            let packets: [&[u8]; 2] = if before_init {
                [stranger, &init]
            } else {
                [&init, stranger]
            };
            for packet in packets {
                input.extend(plain_packet(packet));
            }
            assert_eq!(
                server.handle_input(NOW, &input),
                Err(Error::StrictKexViolation)
            );
        }
    }
}

/// Without strict mode the same packets are allowed, as RFC 4253 section 11 wants.
#[test]
fn an_exchange_that_is_not_strict_takes_them() {
    let config = ServerConfig::new(vec![PrivateKey::from_ed25519_seed(&[1; 32])]);
    let mut server = Server::new(config, rng(2), NOW).unwrap();
    let mut init = algorithm::write_kexinit(&Algorithms::default(), false, [0; 16]);
    let marker = b"kex-strict-c";
    let at = init
        .windows(marker.len())
        .position(|part| part == marker)
        .unwrap();
    init[at] = b'x';
    let mut input = b"SSH-2.0-x\r\n".to_vec();
    input.extend(plain_packet(&[message::IGNORE, 0, 0, 0, 0]));
    input.extend(plain_packet(&init));
    input.extend(plain_packet(&[message::IGNORE, 0, 0, 0, 0]));
    assert_eq!(server.handle_input(NOW, &input), Ok(input.len()));
    assert!(!server.is_strict());
}

/// A wrong guess of the exchange's first packet is ignored, whatever it holds.
#[test]
fn a_wrong_guess_is_ignored() {
    let config = ServerConfig::new(vec![PrivateKey::from_ed25519_seed(&[1; 32])]);
    let mut server = Server::new(config, rng(2), NOW).unwrap();
    let ours = Algorithms {
        kex: vec![Kex::Curve25519],
        ..Algorithms::default()
    };
    let mut init = algorithm::write_kexinit(&ours, false, [0; 16]);
    let guess_at = init.len() - 5;
    init[guess_at] = 1;
    let mut input = b"SSH-2.0-x\r\n".to_vec();
    input.extend(plain_packet(&init));
    input.extend(plain_packet(&[34, 1, 2, 3]));
    assert_eq!(server.handle_input(NOW, &input), Ok(input.len()));
    let share = kex::ClientShare::new(Kex::Curve25519, &mut random::Random::new(rng(4)));
    let mut right = vec![message::KEX_ECDH_INIT, 0, 0, 0, 32];
    right.extend_from_slice(share.public());
    let packet = plain_packet(&right);
    assert_eq!(server.handle_input(NOW, &packet), Ok(packet.len()));
    assert!(server.algorithms().is_some());
}

/// Writes the seeds anew: `cargo test -p viper-ssh -- write_corpus` with this variable set.
#[test]
fn write_corpus() {
    if std::env::var_os("VIPER_SSH_WRITE_CORPUS").is_none() {
        return;
    }
    seeds::write();
}

mod seeds;
