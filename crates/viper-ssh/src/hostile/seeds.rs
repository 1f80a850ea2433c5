//! The valid messages and files from which the corpus is made.

use std::fs;
use std::path::Path;
use std::vec::Vec;

use super::{rng, vec};
use crate::sftp::{Attributes, Entry, OpenFlags, kind};
use crate::wire::Put;
use crate::{ChannelKind, PrivateKey, Request, Tcpip, TerminalSize, algorithm, key, message};

pub(super) fn write() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (kind, seeds) in [("payload", payloads()), ("sftp", sftp()), ("file", files())] {
        let folder = root.join(kind);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

fn payloads() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |name: &'static str, number: u8, write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = vec![number];
        write(&mut out);
        all.push((name, out));
    };
    let key = PrivateKey::from_ed25519_seed(&[2; 32]).public();
    add("kexinit", 0, &|out| {
        *out = algorithm::write_kexinit(&Default::default(), false, [0; 16]);
    });
    add("newkeys", message::NEWKEYS, &|_| {});
    add("ecdh_init", message::KEX_ECDH_INIT, &|out| {
        out.put_string([9; 32])
    });
    add("ecdh_reply", message::KEX_ECDH_REPLY, &|out| {
        out.put_string(key.blob());
        out.put_string([9; 32]);
        out.put_string(PrivateKey::from_ed25519_seed(&[2; 32]).sign(b""));
    });
    add("ignore", message::IGNORE, &|out| out.put_string("x"));
    add("ext_info", message::EXT_INFO, &|out| {
        out.put_u32(1);
        out.put_string("server-sig-algs");
        out.put_string("ssh-ed25519,rsa-sha2-256");
    });
    add("service_request", message::SERVICE_REQUEST, &|out| {
        out.put_string("ssh-userauth")
    });
    add("service_accept", message::SERVICE_ACCEPT, &|out| {
        out.put_string("ssh-userauth")
    });
    for (name, method) in [
        ("auth_none", "none"),
        ("auth_password", "password"),
        ("auth_key", "publickey"),
        ("auth_signed", "publickey"),
        ("auth_questions", "keyboard-interactive"),
    ] {
        add(name, message::USERAUTH_REQUEST, &|out| {
            out.put_string("viper");
            out.put_string("ssh-connection");
            out.put_string(method);
            match name {
                "auth_password" => {
                    out.put_bool(false);
                    out.put_string("x");
                }
                "auth_key" | "auth_signed" => {
                    out.put_bool(name == "auth_signed");
                    out.put_string("ssh-ed25519");
                    out.put_string(key.blob());
                    out.put_string(PrivateKey::from_ed25519_seed(&[2; 32]).sign(b""));
                }
                _ => {
                    out.put_string("");
                    out.put_string("");
                }
            }
        });
    }
    add("auth_failure", message::USERAUTH_FAILURE, &|out| {
        out.put_string("publickey,password");
        out.put_bool(false);
    });
    add("auth_success", message::USERAUTH_SUCCESS, &|_| {});
    add("auth_banner", message::USERAUTH_BANNER, &|out| {
        out.put_string("hello");
        out.put_string("");
    });
    add("auth_info_request", message::USERAUTH_PK_OK, &|out| {
        for text in ["name", "instruction", ""] {
            out.put_string(text);
        }
        out.put_u32(1);
        out.put_string("Password: ");
        out.put_bool(false);
    });
    add(
        "auth_info_response",
        message::USERAUTH_INFO_RESPONSE,
        &|out| {
            out.put_u32(1);
            out.put_string("x");
        },
    );
    for name in [
        "tcpip-forward",
        "cancel-tcpip-forward",
        "keepalive@openssh.com",
    ] {
        add(name, message::GLOBAL_REQUEST, &|out| {
            out.put_string(name);
            out.put_bool(true);
            out.put_string("localhost");
            out.put_u32(8080);
        });
    }
    add("request_success", message::REQUEST_SUCCESS, &|out| {
        out.put_u32(8080)
    });
    add("request_failure", message::REQUEST_FAILURE, &|_| {});
    let tcpip = Tcpip {
        host: "localhost".into(),
        port: 1,
        originator: "::1".into(),
        originator_port: 4000,
    };
    for (name, kind) in [
        ("open_session", ChannelKind::Session),
        ("open_direct", ChannelKind::DirectTcpip(tcpip.clone())),
        ("open_forwarded", ChannelKind::ForwardedTcpip(tcpip)),
    ] {
        add(name, message::CHANNEL_OPEN, &|out| {
            out.put_string(kind.name());
            out.put_u32(5);
            out.put_u32(100_000);
            out.put_u32(32_768);
            kind.write(out);
        });
    }
    add("confirmation", message::CHANNEL_OPEN_CONFIRMATION, &|out| {
        for value in [0, 0, 100_000, 32_768] {
            out.put_u32(value);
        }
    });
    add("refusal", message::CHANNEL_OPEN_FAILURE, &|out| {
        out.put_u32(0);
        out.put_u32(1);
        out.put_string("no");
        out.put_string("");
    });
    for (name, number) in [
        ("window_adjust", message::CHANNEL_WINDOW_ADJUST),
        ("eof", message::CHANNEL_EOF),
        ("close", message::CHANNEL_CLOSE),
        ("success", message::CHANNEL_SUCCESS),
        ("failure", message::CHANNEL_FAILURE),
    ] {
        add(name, number, &|out| {
            out.put_u32(0);
            if name == "window_adjust" {
                out.put_u32(1000);
            }
        });
    }
    add("data", message::CHANNEL_DATA, &|out| {
        out.put_u32(0);
        out.put_string("some data");
    });
    add("stderr", message::CHANNEL_EXTENDED_DATA, &|out| {
        out.put_u32(0);
        out.put_u32(1);
        out.put_string("an error");
    });
    for request in requests() {
        add(request.name(), message::CHANNEL_REQUEST, &|out| {
            out.put_u32(0);
            out.put_string(request.name());
            out.put_bool(true);
            request.write(out);
        });
    }
    all
}

