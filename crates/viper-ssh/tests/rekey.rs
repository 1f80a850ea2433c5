//! New keys asked for by either side, or both at once, while data flows: every order in which the
//! bytes can arrive has to end in the same data and the same keys.

mod support;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use support::{Pair, server_config};
use viper_ssh::{Algorithms, ChannelId, Config, Event, Kex, Request, Role, Session, Stream};

/// One direction of data: numbered bytes that are checked as they come.
#[derive(Default)]
struct Flow {
    sent: u64,
    received: u64,
}

/// The byte at a place: no two pieces of the data look alike for long.
fn byte_at(place: u64) -> u8 {
    (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Flow {
    fn write<R: Role>(&mut self, session: &mut Session<R>, channel: ChannelId, len: u64) {
        let data: Vec<u8> = (self.sent..self.sent + len).map(byte_at).collect();
        self.sent += session.write(channel, &data).unwrap() as u64;
    }

    fn read<R: Role>(&mut self, session: &mut Session<R>, channel: ChannelId, len: usize) {
        let mut space = vec![0; len];
        let count = session.read(channel, &mut space).unwrap();
        for byte in &space[..count] {
            assert_eq!(*byte, byte_at(self.received));
            self.received += 1;
        }
    }
}

/// Moves a random number of bytes from one side's output to the other side.
fn deliver<A: Role, B: Role>(
    random: &mut ChaCha20Rng,
    now: std::time::Duration,
    from: &mut Session<A>,
    to: &mut Session<B>,
) {
    let ready = from.poll_output();
    // Sometimes a byte, sometimes all: packets are cut wherever it hurts.
    let len = match random.next_u32() % 4 {
        0 => 1.min(ready.len()),
        1 => ready.len(),
        _ => random.next_u32() as usize % (ready.len() + 1),
    };
    let part = ready[..len].to_vec();
    let taken = to.handle_input(now, &part).unwrap();
    from.output_sent(taken);
}

struct Outcome {
    client_rekeyed: u32,
    server_rekeyed: u32,
    replies: u32,
}

fn run(seed: u64, steps: u32) -> Outcome {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let algorithms = Algorithms {
        kex: vec![Kex::Curve25519],
        ..Algorithms::default()
    };
    let config = Config {
        algorithms,
        ..Config::default()
    };
    let mut server = server_config();
    // In every other run one side asks by itself as well.
    if seed.is_multiple_of(2) {
        server.common.rekey_bytes = 20_000;
    }
    let (mut pair, channel, offered) = Pair::with_channel(&config, server);
    let (mut up, mut down) = (Flow::default(), Flow::default());
    let mut outcome = Outcome {
        client_rekeyed: 0,
        server_rekeyed: 0,
        replies: 0,
    };
    let mut asked = 0;
    let mut step = 0;
    loop {
        let settling = step >= steps;
        match random.next_u32() % if settling { 6 } else { 11 } {
            0 | 1 => deliver(&mut random, pair.now, &mut pair.client, &mut pair.server),
            2 | 3 => deliver(&mut random, pair.now, &mut pair.server, &mut pair.client),
            4 => up.read(&mut pair.server, offered, 5000),
            5 => down.read(&mut pair.client, channel, 5000),
            6 => up.write(
                &mut pair.client,
                channel,
                u64::from(random.next_u32() % 4000),
            ),
            7 => down.write(
                &mut pair.server,
                offered,
                u64::from(random.next_u32() % 4000),
            ),
            8 => pair.client.rekey().unwrap(),
            9 => pair.server.rekey().unwrap(),
            // Messages that are held back while keys are exchanged.
            _ => {
                asked += 1;
                let request = Request::Signal("USR1".into());
                pair.client.request(channel, &request, true).unwrap();
            }
        }
        while let Some(event) = pair.client.poll_event() {
            outcome.client_rekeyed += u32::from(event == Event::Rekeyed);
            outcome.replies += u32::from(matches!(event, Event::Reply { .. }));
        }
        while let Some(event) = pair.server.poll_event() {
            outcome.server_rekeyed += u32::from(event == Event::Rekeyed);
            if let Event::Request { channel, .. } = event {
                pair.server.reply(channel, true).unwrap();
            }
        }
        step += 1;
        let quiet = pair.client.poll_output().is_empty() && pair.server.poll_output().is_empty();
        let read = pair.server.readable_len(offered, Stream::Data) == 0
            && pair.client.readable_len(channel, Stream::Data) == 0;
        if settling && quiet && read {
            // What was taken but not acted upon needs one more call.
            pair.client.handle_input(pair.now, &[]).unwrap();
            pair.server.handle_input(pair.now, &[]).unwrap();
            if pair.client.poll_output().is_empty() && pair.server.poll_output().is_empty() {
                break;
            }
        }
        assert!(step < steps * 1000, "seed {seed}: it never settles");
    }
    assert_eq!(
        (up.received, down.received),
        (up.sent, down.sent),
        "seed {seed}"
    );
    assert_eq!(outcome.replies, asked, "seed {seed}");
    assert_eq!(
        outcome.client_rekeyed, outcome.server_rekeyed,
        "seed {seed}"
    );
    // Both can go on.
    assert!(pair.client.writable_len(channel) > 0 && pair.server.writable_len(offered) > 0);
    outcome
}

/// `VIPER_SSH_FUZZ` sets the number of runs.
#[test]
fn in_any_order_of_bytes() {
    let runs = std::env::var("VIPER_SSH_FUZZ")
        .ok()
        .and_then(|n| n.parse().ok());
    let mut exchanges = 0;
    for seed in 0..runs.unwrap_or(60) {
        exchanges += run(seed, 250).client_rekeyed;
    }
    assert!(exchanges > 60, "only {exchanges} exchanges were tried");
}

/// Both KEXINITs are on the way at the same time, with data behind and before them.
#[test]
fn both_at_the_same_moment() {
    for order in 0..4 {
        let (mut pair, channel, offered) = Pair::with_channel(&Config::default(), server_config());
        assert_eq!(pair.client.write(channel, b"before"), Ok(6));
        assert_eq!(pair.server.write(offered, b"before"), Ok(6));
        pair.client.rekey().unwrap();
        pair.server.rekey().unwrap();
        assert_eq!(pair.client.write(channel, b"held"), Ok(0));
        assert_eq!(pair.server.write(offered, b"held"), Ok(0));
        let (to_server, to_client) = (
            pair.client.poll_output().to_vec(),
            pair.server.poll_output().to_vec(),
        );
        pair.client.output_sent(to_server.len());
        pair.server.output_sent(to_client.len());
        let now = pair.now;
        if order & 1 == 0 {
            assert_eq!(
                pair.client.handle_input(now, &to_client),
                Ok(to_client.len())
            );
        }
        if order & 2 == 0 {
            to_server.iter().for_each(|byte| {
                assert_eq!(pair.server.handle_input(now, &[*byte]), Ok(1));
            });
        } else {
            assert_eq!(
                pair.server.handle_input(now, &to_server),
                Ok(to_server.len())
            );
        }
        if order & 1 == 1 {
            assert_eq!(
                pair.client.handle_input(now, &to_client),
                Ok(to_client.len())
            );
        }
        pair.run().unwrap();
        let rekeyed = |events: &std::collections::VecDeque<Event>| {
            events.iter().filter(|e| **e == Event::Rekeyed).count()
        };
        assert_eq!(rekeyed(&pair.client_events), 1, "one exchange serves both");
        assert_eq!(rekeyed(&pair.server_events), 1);
        assert_eq!(pair.client.write(channel, b" after"), Ok(6));
        pair.run().unwrap();
        let mut space = [0; 32];
        let count = pair.server.read(offered, &mut space).unwrap();
        assert_eq!(&space[..count], b"before after");
    }
}
