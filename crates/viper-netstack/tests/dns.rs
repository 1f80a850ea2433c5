//! The resolver against name servers that answer, lie, cut off and are silent.

mod common;

use std::net::IpAddr;

use common::{Faults, MS, Net, SECOND, any, read_all, v4};
use viper_netstack::{Config, Error, Family, QueryId, SocketId, TcpOptions};

/// What the fake name server does with a query.
type Behave = fn(&[u8], usize) -> Vec<Vec<u8>>;

struct Server {
    net: Net,
    udp: SocketId,
    listener: SocketId,
    streams: Vec<(SocketId, Vec<u8>)>,
    queries: usize,
    behave: Behave,
    by_tcp: Behave,
}

const A: u16 = 1;

fn question(query: &[u8]) -> (String, u16) {
    let (mut at, mut name) = (12, String::new());
    while query[at] != 0 {
        let len = usize::from(query[at]);
        name += std::str::from_utf8(&query[at + 1..at + 1 + len]).unwrap();
        name.push('.');
        at += 1 + len;
    }
    (name, u16::from_be_bytes([query[at + 1], query[at + 2]]))
}

fn wire_name(name: &str) -> Vec<u8> {
    let labels = name.trim_end_matches('.').split('.');
    let mut wire: Vec<u8> = labels
        .flat_map(|l| [&[l.len() as u8], l.as_bytes()].concat())
        .collect();
    wire.push(0);
    wire
}

fn reply(query: &[u8], flags: u16, records: &[(&str, u16, u32, &[u8])]) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
    bytes[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (name, kind, ttl, data) in records {
        bytes.extend(wire_name(name));
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(ttl.to_be_bytes());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(*data);
    }
    bytes
}

/// A good server for `*.good`, with aliases, and no name that begins with `no`.
fn good(query: &[u8], _: usize) -> Vec<Vec<u8>> {
    let (name, kind) = question(query);
    let records: &[(&str, u16, u32, &[u8])] = match (name.as_str(), kind) {
        ("a.good.", 1) => &[("a.good", 1, 300, &[192, 0, 2, 1])],
        ("a.good.", 28) => &[(
            "a.good",
            28,
            300,
            &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
        )],
        ("c.good.", _) => &[("c.good", 5, 60, b"\x01d\x04good\0")],
        ("d.good.", 1) => &[("d.good", 1, 300, &[192, 0, 2, 4])],
        (name, _) if name.starts_with("no") => return vec![reply(query, 3, &[])],
        _ => &[],
    };
    vec![reply(query, 0, records)]
}

impl Server {
    fn new(behave: Behave) -> Self {
        let config = Config {
            name_servers: vec![v4(1)],
            ..Config::default()
        };
        Self::with_config(behave, config)
    }

    fn with_config(behave: Behave, config: Config) -> Self {
        let mut net = Net::with_config(
            9,
            Faults {
                delay_ns: MS,
                ..Faults::default()
            },
            config,
        );
        let udp = net.stacks[1].udp_bind(any(53)).unwrap();
        let listener = net.stacks[1]
            .tcp_listen(any(53), 4, &TcpOptions::default())
            .unwrap();
        Self {
            net,
            udp,
            listener,
            streams: Vec::new(),
            queries: 0,
            behave,
            by_tcp: good,
        }
    }

    fn serve(&mut self) {
        let stack = &mut self.net.stacks[1];
        while let Ok((query, from)) =
            stack.udp_recv_with(self.udp, |data, from, _| (data.to_vec(), from))
        {
            self.queries += 1;
            for reply in (self.behave)(&query, self.queries) {
                stack.udp_send(self.udp, from, &reply).unwrap();
            }
        }
        while let Ok(id) = stack.tcp_accept(self.listener) {
            self.streams.push((id, Vec::new()));
        }
        for (id, data) in &mut self.streams {
            let _ = read_all(stack, *id, data);
            if data.len() > 2 && data.len() == 2 + usize::from(data[0]) * 256 + usize::from(data[1])
            {
                self.queries += 1;
                for reply in (self.by_tcp)(&data[2..], self.queries) {
                    let mut bytes = (reply.len() as u16).to_be_bytes().to_vec();
                    bytes.extend(reply);
                    stack.tcp_send(*id, &bytes).unwrap();
                }
                data.clear();
            }
        }
    }

