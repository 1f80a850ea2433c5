//! URLs against the crate `url`.

mod support;

use proptest::prelude::*;
use support::random::Random;
use support::urls::{compare, generate};
use viper_http::Url;
use viper_http::url::UrlError;

/// Texts, and what becomes of them.
const LISTED: &[(&str, Option<&str>)] = &[
    ("http://example.com", Some("http://example.com/")),
    (
        "  HTTP://Example.COM:80/a/../b \n",
        Some("http://example.com/b"),
    ),
    ("https://h:443/", Some("https://h/")),
    ("https://h:80/", Some("https://h:80/")),
    ("http:h", Some("http://h/")),
    ("http:/\\/h\\x\\..\\y", Some("http://h/y")),
    ("http://u:p@h/", Some("http://u:p@h/")),
    ("http://u@h@i/", Some("http://u%40h@i/")),
    ("http://:p@h/", Some("http://:p@h/")),
    ("http://@h/", Some("http://h/")),
    ("http://h:/", Some("http://h/")),
    ("http://h:65535/", Some("http://h:65535/")),
    ("http://h:65536/", None),
    ("http://h:-1/", None),
    ("http://h:8a/", None),
    ("http://", None),
    ("http://:80/", None),
    ("http://u@/", None),
    ("http://a b/", None),
    ("http://a%20b/", None),
    ("http://a%41/", Some("http://aa/")),
    ("http://[::1]/", Some("http://[::1]/")),
    (
        "http://[2001:DB8:0:0:1:0:0:1]:80/",
        Some("http://[2001:db8::1:0:0:1]/"),
    ),
    ("http://[::ffff:1.2.3.4]/", Some("http://[::ffff:102:304]/")),
    ("http://[::1%25eth0]/", None),
    ("http://[1::2::3]/", None),
    ("http://[::1/", None),
    ("http://::1/", None),
    ("http://127.1/", Some("http://127.0.0.1/")),
    ("http://0x7f000001/", Some("http://127.0.0.1/")),
    ("http://0300.0250.1.1/", Some("http://192.168.1.1/")),
    ("http://256.1.1.1/", None),
    ("http://1.2.3.4.5/", None),
    ("http://1.2.3.09/", None),
    ("http://a.1/", None),
    ("http://1.a/", Some("http://1.a/")),
    (
        "http://h/a b?c d'#e f`",
        Some("http://h/a%20b?c%20d%27#e%20f%60"),
    ),
    ("http://h/%2e%2E/%zz/%", Some("http://h/%zz/%")),
    ("http://h/a/./b/.", Some("http://h/a/b/")),
    ("http://h/a/..", Some("http://h/")),
    ("http://h/../../x", Some("http://h/x")),
    ("http://h//a//../b", Some("http://h//a/b")),
    (
        "http://h/\u{e4}?\u{e4}#\u{e4}",
        Some("http://h/%C3%A4?%C3%A4#%C3%A4"),
    ),
    ("http://h?x", Some("http://h/?x")),
    ("http://h#x", Some("http://h/#x")),
    ("http://h/x?#", Some("http://h/x?#")),
    ("ht\ttp://h\n/x", Some("http://h/x")),
    ("http://h/a\u{1}b", Some("http://h/a%01b")),
    (
        "http://xn--bcher-kva.example/",
        Some("http://xn--bcher-kva.example/"),
    ),
    ("example.com", None),
    ("//example.com", None),
    ("", None),
    ("1http://h/", None),
];

#[test]
fn listed() {
    for (text, wanted) in LISTED {
        let ours = Url::parse(text).ok().map(|url| url.to_string());
        assert_eq!(ours.as_deref(), *wanted, "{text:?}");
        compare(text, None).unwrap_or_else(|e| panic!("{text:?}: {e}"));
    }
}

#[test]
fn errors_tell_what_is_wrong() {
    for (text, error) in [
        ("ftp://h/", UrlError::UnsupportedScheme),
        ("javascript:x", UrlError::UnsupportedScheme),
        ("/path", UrlError::Relative),
        ("http://", UrlError::NoHost),
        ("http://u:p@", UrlError::NoHost),
        ("http://a|b/", UrlError::BadHost),
        ("http://b\u{fc}cher/", UrlError::HostNotAscii),
        ("http://h:99999/", UrlError::BadPort),
    ] {
        assert_eq!(Url::parse(text), Err(error), "{text}");
    }
}

/// RFC 3986 section 5.4, and what that section leaves out.
#[test]
fn references() {
    let base = "http://a/b/c/d;p?q";
    for (reference, wanted) in [
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g/"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q#s"),
        ("g#s", "http://a/b/c/g#s"),
        (";x", "http://a/b/c/;x"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        ("..g", "http://a/b/c/..g"),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        ("http:g", "http://a/b/c/g"),
        ("https:g", "https://g/"),
        ("\\\\h\\x", "http://h/x"),
        ("/\\h", "http://h/"),
    ] {
        let joined = Url::parse(base).unwrap().join(reference).unwrap();
        assert_eq!(joined.to_string(), wanted, "{reference}");
        compare(reference, Some(base)).unwrap_or_else(|e| panic!("{reference:?}: {e}"));
    }
}

#[test]
fn generated_agree_with_the_crate_url() {
    let mut random = Random(3);
    let mut valid = 0;
    for _ in 0..60_000 {
        let text = generate(&mut random);
        let base = match random.below(3) {
            0 => None,
            1 => Some("http://user@base:81/x/y/../z?q#f"),
            _ => Some("https://[::1]"),
        };
        match compare(&text, base) {
            Ok(agreed) => valid += usize::from(agreed.is_some()),
            Err(difference) => panic!("{text:?} at {base:?}: {difference}"),
        }
    }
    assert!(valid > 10_000, "too few of them are URLs: {valid}");
}

#[test]
fn file_names() {
    for (text, name) in [
        ("http://h/a/b.txt?c", "b.txt"),
        ("http://h/a%20b", "a b"),
        ("http://h/", ""),
        ("http://h/%2fetc", ""),
        ("http://h/..%2fx", ""),
        ("http://h/a%00", ""),
        ("http://h/SYS:x", ""),
        ("http://h/%ff", ""),
    ] {
        assert_eq!(Url::parse(text).unwrap().file_name(), name, "{text}");
    }
}

#[test]
fn credentials() {
    for (text, value) in [
        ("http://h/", None),
        ("http://u:p@h/", Some("Basic dTpw")),
        (
            "http://Aladdin:open%20sesame@h/",
            Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ),
        ("http://a:bc@h/", Some("Basic YTpiYw==")),
        ("http://:@h/", None),
        ("http://:pass@h/", Some("Basic OnBhc3M=")),
    ] {
        let url = Url::parse(text).unwrap();
        assert_eq!(url.basic_authorization().as_deref(), value, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_agrees(text in "\\PC{0,30}") {
        prop_assert!(compare(&text, None).is_ok());
        prop_assert!(compare(&text, Some("http://h/a/b")).is_ok());
    }

    #[test]
    fn what_is_printed_reads_the_same(text in "https?://[ -~]{1,30}") {
        if let Ok(url) = Url::parse(&text) {
            let printed = url.to_string();
            prop_assert!(printed.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(Url::parse(&printed), Ok(url));
        }
    }
}
