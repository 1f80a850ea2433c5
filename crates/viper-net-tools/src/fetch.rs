//! What `fetch` does: resources from servers, to files or to standard output.

mod arguments;
mod bar;
mod exchange;
mod failure;
mod line;

pub use arguments::{Arguments, USAGE};
pub use exchange::{Exchange, TIMEOUT_NS};
pub use failure::Failure;
pub use line::{Connected, Terms};

use crate::stream::{Fault, Stream, Wait};
use alloc::format;
use alloc::string::{String, ToString};
use bar::Bar;
use line::Line;
use viper_http::{
    ContentRange, Error, Headers, Method, RedirectPolicy, RequestHead, ResponseHead, Status, Url,
};

/// What `fetch` needs of the system.
pub trait World {
    /// A connection to a server.
    type Stream: Stream + Wait;

    /// Connects to the host and port of a URL, with TLS on these terms if its scheme asks for it,
    /// and waits until that is done.
    ///
    /// # Errors
    /// Why there is no connection.
    fn connect(
        &mut self,
        url: &Url,
        terms: Terms,
        deadline: u64,
    ) -> Result<Connected<Self::Stream>, Fault>;

    /// Nanoseconds since some moment.
    fn now_ns(&mut self) -> u64;

    /// How long a file is; `None` if it is not there.
    ///
    /// # Errors
    /// Those of the file system.
    fn file_len(&mut self, path: &str) -> Result<Option<u64>, viper_rt::Error>;

    /// Opens a file for writing from `len` on; what is behind that is cut off.
    ///
    /// # Errors
    /// Those of the file system.
    fn begin(&mut self, path: &str, len: u64) -> Result<(), viper_rt::Error>;

    /// Writes all of `data` to the open file, or to standard output.
    ///
    /// # Errors
    /// Those of the file system.
    fn write(&mut self, data: &[u8]) -> Result<(), viper_rt::Error>;

    /// Closes the open file and gives it its name.
    ///
    /// # Errors
    /// Those of the file system.
    fn finish(&mut self, part: &str, path: &str) -> Result<(), viper_rt::Error>;

    /// Removes a file, closing it if it is open.
    fn remove(&mut self, path: &str);

    /// Shows a message to the user, line ends included. Not on standard output.
    fn show(&mut self, text: &str);

    /// Columns of the terminal that messages go to, if it is one.
    fn columns(&mut self) -> Option<usize>;
}

/// Does what the arguments say; the return code, which is that of the worst failure.
pub fn run<W: World>(world: &mut W, arguments: &Arguments) -> i64 {
    let mut fetch = Fetch::new(world, arguments);
    let mut code = 0;
    for url in &arguments.urls {
        code = code.max(fetch.one(url.clone()));
        // What is for this machine to mend fails with the next one, too.
        if code >= LOCAL {
            break;
        }
    }
    fetch.end();
    code
}

/// The code of a failure that is for this machine to mend.
const LOCAL: i64 = 20;
/// How much of an answer that nobody wants is taken, so that its connection can be used again.
const UNWANTED_MAX: u64 = 64 << 10;

/// An answer of which the head is here.
type Asked<S> = (Exchange<S>, ResponseHead);

/// Whether the answer is decompressed. Parts are of what is sent, not of what it is made from.
fn decodes(method: &Method, headers: &Headers) -> bool {
    *method == Method::Get && !headers.has("Range")
}

/// A URL as it is shown: without password.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.clear_credentials();
    url.to_string()
}

struct Fetch<'a, W: World> {
    world: &'a mut W,
    arguments: &'a Arguments,
    /// The file that is to be written.
    to: Option<String>,
    /// Where the data go until all are there.
    part: Option<String>,
    /// How many bytes of them are there from an earlier time.
    have: u64,
    /// The connection that was used last, if it can be used again.
    kept: Option<Line<W::Stream>>,
}

