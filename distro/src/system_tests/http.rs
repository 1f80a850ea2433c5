//! `fetch` from a server on the host, and a client on the host at `httpd`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{Lab, Test, Verdict, one};
use crate::cli::MachineOptions;
use crate::qemu::parse_forward;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    one("http-fetch", fetch),
    one("http-fetch-refuses", refuses),
    one("http-serve", serve),
    one("http-serve-tls", serve_tls),
    one("http-serve-known", serve_known),
    one("http-usage", usage),
];

/// The host, as QEMU's user network shows it to the guest.
const HOST: &str = "10.0.2.2";
const PATIENCE: Duration = Duration::from_secs(100);

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A server on the host with a handful of answers. Gives the requests' first lines.
fn host_server() -> Result<(u16, Receiver<String>), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
    let port = listener.local_addr().map_err(text)?.port();
    let (said, heard) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if answer(stream).is_some_and(|line| said.send(line).is_err()) {
                return;
            }
        }
    });
    Ok((port, heard))
}

fn answer(stream: TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut range = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(from) = line.strip_prefix("Range: bytes=") {
            range = from.trim().trim_end_matches('-').parse::<usize>().ok();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let path = first.split(' ').nth(1).unwrap_or("");
    let mut stream = reader.into_inner();
    let sent = match (path, range) {
        ("/plain", _) => length("200 OK", b"plain text\n"),
        ("/chunks", _) => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            6\r\nin two\r\n7;x=y\r\n pieces\r\n0\r\nT: x\r\n\r\n"
            .to_vec(),
        ("/moved", _) => {
            b"HTTP/1.1 302 Found\r\nLocation: chunks\r\nContent-Length: 0\r\n\r\n".to_vec()
        }
        ("/cut", None) => {
            b"HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\nContent-Length: 10\r\n\r\n01234".to_vec()
        }
        ("/cut", Some(from)) => {
            let mut all = format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-9/10\r\n\
                 Content-Length: {}\r\n\r\n",
                10 - from
            )
            .into_bytes();
            all.extend_from_slice(&b"0123456789"[from..]);
            all
        }
        ("/smuggled", _) => {
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_vec()
        }
        _ => length("404 Not Found", b"no"),
    };
    let _ = stream.write_all(&sent);
    Some(first)
}

fn length(status: &str, body: &[u8]) -> Vec<u8> {
    let mut all = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    all.extend_from_slice(body);
    all
}

fn fetch(lab: &Lab<'_>) -> Verdict {
    let (port, heard) = host_server()?;
    let at = format!("http://{HOST}:{port}");
    let outcome = lab.run(
        &MachineOptions::default(),
        &format!(
            "netinfo -w 20\nfetch {at}/plain\nfetch {at}/moved\n\
             fetch {at}/cut TO T:cut\nfetch {at}/cut TO T:cut RESUME\nType T:cut"
        ),
    )?;
    outcome.code(0)?;
    outcome.prints("plain text\n")?;
    outcome.prints("in two pieces")?;
    outcome.prints("T:cut.part has the first 5 bytes; RESUME fetches the rest")?;
    outcome.prints("0123456789")?;
    let lines: Vec<_> = heard.try_iter().collect();
    let wanted = ["/plain", "/moved", "/chunks", "/cut", "/cut"];
    let paths: Vec<_> = lines.iter().filter_map(|l| l.split(' ').nth(1)).collect();
    match paths == wanted {
        true => Ok(()),
        false => Err(format!("asked for {paths:?}")),
    }
}

fn refuses(lab: &Lab<'_>) -> Verdict {
    let (port, _heard) = host_server()?;
    let at = format!("http://{HOST}:{port}");
    let outcome = lab.run(
        &MachineOptions::default(),
        &format!(
            "netinfo -w 20\nfetch {at}/none TO T:none\nEcho none $?\n\
             fetch {at}/smuggled\nEcho smuggled $?\nfetch https://{HOST}:{port}/plain\nEcho tls $?\n\
             List T:"
        ),
    )?;
    outcome.code(0)?;
    outcome.prints("the server answered 404 Not Found")?;
    outcome.prints("none 10")?;
    outcome.prints("length of the body told twice")?;
    outcome.prints("smuggled 10")?;
    outcome.prints("tls 10")?;
    match outcome.output.contains("none.part") {
        true => Err("a part was left".into()),
        false => Ok(()),
    }
}

/// Asks at a port until somebody answers.
fn ask(port: u16, request: &'static [u8]) -> Receiver<String> {
    let (said, heard) = channel();
    thread::spawn(move || {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let answer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|mut stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(request)?;
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer)?;
                Ok(String::from_utf8_lossy(&answer).into_owned())
            });
            match answer {
                Ok(answer) if !answer.is_empty() => {
                    let _ = said.send(answer);
                    return;
                }
                _ => thread::sleep(Duration::from_millis(100)),
            }
        }
    });
    heard
}

fn forwarded(guest_port: u16) -> Result<(u16, MachineOptions), String> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
    let port = free.local_addr().map_err(text)?.port();
    let options = MachineOptions {
        hostfwd: vec![parse_forward(&format!("tcp:{port}-{guest_port}"))?],
        ..MachineOptions::default()
    };
    Ok((port, options))
}

