//! A TLS client: standard input goes to the server, what it answers to standard output.
//!
//!     tls_client HOST PORT --ca FILE [--name NAME] [--cert FILE --key FILE] [--alpn A,B]
//!         [--suite NAME] [--group NAME] [--times N] [--update-keys] [--at SECONDS] [--no-clock]
//!         [--no-verification]
//!
//! `--update-keys` asks for new keys before the data and after it. `--times` connects again and again, resuming sessions. `--name` is the name to verify when it
//! is not HOST. One line about each connection, and errors, go to standard error.

mod host;

use host::{Arguments, Outcome, Stream, describe};
use std::io::{Read, Write};
use std::net::TcpStream;
use viper_tls::{ClientConfig, Connection, Identity, Roots};

fn main() {
    if let Err(error) = run() {
        eprintln!("tls_client: {error}");
        std::process::exit(1);
    }
}

fn run() -> Outcome<()> {
    let arguments = Arguments::parse(&["update-keys", "no-clock", "no-verification"])?;
    let [server, port] = &arguments.rest[..] else {
        return Err("usage: tls_client HOST PORT --ca FILE [OPTION]...".into());
    };
    let config = config(&arguments)?;
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    for _ in 0..arguments.number("times")?.unwrap_or(1) {
        let name = arguments.text("name").unwrap_or(server);
        let tls = Connection::client(&config, name, arguments.now()?)?;
        let socket = TcpStream::connect((server.as_str(), port.parse()?))?;
        talk(Stream::new(tls, socket)?, &arguments, &input)?;
    }
    Ok(())
}

fn config(arguments: &Arguments) -> Outcome<ClientConfig> {
    let provider = arguments.provider()?;
    let mut config = if arguments.has("no-verification") {
        ClientConfig::without_verification(provider.clone())?
    } else {
        let mut roots = Roots::new();
        roots.add(&arguments.file("ca")?.ok_or("--ca FILE is missing")?)?;
        ClientConfig::new(provider.clone(), roots)?
    };
    if let (Some(chain), Some(key)) = (arguments.file("cert")?, arguments.file("key")?) {
        config = config.with_identity(Identity::from_pem(&chain, &key, &provider)?);
    }
    Ok(config.with_alpn(&arguments.protocols()).with_sessions(8))
}

/// Sends the input, then prints what comes until the server is done, or silent for a second.
fn talk(mut stream: Stream, arguments: &Arguments, input: &[u8]) -> Outcome<()> {
    let peer = stream.handshake()?;
    eprintln!("{}", describe(&peer));
    if arguments.has("update-keys") {
        stream.tls.update_keys()?;
    }
    stream.write(input)?;
    if arguments.has("update-keys") {
        stream.tls.update_keys()?;
    }
    let mut silent = 0;
    while silent < 50 {
        let goes_on = stream.turn();
        let plain = stream.tls.plain();
        std::io::stdout().write_all(plain)?;
        silent = if plain.is_empty() { silent + 1 } else { 0 };
        stream.tls.plain_taken(usize::MAX);
        if !goes_on? || stream.tls.peer_closed() {
            break;
        }
    }
    stream.tls.close_notify()?;
    // The peer may be gone already.
    let _ = stream.flush();
    Ok(())
}
