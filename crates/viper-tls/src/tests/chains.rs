//! Certificates that must be refused, each with its own sentence.

use super::pki::{CLIENT_AUTH, Entity, SERVER_AUTH, Spec};
use super::*;
use crate::Identity;
use x509_cert::ext::pkix::KeyUsages;

const HOST: &str = "host.example";

/// What a client that trusts `root` makes of a server with this identity.
fn verdict(root: &Entity, identity: Identity, host: &str) -> Result<(), Error> {
    let client = ClientConfig::new(provider(), root.roots()).unwrap();
    let server = ServerConfig::new(provider(), identity).unwrap();
    let mut pair = Pair::new(&client, &server, host);
    let result = pair.run().map_err(|(who, error)| {
        assert_eq!(who, Who::Client);
        error
    });
    if result.is_err() {
        // The server learns of it by an alert, encrypted like everything else.
        let told = deliver(&mut pair.client, &mut pair.server, usize::MAX);
        assert!(matches!(told, Err(Error::Refused(42..=51))), "{told:?}");
    }
    result
}

fn root() -> Entity {
    Entity::self_signed(&Spec::authority("CN=root"))
}

fn leaf(change: impl Fn(&mut Spec)) -> Result<(), Error> {
    let mut spec = Spec::server(HOST);
    change(&mut spec);
    let root = root();
    verdict(&root, root.signs(&spec).identity(&[]), HOST)
}

#[test]
fn good_ones() {
    assert_eq!(leaf(|_| ()), Ok(()));
    assert_eq!(leaf(|spec| spec.key_usage = None), Ok(()));
    assert_eq!(leaf(|spec| spec.purposes = vec![]), Ok(()));
    assert_eq!(
        leaf(|spec| spec.purposes = vec![CLIENT_AUTH, SERVER_AUTH]),
        Ok(())
    );
    let root = root();
    let any = root.signs(&Spec::server("*.host.example"));
    assert_eq!(verdict(&root, any.identity(&[]), "a.host.example"), Ok(()));
    let middle = root.signs(&Spec::authority("CN=middle"));
    let leaf = middle.signs(&Spec::server(HOST));
    assert_eq!(verdict(&root, leaf.identity(&[&middle]), HOST), Ok(()));
    // More than the chain, in any order, does no harm.
    let above = [&root, &leaf, &middle];
    assert_eq!(verdict(&root, leaf.identity(&above), HOST), Ok(()));
    let by_address = root.signs(&Spec::server("127.0.0.1"));
    assert_eq!(
        verdict(&root, by_address.identity(&[]), "127.0.0.1"),
        Ok(())
    );
}

#[test]
fn dates() {
    assert_eq!(leaf(|spec| spec.not_after = NOW.0 - 1), Err(Error::Expired));
    assert_eq!(leaf(|spec| spec.not_after = NOW.0 + 1), Ok(()));
    assert_eq!(
        leaf(|spec| spec.not_before = NOW.0 + 1),
        Err(Error::NotYetValid)
    );
    let root = root();
    let mut old = Spec::authority("CN=middle");
    old.not_after = NOW.0 - DAY;
    let middle = root.signs(&old);
    let leaf = middle.signs(&Spec::server(HOST)).identity(&[&middle]);
    assert_eq!(verdict(&root, leaf, HOST), Err(Error::Expired));
}

#[test]
fn hosts() {
    for other in [
        "other.example",
        "ahost.example",
        "example",
        "127.0.0.1",
        "*.host.example",
    ] {
        assert_eq!(
            leaf(|spec| spec.names = vec![other]),
            Err(Error::WrongHost),
            "{other}"
        );
    }
    let nameless = leaf(|spec| {
        spec.names = vec![];
        spec.subject = "CN=host.example";
    });
    assert_eq!(nameless, Err(Error::WrongHost));
    let root = root();
    let any = root.signs(&Spec::server("*.example.org")).identity(&[]);
    for other in ["a.b.example.org", "example.org"] {
        assert_eq!(verdict(&root, any.clone(), other), Err(Error::WrongHost));
    }
}

