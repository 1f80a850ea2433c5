//! What a request is answered with.

use super::listing::{escaped, page};
use super::{Denied, Facts, Found, Tree, file_path};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use viper_http::url::encode_segment;
use viper_http::{
    BodyLength, ContentRange, Error, HttpDate, Method, RangeAnswer, RequestHead, ResponseHead,
    Status, Validators, Verdict, media_type,
};

/// An answer that is ready to go.
#[derive(Debug)]
pub struct Answer<F> {
    /// Status and header fields, without those that tell the length.
    pub head: ResponseHead,
    /// The body.
    pub body: Body<F>,
}

/// Where the body of an answer comes from.
#[derive(Debug)]
pub enum Body<F> {
    /// From here.
    Bytes(Vec<u8>),
    /// From a file.
    File {
        /// The file.
        file: F,
        /// Offset of the first byte.
        start: u64,
        /// Offset after the last byte.
        end: u64,
    },
}

impl<F> Body<F> {
    /// How long it is.
    #[must_use]
    pub fn length(&self) -> BodyLength {
        BodyLength::Known(match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File { start, end, .. } => end.saturating_sub(*start),
        })
    }
}

/// The answer to a request.
pub fn answer<T: Tree>(request: &RequestHead, tree: &mut T) -> Answer<T::File> {
    let mut answer = match request.method {
        Method::Get | Method::Head => get(request, tree),
        Method::Options => Ok(text(Status(204), "")),
        _ => Ok(text(Status::METHOD_NOT_ALLOWED, "only GET and HEAD")),
    }
    .unwrap_or_else(|_| text(Status::INTERNAL_ERROR, ""));
    let headers = &mut answer.head.headers;
    let _ = headers.push("Server", concat!("httpd/", env!("CARGO_PKG_VERSION")));
    let _ = headers.push("X-Content-Type-Options", "nosniff");
    if matches!(answer.head.status.0, 204 | 405) {
        let _ = headers.push("Allow", "GET, HEAD, OPTIONS");
    }
    if let Some(seconds) = tree.unix_s() {
        let _ = headers.push("Date", format!("{}", HttpDate::from_unix_s(seconds)));
    }
    answer
}

fn get<T: Tree>(request: &RequestHead, tree: &mut T) -> Result<Answer<T::File>, Error> {
    let Some((path, is_folder)) = file_path(request.path()) else {
        return Ok(not_found(Denied::NotFound));
    };
    match tree.find(&path) {
        Ok(Found::File(file, facts)) if !is_folder => {
            file_answer(request, tree, &path, file, facts)
        }
        Ok(Found::File(file, _)) => {
            tree.close(file);
            Ok(not_found(Denied::NotFound))
        }
        Ok(Found::Folder) if is_folder => folder(request, tree, &path),
        Ok(Found::Folder) => moved(request, &path),
        Err(denied) => Ok(not_found(denied)),
    }
}

/// The index of a folder, else its listing.
fn folder<T: Tree>(
    request: &RequestHead,
    tree: &mut T,
    path: &str,
) -> Result<Answer<T::File>, Error> {
    let index = match path {
        "" => String::from("index.html"),
        path => format!("{path}/index.html"),
    };
    match tree.find(&index) {
        Ok(Found::File(file, facts)) => return file_answer(request, tree, &index, file, facts),
        Ok(Found::Folder) | Err(Denied::NotFound) => {}
        Err(denied) => return Ok(not_found(denied)),
    }
    match tree.list(path) {
        Ok(items) => {
            let head = ResponseHead::new(Status::OK)
                .with("Content-Type", "text/html; charset=utf-8")?
                .with("Cache-Control", "no-cache")?;
            let body = Body::Bytes(page(path, items).into_bytes());
            Ok(Answer { head, body })
        }
        Err(denied) => Ok(not_found(denied)),
    }
}

/// A folder is asked for without its slash: links in its page would lead astray.
fn moved<F>(request: &RequestHead, path: &str) -> Result<Answer<F>, Error> {
    let mut location = String::new();
    for name in path.split('/') {
        location.push('/');
        location.push_str(&encode_segment(name));
    }
    location.push('/');
    if let Some(query) = request.query() {
        location.push('?');
        location.push_str(query);
    }
    let mut answer = text(Status::MOVED_PERMANENTLY, "");
    answer.head = answer.head.with("Location", location)?;
    Ok(answer)
}

fn file_answer<T: Tree>(
    request: &RequestHead,
    tree: &mut T,
    path: &str,
    file: T::File,
    facts: Facts,
) -> Result<Answer<T::File>, Error> {
    let modified = HttpDate::from_unix_s(facts.modified_s);
    let etag = format!("\"{:x}-{:x}\"", facts.version, facts.len);
    let validators = Validators {
        etag: Some(etag.clone()),
        modified: Some(modified),
    };
    let verdict = validators.judge(request, facts.len);
    let mut head = ResponseHead::new(verdict.status())
        .with("ETag", etag)?
        .with("Last-Modified", format!("{modified}"))?
        .with("Accept-Ranges", "bytes")?;
    let (start, end) = match verdict {
        Verdict::Whole | Verdict::Range(RangeAnswer::Whole) => (0, facts.len),
        Verdict::Range(RangeAnswer::Part(range)) => {
            let content = ContentRange {
                range: Some(range),
                complete: Some(facts.len),
            };
            head = head.with("Content-Range", format!("{content}"))?;
            (range.start, range.end)
        }
        Verdict::Range(RangeAnswer::Unsatisfiable) => {
            let content = ContentRange {
                range: None,
                complete: Some(facts.len),
            };
            head = head.with("Content-Range", format!("{content}"))?;
            (0, 0)
        }
        Verdict::NotModified | Verdict::PreconditionFailed => (0, 0),
    };
    if head.status.is_success() {
        head = head.with("Content-Type", media_type(path))?;
        let body = Body::File { file, start, end };
        return Ok(Answer { head, body });
    }
    tree.close(file);
    let body = Body::Bytes(Vec::new());
    Ok(Answer { head, body })
}

fn not_found<F>(denied: Denied) -> Answer<F> {
    match denied {
        Denied::NotFound => text(Status::NOT_FOUND, "there is no such file"),
        Denied::Unavailable => text(Status::UNAVAILABLE, "try again later"),
    }
}

/// A page with a status and a sentence.
fn text<F>(status: Status, sentence: &str) -> Answer<F> {
    let mut head = ResponseHead::new(status);
    let body = match status.is_bodiless() {
        true => Vec::new(),
        false => {
            let _ = head
                .headers
                .push("Content-Type", "text/html; charset=utf-8");
            format!(
                "<!DOCTYPE html>\n<title>{status}</title>\n<h1>{status}</h1>\n<p>{}</p>\n",
                escaped(sentence)
            )
            .into_bytes()
        }
    };
    Answer {
        head,
        body: Body::Bytes(body),
    }
}