    fn answer(&mut self, id: QueryId) -> Result<Vec<IpAddr>, Error> {
        let end = self.net.now + 60 * SECOND;
        loop {
            if let Some(answer) = self.net.stacks[0].resolve_result(id) {
                return answer;
            }
            assert!(self.net.now < end);
            self.net.poll();
            self.serve();
            self.net.step();
        }
    }

    fn ask(&mut self, name: &str, family: Family) -> Result<Vec<IpAddr>, Error> {
        let id = self.net.stacks[0].resolve(name, family).unwrap();
        self.answer(id)
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn names_become_addresses_and_are_kept() {
    let mut server = Server::new(good);
    let both = vec![ip("192.0.2.1"), ip("2001:db8::9")];
    assert_eq!(server.ask("A.good.", Family::Any), Ok(both));
    assert_eq!(server.queries, 2);
    assert_eq!(server.ask("a.good", Family::V4), Ok(vec![ip("192.0.2.1")]));
    assert_eq!(server.queries, 2);
    server.net.pass(301 * SECOND);
    assert_eq!(server.ask("a.good", Family::V4), Ok(vec![ip("192.0.2.1")]));
    assert_eq!(server.queries, 3);
    assert_eq!(server.net.stacks[0].sockets_len(), 0);
}

#[test]
fn aliases_are_followed_from_reply_to_reply() {
    let mut server = Server::new(good);
    assert_eq!(server.ask("c.good", Family::V4), Ok(vec![ip("192.0.2.4")]));
    assert_eq!(server.queries, 2);
    assert_eq!(server.ask("c.good", Family::V4), Ok(vec![ip("192.0.2.4")]));
    assert_eq!(server.queries, 2);
}

#[test]
fn what_is_not_there_is_remembered() {
    let mut server = Server::new(good);
    assert_eq!(server.ask("no.good", Family::Any), Err(Error::NameNotFound));
    assert_eq!(server.ask("d.good", Family::V6), Err(Error::NameNotFound));
    let queries = server.queries;
    assert_eq!(server.ask("no.good", Family::Any), Err(Error::NameNotFound));
    assert_eq!(server.ask("d.good", Family::V6), Err(Error::NameNotFound));
    assert_eq!(server.queries, queries);
    server.net.pass(61 * SECOND);
    assert_eq!(server.ask("no.good", Family::V4), Err(Error::NameNotFound));
    assert_eq!(server.queries, queries + 1);
}

#[test]
fn figures_and_localhost_need_no_server() {
    let mut server = Server::new(|_, _| unreachable!());
    assert_eq!(
        server.ask("10.1.2.3", Family::Any),
        Ok(vec![ip("10.1.2.3")])
    );
    assert_eq!(server.ask("::1", Family::V4), Err(Error::NameNotFound));
    assert_eq!(
        server.ask("localhost", Family::V4),
        Ok(vec![ip("127.0.0.1")])
    );
    assert_eq!(server.ask("x.LocalHost.", Family::V6), Ok(vec![ip("::1")]));
    let stack = &mut server.net.stacks[0];
    assert_eq!(stack.resolve("a b", Family::Any), Err(Error::BadArgument));
    assert_eq!(stack.resolve("", Family::Any), Err(Error::BadArgument));
}

#[test]
fn a_reply_that_was_cut_off_is_asked_for_by_tcp() {
    let mut server = Server::new(|query, _| vec![reply(query, 0x200, &[])]);
    assert_eq!(server.ask("a.good", Family::V4), Ok(vec![ip("192.0.2.1")]));
    assert_eq!(server.queries, 2);
    // The server keeps its half of the connection; ours waits for that a minute.
    server.net.pass(61 * SECOND);
    assert_eq!(server.net.stacks[0].sockets_len(), 0);
}

#[test]
fn lies_are_ignored() {
    // Wrong id, wrong question, a question as answer, cut short, and then the truth.
    let mut server = Server::new(|query, _| {
        let evil: &[(&str, u16, u32, &[u8])] = &[("a.good", A, 60, &[6, 6, 6, 6])];
        let mut wrong_id = reply(query, 0, evil);
        wrong_id[0] ^= 1;
        let mut wrong_name = reply(query, 0, evil);
        wrong_name[13] ^= 1;
        let mut no_reply = reply(query, 0, evil);
        no_reply[2] &= 0x7f;
        let short = reply(query, 0, evil)[..query.len() + 5].to_vec();
        let other: &[(&str, u16, u32, &[u8])] = &[
            ("b.evil", A, 60, &[6, 6, 6, 6]),
            ("a.good", A, 60, &[192, 0, 2, 7]),
        ];
        vec![
            wrong_id,
            wrong_name,
            no_reply,
            short,
            vec![],
            vec![0; 11],
            reply(query, 0, other),
        ]
    });
    assert_eq!(server.ask("a.good", Family::V4), Ok(vec![ip("192.0.2.7")]));
}

#[test]
fn replies_from_elsewhere_are_ignored() {
    let mut server = Server::new(|_, _| vec![]);
    let id = server.net.stacks[0].resolve("a.good", Family::V4).unwrap();
    let liar = server.net.stacks[1].udp_bind(any(54)).unwrap();
    server.net.until(5 * SECOND, |net| {
        let udp = server.udp;
        match net.stacks[1].udp_recv_with(udp, |query, from, _| (query.to_vec(), from)) {
            Ok((query, from)) => {
                let evil = reply(&query, 0, &[("a.good", A, 60, &[6, 6, 6, 6])]);
                net.stacks[1].udp_send(liar, from, &evil).unwrap();
                true
            }
            Err(_) => false,
        }
    });
    server.net.pass(500 * MS);
    assert_eq!(server.net.stacks[0].resolve_result(id), None);
    server.behave = good;
    assert_eq!(server.answer(id), Ok(vec![ip("192.0.2.1")]));
}

#[test]
fn the_next_server_is_asked() {
    let silent: IpAddr = ip("10.0.0.99");
    let config = Config {
        name_servers: vec![silent, v4(1)],
        ..Config::default()
    };
    let mut server = Server::with_config(good, config);
    assert_eq!(server.ask("a.good", Family::V4), Ok(vec![ip("192.0.2.1")]));
    // This one fails first and knows the second time.
    server.behave = |query, n| {
        if n % 2 == 0 {
            vec![reply(query, 2, &[])]
        } else {
            good(query, n)
        }
    };
    assert_eq!(server.ask("d.good", Family::V4), Ok(vec![ip("192.0.2.4")]));
}

#[test]
fn silence_ends() {
    let mut server = Server::new(|_, _| vec![]);
    assert_eq!(server.ask("a.good", Family::V4), Err(Error::TimedOut));
    assert_eq!(server.queries, 3);
    server.behave = |query, _| vec![reply(query, 5, &[])];
    assert_eq!(
        server.ask("a.good", Family::V4),
        Err(Error::NameServerFailed)
    );
    let mut nobody = Server::with_config(good, Config::default());
    assert_eq!(nobody.ask("a.good", Family::V4), Err(Error::NoNameServer));
    let id = server.net.stacks[0].resolve("z.good", Family::Any).unwrap();
    server.net.step();
    server.net.stacks[0].resolve_cancel(id);
    assert_eq!(server.net.stacks[0].sockets_len(), 0);
}

#[test]
fn a_circle_of_aliases_ends() {
    let mut server = Server::new(|query, _| {
        let (name, _) = question(query);
        let other = if name == "x.good." {
            "y.good"
        } else {
            "x.good"
        };
        vec![reply(query, 0, &[(&name, 5, 60, &wire_name(other))])]
    });
    assert_eq!(
        server.ask("x.good", Family::V4),
        Err(Error::NameServerFailed)
    );
    assert!(server.queries < 12);
}

#[test]
fn tcp_that_lies_or_stops_is_an_error() {
    let mut server = Server::new(|query, _| vec![reply(query, 0x200, &[])]);
    server.by_tcp = |query, _| vec![reply(query, 0x200, &[])];
    assert_eq!(
        server.ask("a.good", Family::V4),
        Err(Error::NameServerFailed)
    );
    server.by_tcp = |_, _| vec![];
    assert!(server.ask("a.good", Family::V4).is_err());
}
