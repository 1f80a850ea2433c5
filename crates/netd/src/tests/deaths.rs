//! The server's end, and its beginning after another's.

use super::world::{ALL, FakeCard, World, error_of, soon, until};
use crate::Netd;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use viper_rt::abi::{FOREVER, Signals};
use viper_rt::server::Server;
use viper_rt::thread::JoinHandle;
use viper_rt::{Error, Object, clock, host, thread};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Connections over the wire and within the machine, some of them written, some read, each waited
/// for by a thread of its own without a deadline: none hangs, none takes it for the peer's end.
#[test]
fn everybody_who_waits_hears_of_the_end() {
    const FLOWS: usize = 48;
    let world = World::new();
    let listener = world.host_listens(80);
    let network = world.client(ALL);
    let mut within = network.tcp_listen(at("127.0.0.1:81"), 64).unwrap();
    let mut waiting: Vec<JoinHandle> = Vec::new();
    let endings = Arc::new(Mutex::new(Vec::new()));
    let mut wait = |body: Box<dyn FnOnce() -> Result<(), Error> + Send>| {
        let endings = endings.clone();
        let thread = thread::spawn(move || {
            let ending = body();
            endings.lock().unwrap().push(ending);
        });
        waiting.push(thread.unwrap());
    };
    for index in 0..FLOWS {
        let to = match index % 4 {
            0 => at("127.0.0.1:81"),
            _ => at("10.0.0.1:80"),
        };
        let mut stream = network.tcp_connect(to, soon()).unwrap();
        match index % 4 {
            0 => {
                let mut far = within.accept(soon()).unwrap();
                wait(Box::new(move || {
                    while far.read(&mut [0; 99], FOREVER)? > 0 {}
                    Ok(())
                }));
                wait(Box::new(move || {
                    loop {
                        stream.write_all(&[1; 999], FOREVER)?;
                    }
                }));
            }
            1 => wait(Box::new(move || {
                loop {
                    stream.write_all(&[1; 999], FOREVER)?;
                }
            })),
            _ => wait(Box::new(move || stream.read(&mut [0], FOREVER).map(drop))),
        }
        if index % 4 != 0 {
            until(|| world.host.lock().unwrap().tcp_accept(listener).ok());
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    world.server.kill(9).unwrap();
    for thread in waiting {
        thread.join(soon()).unwrap();
    }
    let endings = endings.lock().unwrap();
    // Those within the machine have two ends here.
    assert_eq!(*endings, [Err(Error::ServerDied); FLOWS + FLOWS / 4]);
    assert_eq!(
        error_of(network.tcp_connect(at("10.0.0.1:80"), soon())),
        Some(Error::ServerDied)
    );
}

/// Begins after `text` was kept; its address then, and what it had kept, if anything was told.
fn begun_after(text: &'static str, has_card: bool) -> (Vec<IpAddr>, Option<String>) {
    let told = Arc::new(Mutex::new((Vec::new(), None)));
    let tell = told.clone();
    let server = host::spawn_process("netd", Vec::new(), &["netd"], move || {
        let server: Server<Netd<FakeCard>> = Server::new().unwrap();
        let card = has_card.then(|| (FakeCard::unplugged(), None));
        let mut netd = Netd::new(card, [9; 32], server.sources()).unwrap();
        let kept = tell.clone();
        netd.follow(
            text,
            Box::new(move |text| kept.lock().unwrap().1 = Some(text.into())),
        );
        tell.lock().unwrap().0 = netd.own.clone();
        0
    });
    let server = server.unwrap();
    server
        .wait(Signals::ENDED, clock::after(5 * clock::SECOND))
        .unwrap();
    assert_eq!(server.info().unwrap().exit_code, 0);
    let told = told.lock().unwrap();
    told.clone()
}

#[test]
fn a_successor_begins_with_the_lease_that_was_kept() {
    let lease = "10.7.0.9/24 10.7.0.1 10.7.0.1 10.7.0.2";
    let ip: IpAddr = "10.7.0.9".parse().unwrap();
    let (own, kept) = begun_after(lease, true);
    assert!(own.contains(&ip), "{own:?}");
    assert_eq!(kept, None, "it is kept already");
    // Nonsense is forgotten, and so is what nobody has a use for.
    for (text, has_card) in [
        ("10.7.0.9/24", true),
        ("127.0.0.9/8 10.7.0.1 -", true),
        (lease, false),
    ] {
        let (own, kept) = begun_after(text, has_card);
        assert!(!own.contains(&ip), "{own:?}");
        assert_eq!(kept.as_deref(), Some(""), "{text}");
    }
    let (_, kept) = begun_after("", true);
    assert_eq!(kept, None);
}
