//! Key files, signatures and lists of keys, most of them made by OpenSSH.

mod support;

use std::path::Path;

use support::rng;
use viper_ssh::key::{AuthorizedKeys, HostKeyCheck, KnownHosts};
use viper_ssh::{Error, PrivateKey, PublicKey, SignatureAlgorithm};

fn file(name: &str) -> Vec<u8> {
    std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata")
            .join(name),
    )
    .unwrap()
}

fn text(name: &str) -> String {
    String::from_utf8(file(name)).unwrap()
}

fn public(name: &str) -> PublicKey {
    PublicKey::from_text(&text(name)).unwrap()
}

#[test]
fn private_keys_of_openssh() {
    for name in ["ed25519", "ecdsa"] {
        let key = PrivateKey::from_openssh(&text(name), None).unwrap();
        assert_eq!(key.public(), public(&format!("{name}.pub")));
    }
    let encrypted = text("ed25519_encrypted");
    let key = PrivateKey::from_openssh(&encrypted, Some("pass phrase")).unwrap();
    assert_eq!(key.public(), public("ed25519_encrypted.pub"));
    for wrong in [None, Some(""), Some("pass-phrase")] {
        let result = PrivateKey::from_openssh(&encrypted, wrong);
        assert_eq!(result.err(), Some(Error::BadPassphrase));
    }
    let other = PrivateKey::from_openssh(&text("ecdsa_384"), None);
    assert_eq!(other.err(), Some(Error::UnsupportedKey));
}

#[test]
fn private_keys_round_trip() {
    let keys = [
        PrivateKey::generate(&mut rng(1)),
        PrivateKey::from_p256_scalar(&[0x80; 32]).unwrap(),
        // Its first bytes are zero, so that the number is shorter than the curve.
        PrivateKey::from_p256_scalar(&std::array::from_fn(|i| u8::from(i > 4))).unwrap(),
    ];
    for key in keys {
        let plain = key.to_openssh("a comment", &mut rng(2));
        assert_eq!(
            PrivateKey::from_openssh(&plain, None).unwrap().public(),
            key.public()
        );
    }
    let key = PrivateKey::generate(&mut rng(1));
    let encrypted = key.to_openssh_encrypted("", "secret", &mut rng(3)).unwrap();
    let back = PrivateKey::from_openssh(&encrypted, Some("secret")).unwrap();
    assert_eq!(back.public(), key.public());
    assert!(key.to_openssh_encrypted("", "", &mut rng(3)).is_err());
}

#[test]
fn a_scalar_outside_the_order_is_refused() {
    assert!(PrivateKey::from_p256_scalar(&[0; 32]).is_err());
    assert!(PrivateKey::from_p256_scalar(&[0xff; 32]).is_err());
}

#[test]
fn public_keys_and_fingerprints() {
    let listed = text("fingerprints");
    for (line, name) in listed.lines().zip(["ed25519", "ecdsa", "rsa"]) {
        let key = public(&format!("{name}.pub"));
        assert_eq!(line.split(' ').nth(1), Some(key.fingerprint().as_str()));
        assert!(text(&format!("{name}.pub")).starts_with(&key.to_text()));
    }
    for name in ["rsa_1024.pub", "ecdsa_384.pub"] {
        assert_eq!(
            PublicKey::from_text(&text(name)).err(),
            Some(Error::UnsupportedKey)
        );
    }
}

#[test]
fn keys_with_anything_behind_them_are_refused() {
    for name in ["ed25519.pub", "ecdsa.pub", "rsa.pub"] {
        let mut blob = public(name).blob().to_vec();
        blob.push(0);
        assert!(PublicKey::from_blob(&blob).is_err());
        blob.truncate(blob.len() - 2);
        assert!(PublicKey::from_blob(&blob).is_err());
    }
}

#[test]
fn points_of_small_order_are_no_keys() {
    let mut blob = public("ed25519.pub").blob().to_vec();
    let start = blob.len() - 32;
    blob[start..].fill(0);
    blob[start] = 1;
    assert_eq!(
        PublicKey::from_blob(&blob).err(),
        Some(Error::UnsupportedKey)
    );
}

#[test]
fn compressed_and_hybrid_points_are_no_keys() {
    let blob = public("ecdsa.pub").blob().to_vec();
    let point = blob.len() - 65;
    for tag in [2, 3, 5, 6, 7] {
        let mut changed = blob.clone();
        changed[point] = tag;
        assert!(PublicKey::from_blob(&changed).is_err());
    }
}

/// Made by asyncssh, which uses OpenSSL.
#[test]
fn signatures_of_another_program() {
    let data = file("data");
    for (algorithm, name) in [
        (SignatureAlgorithm::Ed25519, "ed25519.pub"),
        (SignatureAlgorithm::EcdsaP256, "ecdsa.pub"),
        (SignatureAlgorithm::RsaSha256, "rsa.pub"),
        (SignatureAlgorithm::RsaSha512, "rsa.pub"),
    ] {
        let key = public(name);
        let signature = file(&format!("{}.sig", algorithm.name()));
        assert_eq!(
            key.verify(algorithm, &data, &signature),
            Ok(()),
            "{}",
            algorithm.name()
        );
        let bad = Err(Error::BadSignature);
        assert_eq!(key.verify(algorithm, b"other data", &signature), bad);
        for other in SignatureAlgorithm::ALL
            .iter()
            .filter(|other| **other != algorithm)
        {
            assert_eq!(key.verify(*other, &data, &signature), bad);
        }
        for at in [0, 5, signature.len() / 2, signature.len() - 1] {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert_eq!(key.verify(algorithm, &data, &changed), bad);
        }
        for len in [0, 4, signature.len() - 1] {
            assert_eq!(key.verify(algorithm, &data, &signature[..len]), bad);
        }
    }
}

