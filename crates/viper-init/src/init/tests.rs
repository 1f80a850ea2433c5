//! Init with fake processes: the shell of each test is the test itself.

use super::Init;
use crate::archive::Archive;
use crate::archive::tests::make;
use crate::manifest;
use crate::options::Options;
use crate::world::{Grants, World};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, mpsc};
use viper_proto::names::{self, rights, state};
use viper_rt::abi::{Rights, Signals, Slot};
use viper_rt::handle::{Channel, Device, OwnedHandle, Process, System};
use viper_rt::message::Reader;
use viper_rt::server::{Answer, NewClient, Server, Service};
use viper_rt::{Error, Object, client, clock, host, program, sys};

type Main = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Programs are functions; the console is a text.
struct Fake {
    programs: HashMap<&'static str, Main>,
    console: Arc<Mutex<String>>,
    is_off: Arc<Mutex<bool>>,
    boot_ns: u64,
    system: Option<System>,
}

impl World for Fake {
    fn start(
        &mut self,
        process: &manifest::Process,
        grants: &Grants<'_>,
    ) -> Result<Process, Error> {
        let main = self
            .programs
            .get(process.name.as_str())
            .ok_or(Error::NotFound)?
            .clone();
        let mut handles = Vec::new();
        for &(slot, handle, rights) in &grants.handles {
            let (copy,) = sys::handle_duplicate(handle, rights)?;
            handles.push((slot, OwnedHandle::new(copy)));
        }
        let mut arguments = vec![process.name.as_str()];
        arguments.extend(&grants.arguments);
        host::spawn_process(&process.name, handles, &arguments, move || main())
    }

    fn has_device(&self, name: &str) -> bool {
        name == "pl011"
    }

    fn device(&mut self, _: &str, _: u64) -> Option<Device> {
        None
    }

    fn system(&self) -> Option<&System> {
        self.system.as_ref()
    }

    fn wall_clock_ns(&self) -> Option<u64> {
        Some(self.boot_ns)
    }

    fn set_wall_clock_ns(&mut self, boot_ns: u64) {
        self.boot_ns = boot_ns;
    }

    fn write(&mut self, text: core::fmt::Arguments<'_>) {
        self.console.lock().unwrap().push_str(&text.to_string());
    }

    fn power_off(&mut self) {
        *self.is_off.lock().unwrap() = true;
    }
}

/// A server that answers with its process id, dies on 13, and never becomes ready on request. It
/// tells user and group of its client on 99, keeps a number on 20, and tells it on 21.
struct Echo;

impl Service for Echo {
    type Client = (u64, u64);
    fn connect(&mut self, who: NewClient) -> Result<(u64, u64), Error> {
        Ok((who.user.into(), who.group.into()))
    }
    fn request(&mut self, who: &mut (u64, u64), mut request: Reader) -> Answer {
        match request.word() {
            Ok(13) => program::exit(13),
            Ok(99) => Answer::from_result(Ok(*who)),
            Ok(20) => Answer::from_result(with_names(|names| {
                names.keep(3, b"number")?;
                assert_eq!(names.keep(16, b""), Err(Error::InvalidArgument));
                Ok((0u64, own_id()))
            })),
            Ok(21) => Answer::from_result(with_names(|names| {
                Ok((names.kept(3)?.len() as u64, own_id()))
            })),
            Ok(word) => Answer::from_result(Ok((word, own_id()))),
            Err(error) => Answer::error(error),
        }
    }
}

/// A server has its name channel for as long as it runs.
fn with_names<T>(what: impl FnOnce(&names::Client) -> Result<T, Error>) -> Result<T, Error> {
    let raw = program::peek(Slot::NAMES).ok_or(Error::NoService)?;
    let (copy,) = sys::handle_duplicate(raw, Rights::ALL)?;
    what(&names::Client::new(OwnedHandle::new(copy).into_object()))
}

fn own_id() -> u64 {
    viper_rt::object::process_info(viper_rt::abi::Handle::NONE).map_or(0, |i| i.id)
}

fn serve() -> i64 {
    Server::new().unwrap().run(&mut Echo).map_or(1, |()| 0)
}

