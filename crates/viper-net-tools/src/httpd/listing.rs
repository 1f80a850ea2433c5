//! A directory as a page.

use super::Item;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use viper_http::HttpDate;
use viper_http::url::encode_segment;

/// A page with the entries of a directory, folders first, by name.
pub(super) fn page(path: &str, mut items: Vec<Item>) -> String {
    items.sort_by(|a, b| (!a.is_folder, &a.name).cmp(&(!b.is_folder, &b.name)));
    let title = format!("/{}", escaped(path));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n<table>\n"
    );
    if !path.is_empty() {
        page.push_str("<tr><td><a href=\"../\">../</a></td></tr>\n");
    }
    for item in &items {
        let slash = if item.is_folder { "/" } else { "" };
        let date = HttpDate::from_unix_s(item.modified_s);
        let len = match item.is_folder {
            true => String::new(),
            false => format!("{}", item.len),
        };
        page.push_str(&format!(
            "<tr><td><a href=\"./{}{slash}\">{}{slash}</a></td><td align=\"right\">{len}</td>\
             <td>{date}</td></tr>\n",
            encode_segment(&item.name),
            escaped(&item.name),
        ));
    }
    page.push_str("</table>\n</body>\n</html>\n");
    page
}

/// Text that is only text, also between quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