#[test]
fn authorities() {
    let (trusted, other) = (root(), Entity::self_signed(&Spec::authority("CN=other")));
    let stranger = other.signs(&Spec::server(HOST));
    let refused = verdict(&trusted, stranger.identity(&[]), HOST);
    assert_eq!(refused, Err(Error::UnknownAuthority));
    let refused = verdict(&trusted, stranger.identity(&[&other]), HOST);
    assert_eq!(refused, Err(Error::UnknownAuthority));

    // The same name, another key.
    let namesake = root();
    let forged = namesake.signs(&Spec::server(HOST)).identity(&[]);
    assert_eq!(verdict(&trusted, forged, HOST), Err(Error::BadSignature));

    // The link is missing.
    let middle = trusted.signs(&Spec::authority("CN=middle"));
    let leaf = middle.signs(&Spec::server(HOST)).identity(&[]);
    assert_eq!(verdict(&trusted, leaf, HOST), Err(Error::UnknownAuthority));

    for authority in [false, true] {
        let mut spec = Spec::server(HOST);
        spec.authority = authority;
        let identity = Entity::self_signed(&spec).identity(&[]);
        assert_eq!(verdict(&trusted, identity, HOST), Err(Error::SelfSigned));
    }
}

#[test]
fn usage() {
    let wrong = Err(Error::WrongUsage);
    assert_eq!(leaf(|spec| spec.purposes = vec![CLIENT_AUTH]), wrong);
    assert_eq!(
        leaf(|spec| spec.key_usage = Some(KeyUsages::KeyEncipherment.into())),
        wrong
    );
    assert_eq!(leaf(|spec| spec.authority = true), wrong);

    let root = root();
    // Somebody's server certificate that signs others.
    let mut spec = Spec::server(HOST);
    spec.subject = "CN=somebody";
    let server = root.signs(&spec);
    let leaf = server.signs(&Spec::server(HOST)).identity(&[&server]);
    let refused = verdict(&root, leaf, HOST);
    assert_eq!(refused, Err(Error::BadChain));
    // An authority that may only sign revocation lists.
    let mut spec = Spec::authority("CN=middle");
    spec.key_usage = Some(KeyUsages::CRLSign.into());
    let middle = root.signs(&spec);
    let leaf = middle.signs(&Spec::server(HOST)).identity(&[&middle]);
    assert_eq!(verdict(&root, leaf, HOST), wrong);
}

#[test]
fn constraints() {
    let root = root();
    let mut spec = Spec::authority("CN=middle");
    spec.permitted = Some("other.example");
    let middle = root.signs(&spec);
    let leaf = middle.signs(&Spec::server(HOST)).identity(&[&middle]);
    assert_eq!(verdict(&root, leaf, HOST), Err(Error::BadChain));

    let mut spec = Spec::authority("CN=first");
    spec.path_len = Some(0);
    let first = root.signs(&spec);
    let second = first.signs(&Spec::authority("CN=second"));
    let leaf = second
        .signs(&Spec::server(HOST))
        .identity(&[&second, &first]);
    assert_eq!(verdict(&root, leaf, HOST), Err(Error::BadChain));

    let mut spec = Spec::server(HOST);
    spec.unknown_critical = true;
    let unknown = root.signs(&spec).unchecked_identity();
    assert_eq!(verdict(&root, unknown, HOST), Err(Error::UnknownExtension));
}

#[test]
fn signatures() {
    let root = root();
    let mut leaf = root.signs(&Spec::server(HOST));
    // The last byte is the signature's.
    *leaf.der.last_mut().unwrap() ^= 1;
    let refused = verdict(&root, leaf.identity(&[]), HOST);
    assert_eq!(refused, Err(Error::BadSignature));
}

#[test]
fn each_error_has_a_sentence_of_its_own() {
    let errors = [
        Error::NoClock,
        Error::NoRoots,
        Error::BadName,
        Error::BadPem,
        Error::BadCertificate,
        Error::BadKey,
        Error::KeyMismatch,
        Error::BadProvider,
        Error::NoRandomness,
        Error::Expired,
        Error::NotYetValid,
        Error::WrongHost,
        Error::SelfSigned,
        Error::UnknownAuthority,
        Error::WrongUsage,
        Error::BadSignature,
        Error::UnsupportedSignature,
        Error::UnknownExtension,
        Error::BadChain,
        Error::NoCertificate,
        Error::OldVersion,
        Error::Downgraded,
        Error::NothingInCommon,
        Error::NoCommonProtocol,
        Error::Refused(40),
        Error::Refused(48),
        Error::Refused(200),
        Error::Malformed,
        Error::Misbehaved,
        Error::BadRecord,
        Error::TooLarge,
        Error::Truncated,
        Error::Closed,
        Error::Bug,
    ];
    let sentences: std::collections::BTreeSet<_> =
        errors.iter().map(|error| error.to_string()).collect();
    assert_eq!(sentences.len(), errors.len());
    assert!(
        sentences
            .iter()
            .all(|sentence| (10..80).contains(&sentence.len()))
    );
}
