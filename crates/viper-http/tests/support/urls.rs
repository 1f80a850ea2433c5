//! Texts that may be URLs, made of pieces that parsers stumble over.

use super::random::Random;

const PIECES: &[&str] = &[
    "http:",
    "https:",
    "HTTP:",
    "ftp:",
    "http://",
    "https://",
    "//",
    "/",
    "\\",
    "a",
    "B",
    "host",
    "example.com",
    "@",
    ":",
    "80",
    "443",
    "8080",
    "65536",
    "0",
    "00080",
    "%2e",
    "%2E%2e",
    "%41",
    "..",
    ".",
    "?",
    "#",
    "[::1]",
    "[",
    "]",
    "[1:2::3:0:0:4]",
    "[::ffff:1.2.3.4]",
    "[1::2::3]",
    "[0:0:1::]",
    "1.2.3.4",
    "0x7f",
    "0x",
    "017",
    "256",
    "4294967295",
    "1.2.3",
    "é",
    "日本",
    " ",
    "\t",
    "\n",
    "\r",
    "%",
    "%zz",
    "%00",
    "^",
    "|",
    "`",
    "{",
    "}",
    "\"",
    "'",
    "<",
    ">",
    "-",
    "_",
    "~",
    "!",
    "$",
    "&",
    "(",
    ")",
    "*",
    "+",
    ",",
    ";",
    "=",
    "user",
    "pass",
    "\u{1}",
    "\u{7f}",
    "\u{a0}",
    "%C3%A9",
    "08",
    "1e3",
    "x.",
    "..%2f",
    "a/b/../c",
    "./",
    "/.",
    "/..",
];

/// A text of up to a dozen pieces, usually with a beginning that makes it a URL.
pub fn generate(random: &mut Random) -> String {
    let mut text = String::new();
    match random.below(4) {
        0 => {}
        1 => text.push_str("http://"),
        2 => text.push_str("https://a"),
        _ => text.push_str("http:"),
    }
    for _ in 0..random.below(12) {
        text.push_str(PIECES[random.below(PIECES.len())]);
    }
    text
}

/// Compares one text, alone or as a reference, with what the crate `url` makes of it.
///
/// Returns what they agreed upon. The only differences that are allowed: other schemes; hosts that
/// are not plain ASCII (`xn--` is checked by one and passed on by the other); references that
/// begin with more than two slashes, where the standard ("special authority ignore slashes state")
/// and this crate find a host; and `..` behind a drive letter, which the standard ("shorten a url's
/// path") keeps for files only.
pub fn compare(text: &str, base: Option<&str>) -> Result<Option<String>, String> {
    let theirs = match base {
        Some(base) => url::Url::parse(base).and_then(|base| base.join(text)),
        None => url::Url::parse(text),
    };
    let ours = match base {
        Some(base) => viper_http::Url::parse(base).and_then(|base| base.join(text)),
        None => viper_http::Url::parse(text),
    };
    use viper_http::url::UrlError;
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            let shown = ours.to_string();
            let parts = (ours.path(), ours.query(), ours.fragment());
            let their_parts = (theirs.path(), theirs.query(), theirs.fragment());
            let same = shown == theirs.as_str()
                && parts == their_parts
                && ours.username() == theirs.username()
                && ours.password() == theirs.password().unwrap_or("")
                && Some(ours.port()) == theirs.port_or_known_default()
                && Some(ours.host().to_string().as_str()) == theirs.host_str();
            match same {
                true => Ok(Some(shown)),
                false if has_drive_letter(text) => Ok(None),
                false => Err(format!("{shown:?} here, {:?} there", theirs.as_str())),
            }
        }
        (Err(_), Err(_)) => Ok(None),
        (Err(UrlError::UnsupportedScheme), Ok(theirs))
            if !matches!(theirs.scheme(), "http" | "https") =>
        {
            Ok(None)
        }
        (Err(UrlError::HostNotAscii), Ok(_)) => Ok(None),
        (Ok(ours), Err(_)) if ours.to_string().contains("xn--") => Ok(None),
        (Ok(_), Err(url::ParseError::EmptyHost)) if base.is_some() && has_three_slashes(text) => {
            Ok(None)
        }
        (ours, theirs) => Err(format!("{ours:?} here, {theirs:?} there")),
    }
}

fn has_three_slashes(text: &str) -> bool {
    let text: String = text.chars().filter(|c| !"\t\n\r".contains(*c)).collect();
    let text = text.trim_matches(|c| c <= ' ');
    let is_slash = |c: char| matches!(c, '/' | '\\');
    let rest = match text.find(is_slash) {
        Some(at) if at == 0 || text[..at].ends_with(':') => &text[at..],
        _ => return false,
    };
    rest.chars().take_while(|c| is_slash(*c)).count() > 2
}

/// Whether a part of a path looks like the drive of a file's URL, and another one leads up.
fn has_drive_letter(text: &str) -> bool {
    let text: String = text.chars().filter(|c| !"\t\n\r".contains(*c)).collect();
    let text = text.to_ascii_lowercase().replace("%2e", ".");
    let scheme = ["http:", "https:"].iter();
    let text = scheme.fold(text.trim_matches(|c| c <= ' '), |text, scheme| {
        text.strip_prefix(scheme).unwrap_or(text)
    });
    let parts = || text.split(['/', '\\', '?', '#']);
    let is_drive = |part: &str| matches!(part.as_bytes(), [letter, b':' | b'|'] if letter.is_ascii_alphabetic());
    parts().any(is_drive) && parts().any(|part| part == "..")
}