const MANIFEST: &str = "viper-boot-manifest 1
image 9.9
process echod
role server
boot echod
priority 5
quota 1024 64 2
restart always 1000 400
cap serve ECHOD:
process oned
role server
boot oned
priority 5
quota 1024 64 2
restart never 0 0
cap serve ONED:
process secretd
role server
boot secretd
priority 5
quota 1024 64 2
restart always 0 0
cap serve SECRETD:
process lackd
role server
boot oned
priority 5
quota 1024 64 2
restart never 0 0
cap device virtio-blk-1 4 required
cap serve LACKD:
process haved
role server
boot oned
priority 5
quota 1024 64 2
restart never 0 0
cap device pl011 0 required
cap serve HAVED:
process sh
role shell
boot sh
priority 3
quota 1024 64 2
restart never 0 0
need echod
cap connect ECHOD:
cap connect ONED:
cap connect LACKD:
cap connect HAVED:
cap system supervise
cap system trace
cap system boot-archive
cap system clock
end
";

/// Boots with these words on the command line; `test` runs as the shell. Returns the console text.
fn boot(words: &str, test: impl Fn(names::Client) + Send + Sync + 'static) -> (String, bool) {
    let (done, result) = mpsc::channel();
    let done = Mutex::new(done);
    let shell = move || {
        let names = program::take(Slot::NAMES).unwrap().into_object::<Channel>();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            test(names::Client::new(names));
        }));
        done.lock().unwrap().send(outcome.is_ok()).unwrap();
        if outcome.is_ok() { 3 } else { 101 }
    };
    let programs: [(&'static str, Main); 5] = [
        ("echod", Arc::new(serve)),
        ("oned", Arc::new(serve)),
        ("haved", Arc::new(serve)),
        ("secretd", Arc::new(serve)),
        ("sh", Arc::new(shell)),
    ];
    let mut world = Fake {
        programs: programs.into(),
        console: Arc::default(),
        is_off: Arc::default(),
        boot_ns: 77,
        system: None,
    };
    let (console, is_off) = (world.console.clone(), world.is_off.clone());
    let words = words.to_string();
    let init = host::spawn_process("init", Vec::new(), &["init"], move || {
        let archive = Archive::open(make(&[
            ("manifest", MANIFEST.as_bytes()),
            ("exec", b"echo hello\n"),
        ]));
        world.system = Some(host::system(Arc::default()));
        let server = Server::supervised_by(None).unwrap();
        let options = Options::parse([words.as_str()].into_iter());
        let mut init = Init::new(world, options, archive.ok(), server.sources());
        init.boot();
        server.run(&mut init).map_or(1, |()| 0)
    })
    .unwrap();
    let passed = result
        .recv_timeout(std::time::Duration::from_secs(20))
        .expect("the shell runs");
    assert!(passed, "see the shell's panic above");
    // Let init see the end of the shell.
    let limit = clock::after(clock::SECOND / 4);
    let _ = init.wait(Signals::ENDED, limit);
    let _ = init.kill(0);
    let console = console.lock().unwrap().clone();
    let is_off = *is_off.lock().unwrap();
    (console, is_off)
}

fn soon() -> u64 {
    clock::after(10 * clock::SECOND)
}

fn echo(channel: &Channel, word: u64) -> Result<(u64, u64), Error> {
    client::call(channel, 1, word, soon())
}

#[test]
fn what_a_server_keeps_outlives_it_and_is_its_own() {
    boot("", |names| {
        assert_eq!(names.keep(3, b"x"), Err(Error::NoRight));
        assert_eq!(names.kept(3).err(), Some(Error::NoRight));
        let one = names.connect(b"ECHOD:", soon()).unwrap();
        assert_eq!(echo(&one, 21).unwrap().0, 0);
        let (_, first) = echo(&one, 20).unwrap();
        assert_eq!(echo(&one, 13), Err(Error::PeerClosed));
        let two = loop {
            match names.connect(b"ECHOD:", soon()) {
                Ok(two) => break two,
                Err(_) => clock::sleep(clock::MILLISECOND),
            }
        };
        let (kept, second) = echo(&two, 21).unwrap();
        assert_eq!(kept, 6);
        assert_ne!(first, second);
        let other = names.connect(b"ONED:", soon()).unwrap();
        assert_eq!(echo(&other, 21).unwrap().0, 0);
    });
}

#[test]
fn servers_hear_for_whom_a_client_works() {
    boot("", |names| {
        let told = |names: &names::Client| {
            let channel = names.connect(b"ECHOD:", soon()).unwrap();
            echo(&channel, 99).unwrap()
        };
        assert_eq!(told(&names), (0, 0));
        let ann = names.duplicate_as(rights::ALL, 10, 5).unwrap();
        let ann = names::Client::new(ann);
        assert_eq!(told(&ann), (10, 5));
        let child = names::Client::new(ann.duplicate(rights::ALL).unwrap());
        assert_eq!(told(&child), (10, 5), "what it starts works for the same");
        for (user, group) in [(0, 0), (0, 5), (11, 5), (10, 0)] {
            let other = child.duplicate_as(0, user, group);
            assert_eq!(other.err(), Some(Error::NoRight));
        }
        assert!(child.duplicate_as(0, 10, 5).is_ok());
    });
}

