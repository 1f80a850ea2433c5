//! The words after `httpd`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// How to call it.
pub const USAGE: &str = "httpd [DIRECTORY] [PORT N] [TLSPORT N] [CERT FILE] [KEY FILE] \
[NAME HOST] [CLIENTCA FILE] [OPTIONAL] [ADDRESS IP] [CLIENTS N] [SECONDS N] [QUIET]";

/// What to serve, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The directory; that of the shell if it is empty.
    pub directory: String,
    /// Port for HTTP, 0 for none: with `client_authority` only if it is asked for.
    pub port: u16,
    /// Port for HTTPS, 0 for none.
    pub tls_port: u16,
    /// The file with the certificate chain.
    pub certificate: String,
    /// The file with its private key.
    pub key: String,
    /// Names and addresses for a certificate that is made when there is none.
    pub names: Vec<String>,
    /// The file with the authorities that stand behind the certificates of clients, which must
    /// show one at the port for HTTPS.
    pub client_authority: Option<String>,
    /// Whether they may do without.
    pub client_optional: bool,
    /// The address to listen at; all of them if it is empty.
    pub address: String,
    /// Connections at once.
    pub clients_max: usize,
    /// How long to serve, 0 for ever.
    pub seconds: u64,
    /// No word when all is well.
    pub quiet: bool,
}

impl Default for Arguments {
    fn default() -> Arguments {
        Arguments {
            directory: String::new(),
            port: 80,
            tls_port: 0,
            certificate: "S:httpd.crt".into(),
            key: "S:httpd.key".into(),
            names: Vec::new(),
            client_authority: None,
            client_optional: false,
            address: String::new(),
            clients_max: 64,
            seconds: 0,
            quiet: false,
        }
    }
}

impl Arguments {
    /// Reads the words after the program's name. Keywords are not case-sensitive.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Arguments, String> {
        let mut words = words.into_iter();
        let mut arguments = Arguments::default();
        let mut has_directory = false;
        let mut port = None;
        while let Some(word) = words.next() {
            let keyword = word.to_ascii_uppercase();
            let mut value = || {
                let missing = || format!("{keyword} needs a value");
                words.next().ok_or_else(missing)
            };
            match keyword.as_str() {
                "PORT" => port = Some(number(value()?)?),
                "TLSPORT" => arguments.tls_port = number(value()?)?,
                "CERT" => arguments.certificate = value()?.to_string(),
                "KEY" => arguments.key = value()?.to_string(),
                "NAME" => arguments.names.push(value()?.to_string()),
                "CLIENTCA" => arguments.client_authority = Some(value()?.to_string()),
                "OPTIONAL" => arguments.client_optional = true,
                "ADDRESS" => arguments.address = value()?.to_string(),
                "CLIENTS" => arguments.clients_max = number(value()?)?,
                "SECONDS" => arguments.seconds = number(value()?)?,
                "QUIET" => arguments.quiet = true,
                _ if !has_directory => {
                    has_directory = true;
                    arguments.directory = word.to_string();
                }
                _ => return Err(format!("{word} is not understood; usage: {USAGE}")),
            }
        }
        arguments.port = port.unwrap_or(match arguments.client_authority {
            // Whoever wants to know its clients does not serve the same to anybody.
            Some(_) => 0,
            None => arguments.port,
        });
        arguments.check()?;
        Ok(arguments)
    }

    fn check(&self) -> Result<(), String> {
        if self.client_authority.is_some() && self.tls_port == 0 {
            return Err("CLIENTCA goes with TLSPORT".into());
        }
        if self.client_optional && self.client_authority.is_none() {
            return Err("OPTIONAL goes with CLIENTCA".into());
        }
        if self.port == 0 && self.tls_port == 0 {
            return Err("there is no port to listen at".into());
        }
        if self.clients_max == 0 || self.clients_max > 1000 {
            return Err("CLIENTS is a number from 1 to 1000".into());
        }
        Ok(())
    }
}

fn number<N: core::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse()
        .map_err(|_| format!("{text} is no number that fits here"))
}
