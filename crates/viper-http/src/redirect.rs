//! Where a client goes when it is sent elsewhere (RFC 9110 section 15.4).

use crate::url::{Scheme, Url};
use crate::{Error, Method, ResponseHead};

/// Which redirects are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectPolicy {
    /// How many in a row.
    pub redirects_max: u8,
    /// Whether a redirect may lead from https to http, where others can read along.
    pub allow_insecure: bool,
}

impl Default for RedirectPolicy {
    fn default() -> RedirectPolicy {
        RedirectPolicy {
            redirects_max: 10,
            allow_insecure: false,
        }
    }
}

/// The request to make next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Where. A user and password in a `Location` are taken away: a server has none to give.
    pub url: Url,
    /// The method, which some redirects change to GET.
    pub method: Method,
    /// Whether the body is sent again.
    pub keeps_body: bool,
    /// Whether scheme, host and port stay. Credentials must not be sent if not.
    pub same_origin: bool,
}

impl RedirectPolicy {
    /// The request to make after this answer, if it is a redirect with a `Location`.
    ///
    /// `followed` is how many redirects led to `url`.
    ///
    /// # Errors
    /// [`Error::TooManyRedirects`], [`Error::BadLocation`], [`Error::InsecureRedirect`].
    pub fn next(
        &self,
        followed: u8,
        url: &Url,
        method: &Method,
        answer: &ResponseHead,
    ) -> Result<Option<Redirect>, Error> {
        if !answer.status.is_redirect() || !answer.headers.has("Location") {
            return Ok(None);
        }
        if followed >= self.redirects_max {
            return Err(Error::TooManyRedirects);
        }
        let mut locations = answer.headers.all("Location");
        let location = match (locations.next(), locations.next()) {
            (Some(location), None) => core::str::from_utf8(location).ok(),
            _ => None,
        };
        let mut to = location
            .and_then(|location| url.join(location).ok())
            .ok_or(Error::BadLocation)?;
        if url.scheme() == Scheme::Https && to.scheme() == Scheme::Http && !self.allow_insecure {
            return Err(Error::InsecureRedirect);
        }
        to.inherit_fragment(url);
        let same_origin = to.is_same_origin(url);
        to.clear_credentials();
        let becomes_get = match answer.status.0 {
            301 | 302 => *method == Method::Post,
            303 => *method != Method::Head,
            _ => false,
        };
        Ok(Some(Redirect {
            url: to,
            method: if becomes_get {
                Method::Get
            } else {
                method.clone()
            },
            keeps_body: !becomes_get,
            same_origin,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;
    use std::string::ToString;

    fn next(from: &str, method: Method, status: u16, to: &str) -> Result<Option<Redirect>, Error> {
        let answer = ResponseHead::new(Status(status))
            .with("Location", to)
            .unwrap();
        let url = Url::parse(from).unwrap();
        RedirectPolicy::default().next(0, &url, &method, &answer)
    }

    #[test]
    fn locations() {
        for (from, location, to) in [
            ("http://a/b/c?d#e", "../f", "http://a/f#e"),
            ("http://a/b/c?d#e", "f#g", "http://a/b/f#g"),
            ("http://a/b", "//c", "http://c/"),
            ("http://u:p@a/b", "/c", "http://a/c"),
            ("http://a/b", "https://u:p@c/d", "https://c/d"),
            ("http://a/b", "?x", "http://a/b?x"),
        ] {
            let redirect = next(from, Method::Get, 301, location).unwrap().unwrap();
            assert_eq!(redirect.url.to_string(), to);
        }
    }

    #[test]
    fn methods() {
        for (status, method, becomes) in [
            (301, Method::Post, Method::Get),
            (302, Method::Post, Method::Get),
            (302, Method::Put, Method::Put),
            (303, Method::Put, Method::Get),
            (303, Method::Head, Method::Head),
            (307, Method::Post, Method::Post),
            (308, Method::Post, Method::Post),
        ] {
            let redirect = next("http://a/", method, status, "/x").unwrap().unwrap();
            assert_eq!(redirect.method, becomes, "{status}");
            assert_eq!(redirect.keeps_body, becomes != Method::Get);
        }
    }

    #[test]
    fn refusals() {
        let get = |from, to| next(from, Method::Get, 302, to).map(|r| r.map(|r| r.same_origin));
        assert_eq!(get("https://a/", "http://a/"), Err(Error::InsecureRedirect));
        assert_eq!(get("http://a/", "ftp://a/"), Err(Error::BadLocation));
        assert_eq!(get("http://a/", "http://"), Err(Error::BadLocation));
        assert_eq!(get("http://a/", "http://a:80/"), Ok(Some(true)));
        assert_eq!(get("http://a/", "http://a:81/"), Ok(Some(false)));
        assert_eq!(get("http://a/", "https://a/"), Ok(Some(false)));

        let answer = ResponseHead::new(Status(302))
            .with("Location", "/x")
            .unwrap();
        let url = Url::parse("http://a/").unwrap();
        let policy = RedirectPolicy::default();
        assert!(policy.next(9, &url, &Method::Get, &answer).is_ok());
        let last = policy.next(10, &url, &Method::Get, &answer);
        assert_eq!(last, Err(Error::TooManyRedirects));
        let twice = answer.clone().with("Location", "/y").unwrap();
        assert_eq!(
            policy.next(0, &url, &Method::Get, &twice),
            Err(Error::BadLocation)
        );
        let none = ResponseHead::new(Status(302));
        assert_eq!(policy.next(0, &url, &Method::Get, &none), Ok(None));
    }
}