#[test]
fn a_server_whose_device_the_machine_lacks_is_not_there() {
    boot("", |names| {
        assert_eq!(
            names.connect(b"LACKD:", soon()).err(),
            Some(Error::NotFound)
        );
        assert_eq!(names.server_status(b"lackd").err(), Some(Error::NotFound));
        assert!(names.connect(b"HAVED:", soon()).is_ok());
    });
}

#[test]
fn a_server_that_dies_comes_back_and_its_clients_connect_again() {
    let (console, _) = boot("", |names| {
        let one = names.connect(b"echod:", soon()).unwrap();
        let (word, first) = echo(&one, 5).unwrap();
        assert_eq!(word, 5);
        assert_eq!(names.server_status(b"ECHOD:").unwrap().process_id, first);
        assert_eq!(echo(&one, 13), Err(Error::PeerClosed));
        let two = names.connect(b"ECHOD:", soon()).unwrap();
        let (_, second) = echo(&two, 6).unwrap();
        assert_ne!(first, second);
        let status = names.server_status(b"echod").unwrap();
        assert_eq!(
            (status.state, status.starts, status.exit_code),
            (state::READY, 2, 13)
        );
    });
    assert!(
        console.starts_with("ViperOS 9.9 MICROKERNEL\n"),
        "{console}"
    );
    assert_eq!(
        console
            .lines()
            .filter(|l| l.contains("echod ended with code 13"))
            .count(),
        1
    );
}

#[test]
fn names_may_be_reached_only_by_those_the_manifest_names() {
    boot("", |names| {
        assert_eq!(
            names.connect(b"SECRETD:", soon()).err(),
            Some(Error::NoRight)
        );
        assert_eq!(
            names.connect(b"NOBODY:", soon()).err(),
            Some(Error::NotFound)
        );
        let child = names::Client::new(names.duplicate(rights::ASSIGN).unwrap());
        assert_eq!(child.server_kill(b"echod"), Err(Error::NoRight));
        assert_eq!(child.boot_at(0).err(), Some(Error::NoRight));
        assert!(child.connect(b"ECHOD:", soon()).is_ok());
        assert_eq!(child.assign_set(b"X:", b"/x"), Ok(()));
        assert_eq!(&*names.assign_get(b"x:").unwrap(), b"/x");
        assert_eq!(names.wall_clock(), Ok(77));
        assert_eq!(child.set_wall_clock(78), Err(Error::NoRight));
        assert_eq!(names.wall_clock(), Ok(77));
        assert_eq!(
            names.set_wall_clock(u64::MAX - 5),
            Err(Error::InvalidArgument)
        );
        assert_eq!(names.set_wall_clock(1_000_000), Ok(()));
        assert_eq!(child.wall_clock(), Ok(1_000_000));
        assert_eq!(names.version(), Ok(names::VERSION));
    });
}

#[test]
fn commands_stop_restart_and_kill_servers() {
    let (console, _) = boot("", |names| {
        let before = names.connect(b"ECHOD:", soon()).unwrap();
        let (_, first) = echo(&before, 1).unwrap();
        names.server_restart(b"echod").unwrap();
        let (_, second) = echo(&names.connect(b"ECHOD:", soon()).unwrap(), 1).unwrap();
        assert_ne!(first, second);
        names.server_stop(b"echod").unwrap();
        assert_eq!(
            names.connect(b"ECHOD:", soon()).err(),
            Some(Error::NoService)
        );
        names.server_restart(b"echod").unwrap();
        assert!(names.connect(b"ECHOD:", soon()).is_ok());
        names.server_kill(b"oned").unwrap();
        while names.server_status(b"oned").unwrap().state != state::FAILED {
            clock::sleep(clock::MILLISECOND);
        }
        assert_eq!(
            names.connect(b"ONED:", soon()).err(),
            Some(Error::NoService)
        );
    });
    assert!(
        !console.contains("echod ended"),
        "what was asked for is no news: {console}"
    );
    assert!(console.contains("oned was killed\n"), "{console}");
}

#[test]
fn servers_can_be_switched_off_and_the_shell_starts_all_the_same() {
    boot("viper.servers=-echod", |names| {
        assert_eq!(
            names.connect(b"ECHOD:", soon()).err(),
            Some(Error::NoService)
        );
        assert_eq!(names.server_status(b"echod").unwrap().state, state::OFF);
        assert!(names.connect(b"ONED:", soon()).is_ok());
    });
}

