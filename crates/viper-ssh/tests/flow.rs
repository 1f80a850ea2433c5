//! Data in both directions at once, in any pieces, while keys change.

mod support;

use proptest::prelude::*;
use support::{Pair, server_config};
use viper_ssh::{Algorithms, ChannelId, Cipher, Config, Error, Kex, Role, Session, Stream};

/// One direction of one channel.
struct Flow {
    data: Vec<u8>,
    sent: usize,
    ended: bool,
    received: Vec<u8>,
}

impl Flow {
    fn new(len: usize, seed: usize) -> Self {
        let data = (0..len)
            .map(|i| (i * (2 * seed + 1) + i / 256) as u8)
            .collect();
        Flow {
            data,
            sent: 0,
            ended: false,
            received: Vec::new(),
        }
    }

    fn send<R: Role>(&mut self, from: &mut Session<R>, channel: ChannelId, max: usize) -> bool {
        let end = self.data.len().min(self.sent + max);
        let sent = from.write(channel, &self.data[self.sent..end]).unwrap_or(0);
        self.sent += sent;
        if self.sent == self.data.len() && !self.ended {
            self.ended = true;
            from.send_eof(channel).unwrap();
            return true;
        }
        sent > 0
    }

    fn receive<R: Role>(&mut self, to: &mut Session<R>, channel: ChannelId, max: usize) -> bool {
        let mut buffer = vec![0; max];
        let len = to.read(channel, &mut buffer).unwrap();
        self.received.extend_from_slice(&buffer[..len]);
        len > 0
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5))]

    #[test]
    fn everything_arrives_once_and_in_order(
        up_len in 0..40_000usize,
        down_len in 0..40_000usize,
        chunk_len in prop_oneof![1..40usize, 1000..20_000usize],
        piece_len in prop_oneof![1..3000usize, 30_000..80_000usize],
        window_len in 32_768..100_000u32,
        client_rekey in prop_oneof![Just(u64::MAX), 5_000..40_000u64],
        server_rekey in prop_oneof![Just(u64::MAX), 5_000..40_000u64],
        cipher in prop::sample::select(Cipher::ALL),
    ) {
        let algorithms = Algorithms {
            kex: vec![Kex::Curve25519],
            cipher: vec![cipher],
            ..Algorithms::default()
        };
        let common = Config { algorithms, window_len, ..Config::default() };
        let client = Config { rekey_bytes: client_rekey, ..common.clone() };
        let mut server = server_config();
        server.common = Config { rekey_bytes: server_rekey, ..common };
        let (mut pair, channel, offered) = Pair::with_channel(&client, server);
        pair.chunk_len = if chunk_len < 40 && up_len + down_len > 20_000 { 500 } else { chunk_len };
        let (mut up, mut down) = (Flow::new(up_len, 1), Flow::new(down_len, 2));
        loop {
            let mut moved = pair.step().unwrap();
            pair.client_events.clear();
            pair.server_events.clear();
            moved |= up.send(&mut pair.client, channel, piece_len);
            moved |= down.send(&mut pair.server, offered, piece_len);
            moved |= up.receive(&mut pair.server, offered, piece_len);
            moved |= down.receive(&mut pair.client, channel, piece_len);
            if !moved {
                break;
            }
        }
        prop_assert!(up.received == up.data && down.received == down.data);
        pair.client.close(channel).unwrap();
        pair.run().unwrap();
        prop_assert_eq!((pair.client.channel_count(), pair.server.channel_count()), (0, 0));
        prop_assert_eq!(pair.server.readable_len(offered, Stream::Data), 0);
        let gone = pair.server.write(offered, b"x");
        prop_assert_eq!(gone, Err(Error::NoSuchChannel));
    }
}
