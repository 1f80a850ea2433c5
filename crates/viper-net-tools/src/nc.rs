//! `nc`.

use crate::arguments::{Problem, Word, number};
use crate::text::address_of;
use crate::{OK, Stop, Words, run};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use viper_proto::net::client::{Network, TcpReader, TcpStream, TcpWriter};
use viper_proto::stream::CHUNK_MAX;
use viper_proto::{console, stream};
use viper_rt::abi::{FOREVER, Slot};
use viper_rt::handle::OwnedHandle;
use viper_rt::{Error, clock, eprintln, program, stdio, thread};

const USAGE: &str = "\
nc [-dv] [-w SECONDS] HOST PORT    connects
nc -l [-dkv] [-p] [HOST] PORT      listens, and takes one connection
Copies standard input to the connection, and what comes from there to standard output, until both
have ended; the console does not count as input that must end.
  -d  takes no input        -k  takes one connection after the other
  -v  says whom it talks to -w  how long connecting may take (default 30)";

#[derive(Debug, Default)]
struct Plan {
    listens: bool,
    keeps_on: bool,
    is_deaf: bool,
    is_talkative: bool,
    patience_s: u64,
    host: Option<&'static str>,
    port: u16,
}

/// Connects or listens, and copies both ways.
#[must_use]
pub fn nc() -> i64 {
    run(USAGE, |words| {
        let plan = plan(words)?;
        let network = Network::connect()?;
        if plan.listens {
            return listen(&network, &plan);
        }
        let host = plan.host.ok_or(Problem::Missing("a host"))?;
        let to = address_of(&network, host, IpAddr::is_ipv4)
            .or_else(|_| address_of(&network, host, |_| true))?;
        let deadline = clock::after(plan.patience_s * clock::SECOND);
        let stream = network.tcp_connect(SocketAddr::new(to, plan.port), deadline);
        serve(
            stream.map_err(|error| Stop::Failed(Some(host), error))?,
            &plan,
        )
    })
}

fn plan(words: &mut Words) -> Result<Plan, Stop> {
    let mut plan = Plan {
        patience_s: 30,
        ..Plan::default()
    };
    let mut places = [None; 2];
    while let Some(word) = words.take() {
        match word {
            Word::Help => return Err(Stop::Usage),
            Word::Option('l') => plan.listens = true,
            Word::Option('k') => plan.keeps_on = true,
            Word::Option('d') => plan.is_deaf = true,
            Word::Option('v') => plan.is_talkative = true,
            Word::Option('w') => plan.patience_s = words.number(1, 86_400)?,
            Word::Option('p') => places[1] = Some(words.value("a port")?),
            Word::Option(option) => return Err(Problem::UnknownOption(option).into()),
            Word::Plain(text) => match places {
                [None, _] => places[0] = Some(text),
                [Some(_), None] => places[1] = Some(text),
                _ => return Err(Problem::TooMany.into()),
            },
        }
    }
    let port = match places {
        [Some(port), None] if plan.listens => port,
        [host, Some(port)] => {
            plan.host = host;
            port
        }
        _ => return Err(Problem::Missing("a port").into()),
    };
    plan.port = number(port, 1, 65_535)? as u16;
    Ok(plan)
}

fn listen(network: &Network, plan: &Plan) -> Result<i64, Stop> {
    let at = match plan.host {
        Some(host) => address_of(network, host, |_| true)?,
        // All addresses, of both versions.
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let mut listener = network.tcp_listen(SocketAddr::new(at, plan.port), 8)?;
    if plan.is_talkative {
        eprintln!("nc: listens at {}", listener.local());
    }
    loop {
        let stream = listener.accept(FOREVER)?;
        if !plan.keeps_on {
            // Nobody else is to wait for this program.
            drop(listener);
            return serve(stream, plan);
        }
        if let Err(Stop::Failed(_, error)) = serve(stream, plan) {
            eprintln!("nc: {error}");
        }
    }
}

fn serve(stream: TcpStream, plan: &Plan) -> Result<i64, Stop> {
    if plan.is_talkative {
        eprintln!("nc: {} talks to {}", stream.local(), stream.peer());
    }
    let (reader, mut writer) = stream.split();
    let input = program::take(Slot::STDIN).filter(|_| !plan.is_deaf);
    let Some(input) = input else {
        // Deaf, or in a connection after the first: there is nothing (more) to send.
        if !plan.is_deaf {
            let _ = writer.shutdown();
        }
        copy_out(reader)?;
        return Ok(OK);
    };
    let is_console = is_console(input.raw());
    let sender = thread::spawn(move || copy_in(input, writer))?;
    copy_out(reader)?;
    if !is_console {
        sender.join(FOREVER)?;
    }
    Ok(OK)
}

/// Whether a stream is a console: that has a size.
fn is_console(handle: viper_rt::abi::Handle) -> bool {
    use viper_rt::Object;
    let client = console::Client::new(viper_rt::handle::Channel::from_raw(handle));
    let has_size = client.size().is_ok();
    // The handle is only borrowed.
    let _ = client.into_channel().into_owned().into_raw();
    has_size
}

/// Standard input to the connection.
fn copy_in(input: OwnedHandle, mut writer: TcpWriter) {
    let input = stream::Client::new(input.into_object());
    loop {
        match input.read(CHUNK_MAX as u32, FOREVER) {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => {
                if writer.write_all(&bytes, FOREVER).is_err() {
                    return;
                }
            }
            Err(Error::Interrupted) => {}
            Err(_) => break,
        }
    }
    let _ = writer.shutdown();
}

/// The connection to standard output.
fn copy_out(mut reader: TcpReader) -> Result<(), Stop> {
    let mut space = [0; 64 * CHUNK_MAX];
    loop {
        match reader.read(&mut space, FOREVER)? {
            0 => return Ok(()),
            count => {
                let part = space.get(..count).unwrap_or_default();
                // Whoever was to have it has gone, or has no room: there is no use in going on.
                stdio::try_write_to(Slot::STDOUT, part)
                    .map_err(|error| Stop::Failed(Some("standard output"), error))?;
            }
        }
    }
}