#[test]
fn recovery_starts_the_shell_alone() {
    let (console, _) = boot("viper.mode=recovery", |names| {
        assert!(program::arguments().any(|a| a == "--recovery"));
        assert_eq!(names.server_at(0).err(), Some(Error::NotFound));
        let (len, part) = names.boot_file(b"exec", 5).unwrap();
        assert_eq!((len, &*part), (11, b"hello\n".as_slice()));
        let (len, memory) = names.boot_memory(b"manifest").unwrap();
        let mut text = vec![0; len as usize];
        memory.read(0, &mut text).unwrap();
        assert_eq!(text, MANIFEST.as_bytes());
    });
    assert_eq!(console.lines().next(), Some("ViperOS 9.9 RECOVERY"));
}

#[test]
fn an_exec_boot_frames_the_shell_and_turns_the_machine_off() {
    let (console, is_off) = boot("viper.exec=1", |_| {
        let arguments: Vec<_> = program::arguments().collect();
        assert_eq!(arguments, ["sh", "--boot-script", "exec"]);
    });
    assert!(console.contains("\x02VIPER-EXEC-BEGIN\x03\n"));
    assert!(
        console.ends_with("\x02VIPER-EXEC-END 3\x03\n"),
        "{console:?}"
    );
    assert!(is_off);
}

#[test]
fn traces_of_servers_can_be_read_by_those_who_may() {
    boot("", |names| {
        let channel = names.connect(b"ECHOD:", soon()).unwrap();
        viper_rt::trace::set_current(42);
        echo(&channel, 1).unwrap();
        viper_rt::trace::set_current(0);
        // The reply comes before the server notes anything after it, so ask once more.
        echo(&channel, 2).unwrap();
        let ring = names.trace_ring(b"echod").unwrap();
        let ring = viper_rt::Mapping::read_only(&ring, 0, viper_rt::trace::RING_BYTES).unwrap();
        let mut count = 0;
        viper_rt::trace::read(&ring, |record| count += usize::from(record.id == 42)).unwrap();
        assert_eq!(count, 2, "begin and end");
        let child = names::Client::new(names.duplicate(0).unwrap());
        assert_eq!(child.trace_ring(b"echod").err(), Some(Error::NoRight));
    });
}

#[test]
fn nonsense_from_a_client_is_answered() {
    boot("", |names| {
        let channel = names.into_channel();
        for operation in 0..40u16 {
            for words in 0..4u64 {
                let list: Vec<u64> = (0..words).map(|n| u64::MAX - n).collect();
                let answer = client::call::<()>(&channel, operation, list.as_slice(), soon());
                assert_ne!(answer, Err(Error::PeerClosed), "operation {operation}");
            }
        }
        let alive = names::Client::new(channel);
        assert_eq!(alive.version(), Ok(names::VERSION));
    });
}

#[test]
fn rights_are_only_what_the_manifest_says() {
    let manifest = manifest::Manifest::parse(MANIFEST).unwrap();
    let shell = manifest.processes.last().unwrap();
    let rights = super::name_rights(shell);
    assert_eq!(
        rights,
        rights::ASSIGN | rights::MANAGE | rights::TRACE | rights::BOOT | rights::CLOCK
    );
    assert!(!super::system_rights(shell).contains(Rights::MANAGE));
}

/// Says when the thread that has it ends.
struct Guard(Arc<Mutex<u32>>);

impl Drop for Guard {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

#[test]
fn what_the_shell_started_ends_with_it() {
    let ended = Arc::new(Mutex::new(0));
    let counter = ended.clone();
    boot("", move |_| {
        let (one, two) = (Guard(counter.clone()), Guard(counter.clone()));
        let child = move || {
            let grandchild = move || {
                let _guard = two;
                clock::sleep(1000 * clock::SECOND);
                0
            };
            let _guard = one;
            host::spawn_process("grandchild", Vec::new(), &[], grandchild).unwrap();
            clock::sleep(1000 * clock::SECOND);
            0
        };
        host::spawn_process("child", Vec::new(), &[], child).unwrap();
        clock::sleep(20 * clock::MILLISECOND);
    });
    let limit = soon();
    while *ended.lock().unwrap() < 2 && clock::now() < limit {
        clock::sleep(clock::MILLISECOND);
    }
    assert_eq!(*ended.lock().unwrap(), 2);
}
