//! Questions and answers of one byte, and a stream, over loopback: to be counted with a tool
//! such as `valgrind --tool=none`, `perf stat` or callgrind.
//!
//! `loopback-bench rr N` or `loopback-bench bulk MIB`.

use viper_netstack::{Config, Error, Stack, TcpOptions};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let count: usize = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1000);
    let mut stack = Stack::new(Config::default(), [1; 32], 0);
    let address = "127.0.0.1:80".parse().expect("an address");
    let options = TcpOptions {
        nagle: false,
        ..TcpOptions::default()
    };
    let listener = stack.tcp_listen(address, 4, &options).expect("a free port");
    let client = stack.tcp_connect(address, None, &options).expect("a way");
    stack.poll(0, &mut []);
    let server = stack.tcp_accept(listener).expect("a connection");
    let mut now = 0;
    let mut buffer = [0; 1];
    match mode.as_str() {
        "rr" => {
            for _ in 0..count {
                now += 20_000;
                stack.tcp_send(client, b"?").expect("room");
                stack.poll(now, &mut []);
                while stack.take_ready().is_some() {}
                stack.tcp_recv(server, &mut buffer).expect("a question");
                stack.tcp_send(server, b"!").expect("room");
                stack.poll(now, &mut []);
                while stack.take_ready().is_some() {}
                stack.tcp_recv(client, &mut buffer).expect("an answer");
            }
        }
        _ => {
            let (mut sent, mut received, total) = (0, 0, count << 20);
            while received < total {
                now += 20_000;
                let room = stack.tcp_send_with(client, |room| room.len().min(total - sent));
                sent += room.unwrap_or(0);
                stack.poll(now, &mut []);
                loop {
                    match stack.tcp_recv_with(server, <[u8]>::len) {
                        Ok(len) => received += len,
                        Err(Error::WouldBlock) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                while stack.take_ready().is_some() {}
            }
        }
    }
}
