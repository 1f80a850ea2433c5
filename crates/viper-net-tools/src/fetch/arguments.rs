//! The words after `fetch`.

use super::TIMEOUT_NS;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use viper_http::{Headers, Method, Url};

/// How to call it.
pub const USAGE: &str = "fetch URL... [TO FILE|FOLDER/] [HEAD] [RESUME] [RANGE FIRST-LAST] \
[HEADER \"NAME: VALUE\"] [CERT FILE] [KEY FILE] [TIMEOUT SECONDS] [QUIET] [NOVERIFY] [INSECURE]";

/// What to fetch, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// From where, one after the other; at least one.
    pub urls: Vec<Url>,
    /// The file to write, or if it ends in `/` or `:` the folder; standard output without.
    pub to: Option<String>,
    /// GET, or HEAD to see status and header fields only.
    pub method: Method,
    /// Go on with what an earlier call left.
    pub resume: bool,
    /// Only these bytes, as `Range` has them.
    pub range: Option<String>,
    /// Further header fields, for the first server only.
    pub headers: Vec<(String, String)>,
    /// The file with the certificate chain for servers that ask for one.
    pub certificate: Option<String>,
    /// The file with its private key, if that is another one.
    pub key: Option<String>,
    /// How long the server may be silent.
    pub timeout_ns: u64,
    /// No bar and no summary.
    pub quiet: bool,
    /// Whether certificates are verified. Only the word `NOVERIFY` changes that.
    pub verify: bool,
    /// Whether redirects may lead from https to http.
    pub insecure: bool,
}

impl Arguments {
    /// Reads the words after the program's name. Keywords are not case-sensitive.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Arguments, String> {
        let mut words = words.into_iter();
        let first = words.next().ok_or_else(|| format!("usage: {USAGE}"))?;
        let mut arguments = Arguments {
            urls: vec![url(first)?],
            to: None,
            method: Method::Get,
            resume: false,
            range: None,
            headers: vec![],
            certificate: None,
            key: None,
            timeout_ns: TIMEOUT_NS,
            quiet: false,
            verify: true,
            insecure: false,
        };
        while let Some(word) = words.next() {
            let keyword = word.to_ascii_uppercase();
            let mut value = || {
                let missing = || format!("{keyword} needs a value");
                words.next().ok_or_else(missing)
            };
            match keyword.as_str() {
                "TO" => arguments.to = Some(value()?.to_string()),
                "HEAD" => arguments.method = Method::Head,
                "RESUME" => arguments.resume = true,
                "RANGE" => arguments.range = Some(range(value()?)?),
                "HEADER" => arguments.headers.push(header(value()?)?),
                "CERT" => arguments.certificate = Some(value()?.to_string()),
                "KEY" => arguments.key = Some(value()?.to_string()),
                "TIMEOUT" => arguments.timeout_ns = seconds(value()?)?,
                "QUIET" => arguments.quiet = true,
                "NOVERIFY" => arguments.verify = false,
                "INSECURE" => arguments.insecure = true,
                _ if word.contains("://") => arguments.urls.push(url(word)?),
                _ => return Err(format!("{word} is not understood; usage: {USAGE}")),
            }
        }
        arguments.check()?;
        Ok(arguments)
    }

    fn check(&self) -> Result<(), String> {
        let to = self.to.is_some();
        if self.resume && (!to || self.range.is_some() || self.method == Method::Head) {
            return Err("RESUME goes with TO, and not with RANGE or HEAD".into());
        }
        if self.method == Method::Head && (to || self.range.is_some()) {
            return Err("HEAD goes neither with TO nor with RANGE".into());
        }
        if self.key.is_some() && self.certificate.is_none() {
            return Err("KEY goes with CERT".into());
        }
        match &self.to {
            Some(to) if self.urls.len() > 1 && !is_folder(to) => Err(format!(
                "{to} is one file for several URLs: name a folder, with / or : at its end"
            )),
            _ => Ok(()),
        }
    }

    /// The files with the certificate and its key, if there are any.
    #[must_use]
    pub fn identity(&self) -> Option<(&str, &str)> {
        let certificate = self.certificate.as_deref()?;
        Some((certificate, self.key.as_deref().unwrap_or(certificate)))
    }

    /// The file for what is at a URL.
    pub(super) fn file(&self, url: &Url) -> Option<String> {
        let to = self.to.as_ref()?;
        if !is_folder(to) {
            return Some(to.clone());
        }
        let name = match url.file_name() {
            name if name.is_empty() => "index.html".to_string(),
            name => name,
        };
        Some(format!("{to}{name}"))
    }
}

fn is_folder(path: &str) -> bool {
    path.ends_with(['/', ':'])
}

fn url(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| format!("{text}: {error}"))
}

fn range(text: &str) -> Result<String, String> {
    let valid = match text.split_once('-') {
        Some((first, last)) => {
            let is_number = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
            is_number(first) && is_number(last) && text.len() > 1
        }
        None => false,
    };
    match valid {
        true => Ok(text.to_string()),
        false => Err(format!("{text} is no range such as 0-99, 100- or -100")),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let bad = || format!("{text} is no header such as \"Accept: text/html\"");
    let (name, value) = text.split_once(':').ok_or_else(bad)?;
    // What decides about the framing is not for the user to say.
    let reserved = ["Host", "Content-Length", "Transfer-Encoding", "Connection"];
    if reserved.iter().any(|r| r.eq_ignore_ascii_case(name)) {
        return Err(format!("{name} cannot be set"));
    }
    Headers::new().push(name, value).map_err(|_| bad())?;
    Ok((name.to_string(), value.trim().to_string()))
}

fn seconds(text: &str) -> Result<u64, String> {
    let number: u64 = text
        .parse()
        .map_err(|_| format!("{text} is no number of seconds"))?;
    Ok(number.saturating_mul(1_000_000_000))
}