fn requests() -> Vec<Request> {
    let size = TerminalSize {
        columns: 80,
        rows: 24,
        ..TerminalSize::default()
    };
    vec![
        Request::Pty {
            term: "vt100".into(),
            size,
            modes: vec![1, 0, 0, 0, 3, 0],
        },
        Request::Env {
            name: "LANG".into(),
            value: b"C".to_vec(),
        },
        Request::Shell,
        Request::Exec(b"ls".to_vec()),
        Request::Subsystem("sftp".into()),
        Request::WindowChange(size),
        Request::Signal("INT".into()),
        Request::ExitStatus(1),
        Request::ExitSignal {
            signal: "KILL".into(),
            core_dumped: false,
            message: "".into(),
        },
    ]
}

fn sftp() -> Vec<(&'static str, Vec<u8>)> {
    let attributes = Attributes {
        size: Some(1),
        owner: Some((0, 0)),
        permissions: Some(0o644),
        times: Some((1, 2)),
    };
    let mut all = Vec::new();
    let mut add = |name: &'static str, number: u8, write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = vec![number];
        out.put_u32(0);
        write(&mut out);
        all.push((name, out));
    };
    add("open", kind::OPEN, &|out| {
        out.put_string("/a");
        out.put_u32((OpenFlags::READ | OpenFlags::WRITE).0);
        attributes.write(out);
    });
    for (name, number) in [
        ("close", kind::CLOSE),
        ("readdir", kind::READDIR),
        ("fstat", kind::FSTAT),
        ("fsetstat", kind::FSETSTAT),
        ("read", kind::READ),
        ("write", kind::WRITE),
    ] {
        add(name, number, &|out| {
            out.put_string([0; 4]);
            match name {
                "fsetstat" => attributes.write(out),
                "read" | "write" => {
                    out.put_u64(10);
                    out.put_string("data");
                }
                _ => {}
            }
        });
    }
    for (name, number) in [
        ("lstat", kind::LSTAT),
        ("stat", kind::STAT),
        ("opendir", kind::OPENDIR),
        ("remove", kind::REMOVE),
        ("mkdir", kind::MKDIR),
        ("setstat", kind::SETSTAT),
        ("rmdir", kind::RMDIR),
        ("realpath", kind::REALPATH),
        ("rename", kind::RENAME),
        ("readlink", kind::READLINK),
        ("symlink", kind::SYMLINK),
    ] {
        add(name, number, &|out| {
            out.put_string("/a/../b");
            match name {
                "rename" | "symlink" => out.put_string("/c"),
                "mkdir" | "setstat" => attributes.write(out),
                _ => {}
            }
        });
    }
    add("extended", kind::EXTENDED, &|out| {
        out.put_string("posix-rename@openssh.com");
        out.put_string("/a");
        out.put_string("/b");
    });
    add("limits", kind::EXTENDED, &|out| {
        out.put_string("limits@openssh.com")
    });
    add("status", kind::STATUS, &|out| {
        out.put_u32(2);
        out.put_string("no such file");
        out.put_string("en");
    });
    add("handle", kind::HANDLE, &|out| out.put_string([0; 4]));
    add("data", kind::DATA, &|out| out.put_string("data"));
    add("name", kind::NAME, &|out| {
        out.put_u32(2);
        for name in ["a", "b"] {
            Entry {
                name: name.into(),
                attributes,
            }
            .write(out);
        }
    });
    add("attrs", kind::ATTRS, &|out| attributes.write(out));
    all
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let ed25519 = PrivateKey::from_ed25519_seed(&[1; 32]);
    let p256 = PrivateKey::from_p256_scalar(&[3; 32]).unwrap();
    let known = [
        key::KnownHosts::line("example.org", 22, &ed25519.public()),
        key::KnownHosts::hashed_line("example.org", 22, &p256.public(), &mut rng(1)),
        std::format!("@revoked *.org,!a.org {}\n", p256.public().to_text()),
    ];
    let authorized = std::format!(
        "restrict,command=\"a \\\"b\\\"\",from=\"10.*\" {} comment\n",
        ed25519.public().to_text()
    );
    let encrypted = ed25519
        .to_openssh_encrypted("comment", "pass", &mut rng(1))
        .unwrap();
    vec![
        (
            "ed25519",
            ed25519.to_openssh("comment", &mut rng(1)).into_bytes(),
        ),
        ("p256", p256.to_openssh("", &mut rng(1)).into_bytes()),
        ("encrypted", encrypted.into_bytes()),
        ("known_hosts", known.concat().into_bytes()),
        ("authorized_keys", authorized.into_bytes()),
        ("public_blob", ed25519.public().blob().to_vec()),
        ("signature", ed25519.sign(b"")),
    ]
}
