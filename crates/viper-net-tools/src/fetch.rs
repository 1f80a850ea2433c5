//! What `fetch` does: one resource from a server, to a file or to standard output.

mod arguments;
mod bar;
mod exchange;

pub use arguments::{Arguments, USAGE};
pub use exchange::{Exchange, TIMEOUT_NS};

use crate::stream::{Fault, Stream, Wait};
use alloc::format;
use alloc::string::{String, ToString};
use bar::Bar;
use core::fmt;
use viper_http::{
    ContentRange, Error, Method, RedirectPolicy, RequestHead, ResponseHead, Status, Url,
};

/// What `fetch` needs of the system.
pub trait World {
    /// A connection to a server.
    type Stream: Stream + Wait;

    /// Connects to the host and port of a URL, with TLS if its scheme asks for it, and waits until
    /// that is done. Without `verify` any certificate will do.
    ///
    /// # Errors
    /// Why there is no connection.
    fn connect(&mut self, url: &Url, verify: bool, deadline: u64) -> Result<Self::Stream, Fault>;

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

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or none any more.
    Connection(Fault),
    /// The server does not speak HTTP as it should, or leads nowhere.
    Http(Error),
    /// The server's answer is an error.
    Status(Status),
    /// The other part is of something else.
    WrongRange,
    /// The file system.
    File(viper_rt::Error),
    /// The server took too long.
    TimedOut,
}

impl Failure {
    /// What the program returns: 20 if it is for this machine to mend, 10 otherwise.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            Failure::File(_) => 20,
            _ => 10,
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        match fault {
            Fault::Network(viper_rt::Error::TimedOut) => Failure::TimedOut,
            other => Failure::Connection(other),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Http(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connection(fault) => fault.fmt(f),
            Failure::Http(error) => error.fmt(f),
            Failure::Status(status) => write!(f, "the server answered {status}"),
            Failure::WrongRange => {
                f.write_str("the server sent another part than it was asked for")
            }
            Failure::File(error) => error.fmt(f),
            Failure::TimedOut => f.write_str("the server took too long"),
        }
    }
}

/// Does what the arguments say; the return code.
pub fn run<W: World>(world: &mut W, arguments: &Arguments) -> i64 {
    let mut url = arguments.url.clone();
    match Fetch::new(world, arguments).follow(&mut url) {
        Ok(()) => 0,
        Err(failure) => {
            let what = match failure {
                Failure::File(_) => arguments.to.as_deref().unwrap_or("standard output").into(),
                _ => shown(&url),
            };
            world.show(&format!("fetch: {what}: {failure}\n"));
            failure.code()
        }
    }
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
    /// Where the data go until all are there.
    part: Option<String>,
    /// How many bytes of them are there from an earlier time.
    have: u64,
}

impl<'a, W: World> Fetch<'a, W> {
    fn new(world: &'a mut W, arguments: &'a Arguments) -> Fetch<'a, W> {
        Fetch {
            world,
            arguments,
            part: arguments.to.as_ref().map(|to| format!("{to}.part")),
            have: 0,
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
            let mut exchange = self.ask(url, trusted)?;
            let head = exchange.head(self.world)?.clone();
            match policy.next(followed, url, &self.arguments.method, &head)? {
                Some(redirect) => {
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

    /// Sends the request.
    fn ask(&mut self, url: &Url, trusted: bool) -> Result<Exchange<W::Stream>, Failure> {
        let arguments = self.arguments;
        let mut head = RequestHead::new(arguments.method.clone(), url)?;
        let headers = &mut head.headers;
        headers.push("User-Agent", concat!("fetch/", env!("CARGO_PKG_VERSION")))?;
        headers.push("Accept", "*/*")?;
        headers.push("Connection", "close")?;
        if let Some(range) = &arguments.range {
            headers.push("Range", format!("bytes={range}"))?;
        } else if self.have > 0 {
            headers.push("Range", format!("bytes={}-", self.have))?;
        }
        // Parts are of what is sent, not of what it is made from.
        let decodes = !headers.has("Range") && arguments.method == Method::Get;
        headers.push("Accept-Encoding", if decodes { "gzip" } else { "identity" })?;
        for (name, value) in &arguments.headers {
            if trusted {
                headers.set(name, value)?;
            }
        }
        if let (true, Some(value)) = (trusted, url.basic_authorization()) {
            headers.push("Authorization", value)?;
        }
        let deadline = self.world.now_ns().saturating_add(arguments.timeout_ns);
        let stream = self.world.connect(url, arguments.verify, deadline)?;
        let exchange = Exchange::new(stream, arguments.method.clone(), decodes);
        exchange.send(self.world, &head, arguments.timeout_ns)
    }

    /// Takes the answer, which is no redirect.
    fn take(
        &mut self,
        mut exchange: Exchange<W::Stream>,
        head: &ResponseHead,
    ) -> Result<(), Failure> {
        if self.arguments.method == Method::Head {
            return self.print_head(head);
        }
        if head.status == Status::RANGE_NOT_SATISFIABLE && self.have > 0 {
            return self.nothing_more(head);
        }
        if !head.status.is_success() {
            return Err(Failure::Status(head.status));
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
                if let (Some(part), Some(to)) = (&self.part, &self.arguments.to) {
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
    fn print_head(&mut self, head: &ResponseHead) -> Result<(), Failure> {
        let mut text = format!("{} {}\n", head.version.name(), head.status);
        for field in head.headers.iter() {
            let value = String::from_utf8_lossy(field.value());
            text.push_str(&format!("{}: {}\n", field.name(), value));
        }
        self.world.write(text.as_bytes()).map_err(Failure::File)?;
        if head.status.0 >= 400 {
            return Err(Failure::Status(head.status));
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
        match (&self.part, &self.arguments.to) {
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
