//! The cores of `fetch` and `httpd` on the host's sockets, to try them without a guest.
//!
//! `host fetch URL [WORD]...` writes to standard output, or with TO to a file; `ROOTS` in the
//! environment names a file with certificates. `host httpd DIRECTORY [CERT KEY]` serves a copy of
//! the directory's files that it makes when it starts, prints its address, and stops when its
//! standard input ends.

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use support::{CRYPTO, Host, Httpd, MemoryTree};
use viper_net_tools::httpd::Settings;
use viper_tls::{Identity, ServerConfig};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["fetch", rest @ ..] => std::process::exit(fetch(&rest.join(" "))),
        ["httpd", directory, rest @ ..] => httpd(Path::new(directory), rest),
        _ => eprintln!("host fetch URL [WORD]... or host httpd DIRECTORY [CERT KEY]"),
    }
}

fn fetch(words: &str) -> i32 {
    let mut host = Host::default();
    if let Ok(roots) = std::env::var("ROOTS") {
        let file = std::fs::read(roots).expect("a readable file");
        host.roots.add(&file).expect("certificates");
    }
    for word in words.split(' ') {
        let part = format!("{word}.part");
        if let Ok(data) = std::fs::read(&part) {
            host.files.insert(part, data);
        }
    }
    let code = host.fetch(words);
    std::io::stdout()
        .write_all(&host.output)
        .expect("an output");
    eprint!("{}", host.shown);
    for (name, data) in &host.files {
        std::fs::write(name, data).expect("a writable file");
    }
    i32::try_from(code).unwrap_or(20)
}

fn httpd(directory: &Path, identity: &[&str]) {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        if let (Ok(name), Ok(data)) = (entry.file_name().into_string(), std::fs::read(entry.path()))
        {
            files.insert(name, data);
        }
    }
    let tls = match identity {
        [certificate, key] => {
            let provider = Arc::new(CRYPTO.provider());
            let read = |path: &&str| std::fs::read(path).expect("a readable file");
            let identity = Identity::from_pem(&read(certificate), &read(key), &provider);
            Some(ServerConfig::new(provider, identity.expect("an identity")).expect("TLS"))
        }
        _ => None,
    };
    let server = Httpd::start(MemoryTree(files), Settings::default(), tls);
    println!("{}", server.at);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    println!("{:?}", server.stop());
}
