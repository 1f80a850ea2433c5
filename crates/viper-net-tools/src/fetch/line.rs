//! Connections to servers, which may serve for several requests.

use crate::stream::{Fault, Stream};
use viper_http::Url;

/// How a connection is secured, if its URL asks for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whether the server's certificate is verified; without, any will do.
    pub verify: bool,
    /// Whether the user's own certificate may be shown to a server that asks for one.
    pub identify: bool,
}

/// A connection that was just made.
#[derive(Debug)]
pub struct Connected<S> {
    /// The bytes.
    pub stream: S,
    /// Whether the server asked for a certificate.
    pub asks_certificate: bool,
}

/// A connection, and where it leads.
#[derive(Debug)]
pub struct Line<S> {
    url: Url,
    terms: Terms,
    pub(super) stream: S,
    asks_certificate: bool,
}

impl<S: Stream> Line<S> {
    pub(super) fn new(url: Url, terms: Terms, connected: Connected<S>) -> Line<S> {
        let Connected {
            stream,
            asks_certificate,
        } = connected;
        Line {
            url,
            terms,
            stream,
            asks_certificate,
        }
    }

    /// Whether it can be used for this URL: the server has neither closed it nor said anything.
    pub(super) fn leads_to(&mut self, url: &Url, terms: Terms) -> bool {
        self.terms == terms
            && self.url.is_same_origin(url)
            && self.stream.try_read(&mut [0]) == Err(Fault::WouldBlock)
    }

    pub(super) fn asks_certificate(&self) -> bool {
        self.asks_certificate
    }

    pub(super) fn identifies(&self) -> bool {
        self.terms.identify
    }

    /// Says that nothing more comes; whether anybody hears it does not matter any more.
    pub(super) fn end(mut self) {
        let _ = self.stream.shutdown_write();
    }
}
