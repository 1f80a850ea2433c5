//! A server on a wire, at whose other end another stack is a host of its own.

use crate::{DEVICE_KEY, Netd, NetworkCard};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use viper_netstack::{
    Cidr, Config, FrameDevice, FrameQueue, InterfaceConfig, Medium, SocketId, Stack, TcpOptions,
};
use viper_proto::net::client::Network;
use viper_proto::net::rules::TEXT_BYTES_MAX;
use viper_rt::abi::{FOREVER, Signals, Slot};
use viper_rt::handle::{Channel, Event, OwnedHandle, Process};
use viper_rt::server::{Server, supervisor};
use viper_rt::{Error, Object, client, clock, host, program, sys};

/// Everything.
pub const ALL: &str = "tcp connect *:*\ntcp listen *\nudp *\nicmp";
const EVENT: Slot = Slot::CHANNEL;

/// A wire: two queues of frames.
#[derive(Clone)]
pub struct Wire {
    to_card: Arc<Mutex<FrameQueue>>,
    to_host: Arc<Mutex<FrameQueue>>,
}

impl Wire {
    fn new() -> Wire {
        let queue = || Arc::new(Mutex::new(FrameQueue::new(512)));
        Wire {
            to_card: queue(),
            to_host: queue(),
        }
    }
}

struct End {
    from: Arc<Mutex<FrameQueue>>,
    to: Arc<Mutex<FrameQueue>>,
}

impl FrameDevice for End {
    fn receive(&mut self, take: &mut dyn FnMut(&[u8], bool)) -> bool {
        self.from
            .lock()
            .unwrap()
            .pop(|frame| take(frame, false))
            .is_some()
    }

    fn can_transmit(&self) -> bool {
        self.to.lock().unwrap().has_room()
    }

    fn transmit(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> bool {
        let mut frame = vec![0; len];
        fill(&mut frame);
        self.to.lock().unwrap().push(&frame)
    }
}

pub struct FakeCard(End);

impl FakeCard {
    /// With nobody at the other end of the wire.
    pub fn unplugged() -> FakeCard {
        let wire = Wire::new();
        FakeCard(End {
            from: wire.to_card,
            to: wire.to_host,
        })
    }
}

impl FrameDevice for FakeCard {
    fn receive(&mut self, take: &mut dyn FnMut(&[u8], bool)) -> bool {
        self.0.receive(take)
    }

    fn can_transmit(&self) -> bool {
        self.0.can_transmit()
    }

    fn transmit(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> bool {
        self.0.transmit(len, fill)
    }
}

impl NetworkCard for FakeCard {
    fn hardware(&self) -> Option<[u8; 6]> {
        Some([2, 0, 0, 0, 0, 7])
    }

    fn mtu(&self) -> Option<u16> {
        None
    }

    fn is_link_up(&self) -> bool {
        true
    }

    fn on_interrupt(&mut self) {}

    fn reclaim(&mut self) {}

    fn flush(&mut self) {}
}

/// The server, and a host at 10.0.0.1 on its wire; the server itself is 10.0.0.2.
pub struct World {
    pub server: Process,
    up: Channel,
    pub host: Arc<Mutex<Stack>>,
    stop: Arc<AtomicBool>,
}

impl World {
    /// Has the host on the wire, 10.0.0.1, listen at a port.
    pub fn host_listens(&self, port: u16) -> SocketId {
        let at = SocketAddr::from(([10, 0, 0, 1], port));
        let mut stack = self.host.lock().unwrap();
        stack.tcp_listen(at, 64, &TcpOptions::default()).unwrap()
    }

    /// With a card.
    pub fn new() -> World {
        World::with(true)
    }

    /// Without one, if not `has_card`.
    pub fn with(has_card: bool) -> World {
        let wire = Wire::new();
        let interrupt = Event::new().unwrap();
        let theirs = interrupt.try_clone().unwrap();
        let (up, down) = Channel::pair(16).unwrap();
        let handles: Vec<(Slot, OwnedHandle)> = vec![
            (Slot::SUPERVISOR, down.into_owned()),
            (EVENT, theirs.into_owned()),
        ];
        let card = wire.clone();
        let server = host::spawn_process("netd", handles, &["netd"], move || {
            let event: Event = program::take(EVENT).unwrap().into_object();
            let card = has_card.then(|| {
                let end = End {
                    from: card.to_card,
                    to: card.to_host,
                };
                (FakeCard(end), None)
            });
            let server = Server::new().unwrap();
            let sources = server.sources();
            sources.watch(&event, DEVICE_KEY, Signals(1)).unwrap();
            let mut netd = Netd::new(card, [9; 32], sources).unwrap();
            if has_card {
                netd.set_address("10.0.0.2".parse().unwrap(), 24).unwrap();
            }
            server.run(&mut netd).map_or(1, |()| 0)
        });
        let world = World {
            server: server.unwrap(),
            up,
            host: Arc::new(Mutex::new(host_stack())),
            stop: Arc::new(AtomicBool::new(false)),
        };
        sys::receive(world.up.raw(), FOREVER).check().unwrap();
        world.start_host(wire, interrupt);
        world
    }

    /// Moves the host's frames in a thread of its own.
    fn start_host(&self, wire: Wire, interrupt: Event) {
        let (stack, stop) = (self.host.clone(), self.stop.clone());
        viper_rt::thread::spawn(move || {
            let mut end = End {
                from: wire.to_host.clone(),
                to: wire.to_card.clone(),
            };
            while !stop.load(Ordering::Relaxed) {
                let mut stack = stack.lock().unwrap();
                stack.poll(clock::now(), &mut [&mut end]);
                drop(stack);
                if !wire.to_card.lock().unwrap().is_empty() && interrupt.signal(1).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        })
        .unwrap();
    }

    /// A channel to the server for a client that may do this.
    pub fn channel(&self, rules: &str) -> Channel {
        assert!(rules.len() <= TEXT_BYTES_MAX);
        let (ours, theirs) = Channel::pair(8).unwrap();
        let message = (42u64, 0u64, theirs, rules.as_bytes());
        client::send(&self.up, supervisor::NEW_CLIENT, message, FOREVER).unwrap();
        ours
    }

    /// A client that may do this.
    pub fn client(&self, rules: &str) -> Network {
        Network::over(self.channel(rules))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn host_stack() -> Stack {
    let mut stack = Stack::new(Config::default(), [3; 32], clock::now());
    let medium = Medium::Ethernet {
        mac: [2, 0, 0, 0, 0, 1],
    };
    let address = Cidr::new("10.0.0.1".parse().unwrap(), 24).unwrap();
    let interface = InterfaceConfig::fixed("net0", medium, &[address]);
    stack.add_interface(&interface).unwrap();
    stack
}

/// Five seconds from now.
pub fn soon() -> u64 {
    clock::after(5 * clock::SECOND)
}

/// Waits until `check` gives something.
pub fn until<T>(mut check: impl FnMut() -> Option<T>) -> T {
    let end = soon();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(clock::now() < end, "it did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The error of a result whose value says nothing.
pub fn error_of<T>(result: Result<T, Error>) -> Option<Error> {
    result.err()
}
