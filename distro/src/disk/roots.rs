//! The certification authorities that the guest's programs trust from the start.

use super::Entry;
use base64ct::{Base64, Encoding};
use std::fmt::Write;

/// Those of Mozilla's root programme, as a PEM file at `path`.
pub fn file(path: &str) -> Entry {
    let mut pem = String::from(HEAD);
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        section(&mut pem, certificate);
    }
    Entry::File {
        path: path.into(),
        contents: pem.into_bytes(),
        executable: false,
    }
}

const HEAD: &str =
    "# Certification authorities of Mozilla's root programme (CDLA-Permissive-2.0).\n";

/// Characters on a line of PEM (RFC 7468, section 2).
const LINE_LEN: usize = 64;

fn section(pem: &mut String, der: &[u8]) {
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let text = Base64::encode_string(der);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_LEN));
        let _ = writeln!(pem, "{line}");
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the guest makes of the file.
    #[test]
    fn the_guest_can_read_it() {
        let Entry::File { path, contents, .. } = file("/certs/roots.pem") else {
            panic!("not a file");
        };
        assert_eq!(path, "/certs/roots.pem");
        let mut roots = viper_tls::Roots::new();
        let count = webpki_root_certs::TLS_SERVER_ROOT_CERTS.len();
        assert!(count > 100);
        assert_eq!(roots.add(&contents), Ok(count));
        assert!(
            contents
                .split(|&byte| byte == b'\n')
                .all(|line| line.len() <= 100)
        );
    }
}