#[test]
fn our_signatures() {
    for name in ["ed25519", "ecdsa"] {
        let key = PrivateKey::from_openssh(&text(name), None).unwrap();
        let signature = key.sign(b"data");
        assert_eq!(
            key.public().verify(key.algorithm(), b"data", &signature),
            Ok(())
        );
    }
}

#[test]
fn known_hosts_by_name_pattern_and_marker() {
    let (known, other) = (public("ed25519.pub"), public("ecdsa.pub"));
    let file = format!(
        "# comment\n\nexample.org,10.0.0.1 {0}\n*.example.net,!bad.example.net {0} comment\n\
         [example.org]:2222 {1}\n@revoked * {2}\n@cert-authority * {0}\nnonsense\n",
        known.to_text(),
        other.to_text(),
        public("rsa.pub").to_text(),
    );
    let hosts = KnownHosts::parse(&file);
    assert_eq!(hosts.ignored(), 2);
    let check = |host, port, key| hosts.check(host, port, key);
    assert_eq!(check("example.org", 22, &known), Ok(HostKeyCheck::Known));
    assert_eq!(check("EXAMPLE.org", 22, &known), Ok(HostKeyCheck::Known));
    assert_eq!(check("10.0.0.1", 22, &known), Ok(HostKeyCheck::Known));
    assert_eq!(
        check("a.b.example.net", 22, &known),
        Ok(HostKeyCheck::Known)
    );
    assert_eq!(
        check("bad.example.net", 22, &known),
        Ok(HostKeyCheck::Unknown)
    );
    assert_eq!(check("example.net", 22, &known), Ok(HostKeyCheck::Unknown));
    assert_eq!(check("example.org", 22, &other), Err(Error::HostKeyChanged));
    assert_eq!(check("example.org", 2222, &other), Ok(HostKeyCheck::Known));
    assert_eq!(
        check("example.org", 2222, &known),
        Err(Error::HostKeyChanged)
    );
    assert_eq!(
        check("anything", 22, &public("rsa.pub")),
        Err(Error::HostKeyRevoked)
    );
    assert_eq!(
        hosts.key_types("example.org", 2222),
        ["ecdsa-sha2-nistp256"]
    );
}

#[test]
fn known_hosts_that_are_hashed() {
    let hosts = KnownHosts::parse(&text("known_hosts_hashed"));
    let (first, second) = (public("ed25519.pub"), public("ecdsa.pub"));
    assert_eq!(
        hosts.check("plain.example", 22, &first),
        Ok(HostKeyCheck::Known)
    );
    assert_eq!(
        hosts.check("plain.example", 22, &second),
        Err(Error::HostKeyChanged)
    );
    assert_eq!(
        hosts.check("port.example", 2222, &second),
        Ok(HostKeyCheck::Known)
    );
    assert_eq!(
        hosts.check("port.example", 22, &second),
        Ok(HostKeyCheck::Unknown)
    );
    let line = KnownHosts::hashed_line("new.example", 22, &first, &mut rng(1));
    assert!(!line.contains("new"));
    let hosts = KnownHosts::parse(&line);
    assert_eq!(
        hosts.check("New.example", 22, &first),
        Ok(HostKeyCheck::Known)
    );
    let hosts = KnownHosts::parse(&KnownHosts::line("new.example", 2222, &first));
    assert_eq!(
        hosts.check("new.example", 2222, &first),
        Ok(HostKeyCheck::Known)
    );
}

#[test]
fn authorized_keys_with_options() {
    let key = public("ed25519.pub");
    let parse = |line: &str| {
        let keys = AuthorizedKeys::parse(&format!("# c\n{line}\n"));
        keys.find(&key).cloned()
    };
    let text = key.to_text();
    let plain = parse(&format!("{text} me@here now")).unwrap();
    assert_eq!(
        (plain.comment.as_str(), plain.options),
        ("me@here now", Default::default())
    );
    let line = format!(
        r#"restrict,pty,command="echo \"a, b\" #",from="10.*,!10.0.0.1",environment="A=b c" {text} x"#
    );
    let options = parse(&line).unwrap().options;
    assert_eq!(options.command.as_deref(), Some(r#"echo "a, b" #"#));
    assert_eq!(options.from.as_deref(), Some("10.*,!10.0.0.1"));
    assert_eq!(options.environment, ["A=b c"]);
    assert!(!options.no_pty && options.no_port_forwarding && options.no_agent_forwarding);
    assert!(
        parse(&format!("no-pty,permitopen=\"a:1\" {text}"))
            .unwrap()
            .options
            .no_pty
    );
    // Whatever is not understood must not let anyone in.
    for bad in [
        "unknown-option",
        "cert-authority",
        "command=echo",
        "command",
        "no-pty=\"1\"",
        "no-pty,,pty",
        "command=\"open",
        "expiry-time=\"20300101\"",
    ] {
        let keys = AuthorizedKeys::parse(&format!("{bad} {text}"));
        assert_eq!((keys.find(&key), keys.ignored()), (None, 1), "{bad}");
    }
    assert!(
        AuthorizedKeys::parse(&text)
            .find(&public("ecdsa.pub"))
            .is_none()
    );
}