impl<'a, W: World> Fetch<'a, W> {
    fn new(world: &'a mut W, arguments: &'a Arguments) -> Fetch<'a, W> {
        Fetch {
            world,
            arguments,
            to: None,
            part: None,
            have: 0,
            kept: None,
        }
    }

    /// Fetches what is at a URL; the return code.
    fn one(&mut self, mut url: Url) -> i64 {
        self.to = self.arguments.file(&url);
        self.part = self.to.as_ref().map(|to| format!("{to}.part"));
        self.have = 0;
        let Err(failure) = self.follow(&mut url) else {
            return 0;
        };
        let what = match failure {
            Failure::File(_) => self.to.clone().unwrap_or("standard output".into()),
            _ => shown(&url),
        };
        self.world.show(&format!("fetch: {what}: {failure}\n"));
        failure.code()
    }

    /// Takes leave of the server.
    fn end(&mut self) {
        if let Some(line) = self.kept.take() {
            line.end();
        }
    }

    /// Goes where the server sends it, and fetches what is there.
    fn follow(&mut self, url: &mut Url) -> Result<(), Failure> {
        if let (true, Some(part)) = (self.arguments.resume, &self.part) {
            self.have = self
                .world
                .file_len(part)
                .map_err(Failure::File)?
                .unwrap_or(0);
        }
        let policy = RedirectPolicy {
            allow_insecure: self.arguments.insecure,
            ..RedirectPolicy::default()
        };
        let mut trusted = true;
        for followed in 0..=u8::MAX {
            let (exchange, head) = self.ask(url, trusted)?;
            match policy.next(followed, url, &self.arguments.method, &head)? {
                Some(redirect) => {
                    self.leave(exchange);
                    trusted = trusted && redirect.same_origin;
                    let credentials = trusted.then(|| url.clone());
                    *url = redirect.url;
                    if let Some(from) = credentials {
                        url.inherit_credentials(&from);
                    }
                }
                None => return self.take(exchange, &head),
            }
        }
        Err(Failure::Http(Error::TooManyRedirects))
    }

    /// Sends the request, and waits for the head of the answer.
    fn ask(&mut self, url: &Url, trusted: bool) -> Result<Asked<W::Stream>, Failure> {
        let request = self.request(url, trusted)?;
        let terms = Terms {
            verify: self.arguments.verify,
            identify: trusted,
        };
        if let Some(mut line) = self.kept.take() {
            match line.leads_to(url, terms) {
                true => {
                    let mut exchange = self.exchange(line, &request);
                    match exchange.begin(self.world, &request) {
                        Ok(head) => return Ok((exchange, head)),
                        // The server had closed it meanwhile: nothing was done.
                        Err(_) if exchange.is_unanswered() => {}
                        Err(failure) => return Err(failure),
                    }
                }
                false => line.end(),
            }
        }
        let deadline = self
            .world
            .now_ns()
            .saturating_add(self.arguments.timeout_ns);
        let connected = self.world.connect(url, terms, deadline)?;
        let mut exchange = self.exchange(Line::new(url.clone(), terms, connected), &request);
        let head = exchange.begin(self.world, &request)?;
        Ok((exchange, head))
    }

    fn exchange(&self, line: Line<W::Stream>, request: &RequestHead) -> Exchange<W::Stream> {
        let method = self.arguments.method.clone();
        let decodes = decodes(&method, &request.headers);
        Exchange::new(line, method, decodes, self.arguments.timeout_ns)
    }

    fn request(&self, url: &Url, trusted: bool) -> Result<RequestHead, Failure> {
        let arguments = self.arguments;
        let mut head = RequestHead::new(arguments.method.clone(), url)?;
        let headers = &mut head.headers;
        headers.push("User-Agent", concat!("fetch/", env!("CARGO_PKG_VERSION")))?;
        headers.push("Accept", "*/*")?;
        if let Some(range) = &arguments.range {
            headers.push("Range", format!("bytes={range}"))?;
        } else if self.have > 0 {
            headers.push("Range", format!("bytes={}-", self.have))?;
        }
        let coding = match decodes(&arguments.method, headers) {
            true => "gzip",
            false => "identity",
        };
        headers.push("Accept-Encoding", coding)?;
        for (name, value) in &arguments.headers {
            if trusted {
                headers.set(name, value)?;
            }
        }
        if let (true, Some(value)) = (trusted, url.basic_authorization()) {
            headers.push("Authorization", value)?;
        }
        Ok(head)
    }

    /// Is done with an answer. Its connection may serve again, if not much is left of it.
    fn leave(&mut self, mut exchange: Exchange<W::Stream>) {
        let mut unwanted = [0; 4096];
        let mut taken = 0;
        while exchange.keeps_alive() && taken <= UNWANTED_MAX {
            match exchange.body(self.world, &mut unwanted) {
                Ok(0) => break,
                Ok(len) => taken = taken.saturating_add(len as u64),
                Err(_) => return,
            }
        }
        self.kept = exchange.into_line();
    }

    /// Why an answer will not do.
    fn refused(&self, exchange: &Exchange<W::Stream>, status: Status) -> Failure {
        let line = exchange.line();
        // Servers that want one may say so by any of these only.
        match (line.asks_certificate(), status.0) {
            (true, 400 | 401 | 403)
                if line.identifies() && self.arguments.certificate.is_some() =>
            {
                Failure::Identified(status)
            }
            (true, 400 | 401 | 403) => Failure::NotIdentified(status),
            _ => Failure::Status(status),
        }
    }

    /// Takes the answer, which is no redirect.
    fn take(
        &mut self,
        mut exchange: Exchange<W::Stream>,
        head: &ResponseHead,
    ) -> Result<(), Failure> {
        if self.arguments.method == Method::Head {
            let refusal = self.refused(&exchange, head.status);
            self.leave(exchange);
            return self.print_head(head, refusal);
        }
        if head.status == Status::RANGE_NOT_SATISFIABLE && self.have > 0 {
            self.leave(exchange);
            return self.nothing_more(head);
        }
        if !head.status.is_success() {
            let refusal = self.refused(&exchange, head.status);
            self.leave(exchange);
            return Err(refusal);
        }
        self.check_range(head)?;
        let mut bar = Bar::new(
            self.world.now_ns(),
            self.have,
            exchange.body_len().map(|len| len.saturating_add(self.have)),
            self.arguments.quiet || self.part.is_none(),
            self.world.columns(),
        );
        let result = self.copy(&mut exchange, &mut bar);
        let now = self.world.now_ns();
        bar.clear(self.world);
        match result {
            Ok(()) => {
                self.leave(exchange);
                if let (Some(part), Some(to)) = (&self.part, &self.to) {
                    self.world.finish(part, to).map_err(Failure::File)?;
                    bar.summary(self.world, now, to);
                }
                Ok(())
            }
            Err(failure) => {
                self.keep_or_remove(head, bar.done());
                Err(failure)
            }
        }
    }

    /// Moves the body.
    fn copy(&mut self, exchange: &mut Exchange<W::Stream>, bar: &mut Bar) -> Result<(), Failure> {
        if let Some(part) = &self.part {
            self.world.begin(part, self.have).map_err(Failure::File)?;
        }
        let mut data = alloc::vec![0; 64 << 10];
        loop {
            let len = exchange.body(self.world, &mut data)?;
            if len == 0 {
                return Ok(());
            }
            let data = data.get(..len).unwrap_or(&[]);
            self.world.write(data).map_err(Failure::File)?;
            let now = self.world.now_ns();
            bar.advance(self.world, now, len as u64);
        }
    }

    /// Status line and header fields, as they came.
    fn print_head(&mut self, head: &ResponseHead, refusal: Failure) -> Result<(), Failure> {
        let mut text = format!("{} {}\n", head.version.name(), head.status);
        for field in head.headers.iter() {
            let value = String::from_utf8_lossy(field.value());
            text.push_str(&format!("{}: {}\n", field.name(), value));
        }
        self.world.write(text.as_bytes()).map_err(Failure::File)?;
        if head.status.0 >= 400 {
            return Err(refusal);
        }
        Ok(())
    }

    /// What is sent is what was asked for: the rest of the file, or all of it again.
    fn check_range(&mut self, head: &ResponseHead) -> Result<(), Failure> {
        let asked = self.have > 0 || self.arguments.range.is_some();
        if head.status != Status::PARTIAL_CONTENT {
            if self.have > 0 {
                self.have = 0;
                self.world
                    .show("fetch: the server sends no parts; starting again\n");
            }
            return Ok(());
        }
        let range = head
            .headers
            .bytes("Content-Range")
            .and_then(ContentRange::parse)
            .and_then(|range| range.range);
        match range {
            Some(range) if self.have > 0 && range.start == self.have => Ok(()),
            Some(_) if asked && self.have == 0 => Ok(()),
            _ => Err(Failure::WrongRange),
        }
    }

    /// 416: the earlier part may be all there is.
    fn nothing_more(&mut self, head: &ResponseHead) -> Result<(), Failure> {
        let complete = head
            .headers
            .bytes("Content-Range")
            .and_then(ContentRange::parse)
            .and_then(|range| range.complete);
        match (&self.part, &self.to) {
            (Some(part), Some(to)) if complete == Some(self.have) => {
                self.world.begin(part, self.have).map_err(Failure::File)?;
                self.world.finish(part, to).map_err(Failure::File)?;
                if !self.arguments.quiet {
                    self.world.show(&format!("{to}: was complete\n"));
                }
                Ok(())
            }
            _ => Err(Failure::Status(head.status)),
        }
    }

    /// A part of something that the server can send the rest of is worth keeping.
    fn keep_or_remove(&mut self, head: &ResponseHead, done: u64) {
        let Some(part) = &self.part else { return };
        let resumable = head.headers.list_has("Accept-Ranges", "bytes")
            || head.status == Status::PARTIAL_CONTENT;
        if resumable && done > 0 && !head.headers.has("Content-Encoding") {
            self.world.show(&format!(
                "fetch: {part} has the first {done} bytes; RESUME fetches the rest\n"
            ));
        } else {
            self.world.remove(part);
            self.world.show(&format!("fetch: {part} was removed\n"));
        }
    }
}
