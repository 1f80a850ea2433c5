//! A TLS server on 127.0.0.1: answers HTTP requests with a line about the connection, and anything
//! else with itself.
//!
//!     tls_server --port PORT [--cert FILE --key FILE] [--client-ca FILE [--optional]]
//!         [--alpn A,B] [--suite NAME] [--group NAME] [--update-keys] [--at SECONDS]
//!
//! Without a certificate it makes one for `localhost` and 127.0.0.1, and prints it.

mod host;

use host::{Arguments, Outcome, RANDOM, Stream, describe};
use std::net::{TcpListener, TcpStream};
use viper_tls::{Connection, Identity, Roots, SelfSigned, ServerConfig, UnixSeconds};

fn main() {
    if let Err(error) = run() {
        eprintln!("tls_server: {error}");
        std::process::exit(1);
    }
}

fn run() -> Outcome<()> {
    let arguments = Arguments::parse(&["optional", "update-keys", "no-clock"])?;
    let config = config(&arguments)?;
    let port = u16::try_from(arguments.number("port")?.ok_or("--port is missing")?)?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let update_keys = arguments.has("update-keys");
    for socket in listener.incoming() {
        let (socket, config, now) = (socket?, config.clone(), arguments.now()?);
        std::thread::spawn(move || {
            if let Err(error) = serve(socket, &config, now, update_keys) {
                eprintln!("tls_server: {error}");
            }
        });
    }
    Ok(())
}

fn config(arguments: &Arguments) -> Outcome<ServerConfig> {
    let provider = arguments.provider()?;
    let (chain, key) = match (arguments.file("cert")?, arguments.file("key")?) {
        (Some(chain), Some(key)) => (chain, key),
        _ => {
            let now = arguments.now()?.ok_or("a certificate needs a clock")?;
            let made = SelfSigned::new(&["localhost", "127.0.0.1"], now, 365, &RANDOM)?;
            print!("{}", made.certificate_pem);
            (
                made.certificate_pem.into_bytes(),
                made.key_pem.as_bytes().to_vec(),
            )
        }
    };
    let identity = Identity::from_pem(&chain, &key, &provider)?;
    let config = match arguments.file("client-ca")? {
        None => ServerConfig::new(provider, identity)?,
        Some(file) => {
            let mut roots = Roots::new();
            roots.add(&file)?;
            if arguments.has("optional") {
                ServerConfig::asking_clients(provider, identity, roots)?
            } else {
                ServerConfig::for_known_clients(provider, identity, roots)?
            }
        }
    };
    Ok(config.with_alpn(&arguments.protocols()).with_sessions(64))
}

fn serve(
    socket: TcpStream,
    config: &ServerConfig,
    now: Option<UnixSeconds>,
    update_keys: bool,
) -> Outcome<()> {
    let mut stream = Stream::new(Connection::server(config, now)?, socket)?;
    let line = describe(&stream.handshake()?);
    eprintln!("{line}");
    loop {
        let goes_on = stream.turn()?;
        let request = stream.tls.plain().to_vec();
        stream.tls.plain_taken(request.len());
        if request.starts_with(b"GET ") {
            stream.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n")?;
            stream.write(format!("{line}\n").as_bytes())?;
            break;
        }
        if update_keys && !request.is_empty() {
            stream.tls.update_keys()?;
        }
        stream.write(&request)?;
        if !goes_on || stream.tls.peer_closed() {
            break;
        }
    }
    stream.tls.close_notify()?;
    stream.flush()
}