fn serve(lab: &Lab<'_>) -> Verdict {
    let (port, options) = forwarded(80)?;
    let heard = ask(
        port,
        b"GET /startup HTTP/1.1\r\nHost: h\r\nRange: bytes=0-9\r\n\r\n\
          GET /../s/startup HTTP/1.1\r\nHost: h\r\n\r\n\
          GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    );
    let outcome = lab.run(&options, "netinfo -w 20\nhttpd S: SECONDS 8")?;
    outcome.code(0)?;
    outcome.prints("httpd: serves /s at port 80 (http)")?;
    outcome.prints("1 connections, 3 requests")?;
    let answer = heard
        .recv_timeout(Duration::from_secs(5))
        .map_err(|_| "nobody answered")?;
    for part in [
        "HTTP/1.1 206 Partial Content\r\n",
        "Content-Range: bytes 0-9/",
        "HTTP/1.1 404 Not Found\r\n",
        "<a href=\"./startup\">startup</a>",
        "Date: ",
    ] {
        if !answer.contains(part) {
            return Err(format!("no {part} in {answer}"));
        }
    }
    Ok(())
}

/// Server and client in one machine, over TLS: the certificate is not trusted, then it is.
fn serve_tls(lab: &Lab<'_>) -> Verdict {
    let outcome = lab.run(
        &MachineOptions::default(),
        "netinfo -w 20\nhttpd S: PORT 0 TLSPORT 443 SECONDS 60 &\nWait 5\n\
         fetch https://127.0.0.1/startup\nEcho first $?\nfetch https://127.0.0.1/startup NOVERIFY\n\
         Copy S:httpd.crt TO CERTS:own.crt\nfetch https://127.0.0.1/startup HEAD\nEcho second $?",
    )?;
    outcome.code(0)?;
    outcome.prints("the peer's certificate is self-signed")?;
    outcome.prints("first 10")?;
    outcome.prints("Assign C: SYS:c")?;
    outcome.prints("HTTP/1.1 200 OK")?;
    outcome.prints("second 0")
}

/// An authority of clients; a client with its key, and another authority's client with the same.
const CLIENTS: &[(&str, &str)] = &[
    (
        "authority",
        include_str!("../../../crates/viper-net-tools/testdata/authority.pem"),
    ),
    (
        "client",
        include_str!("../../../crates/viper-net-tools/testdata/client.pem"),
    ),
    (
        "stranger",
        include_str!("../../../crates/viper-net-tools/testdata/stranger.pem"),
    ),
    (
        "key",
        include_str!("../../../crates/viper-net-tools/testdata/key.pem"),
    ),
];

/// A server that wants to know its clients, and clients of whom it knows one.
fn serve_known(lab: &Lab<'_>) -> Verdict {
    let mut script = String::from("netinfo -w 20\n");
    for (name, text) in CLIENTS {
        for line in text.lines() {
            script += &format!("Echo \"{line}\" >>T:{name}\n");
        }
    }
    script += "httpd S: PORT 0 TLSPORT 443 CLIENTCA T:authority SECONDS 60 &\nWait 5\n\
        fetch https://127.0.0.1/startup NOVERIFY\nEcho nobody $?\n\
        fetch https://127.0.0.1/startup NOVERIFY CERT T:stranger KEY T:key\nEcho stranger $?\n\
        fetch https://127.0.0.1/startup NOVERIFY CERT T:stranger\nEcho keyless $?\n\
        fetch https://127.0.0.1/startup NOVERIFY CERT T:client\nEcho client $?";
    let outcome = lab.run(&MachineOptions::default(), &script)?;
    outcome.code(0)?;
    for part in [
        "the peer gave up: it wants a certificate of ours",
        "nobody 10",
        "our certificate is from an authority it does not know",
        "stranger 10",
        "T:stranger: the private key is missing",
        "keyless 20",
        "Assign C: SYS:c",
        "client 0",
    ] {
        outcome.prints(part)?;
    }
    Ok(())
}

fn usage(lab: &Lab<'_>) -> Verdict {
    let options = MachineOptions {
        no_net: true,
        ..MachineOptions::default()
    };
    let outcome = lab.run(
        &options,
        "fetch\nEcho a $?\nfetch ftp://h/\nEcho b $?\nhttpd PORT x\nEcho c $?\n\
         fetch '?'\nEcho d $?\nhttpd --help\nEcho e $?\nhttpd CLIENTCA S:ca\nEcho f $?",
    )?;
    outcome.code(0)?;
    for part in [
        "fetch: usage: fetch URL",
        "a 20",
        "ftp://h/: neither http nor https",
        "b 20",
        "c 20",
        "[CERT FILE] [KEY FILE] [TIMEOUT SECONDS]",
        "d 0",
        "[CLIENTCA FILE] [OPTIONAL]",
        "e 0",
        "CLIENTCA goes with TLSPORT",
        "f 20",
    ] {
        outcome.prints(part)?;
    }
    Ok(())
}
