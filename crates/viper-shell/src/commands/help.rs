//! The pages of Help.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{GROUPS, Spec};
use crate::text;

/// What Help says about one command.
pub(crate) fn help(spec: &Spec) -> String {
    let mut page = format!("{}: {}\nUsage: {}\n", spec.name, spec.summary, spec.usage);
    if !spec.aliases.is_empty() {
        page.push_str(&format!("Also: {}\n", spec.aliases.join(", ")));
    }
    page.push_str(&wrapped(spec.details));
    page
}

/// The list of all commands.
pub(super) fn overview() -> String {
    let mut page = String::new();
    for (title, commands) in GROUPS {
        if matches!(*title, "Scripts" | "POSIX") {
            continue;
        }
        page.push_str(title);
        page.push('\n');
        for spec in *commands {
            page.push_str(&format!(
                "  {} {}\n",
                text::padded(spec.name, 10),
                spec.summary
            ));
        }
    }
    let scripts = GROUPS
        .iter()
        .filter(|(title, _)| matches!(*title, "Scripts" | "POSIX"));
    let names: Vec<String> = scripts
        .flat_map(|(_, all)| all.iter())
        .map(|spec| spec.name.to_string())
        .collect();
    page.push_str("For scripts\n  ");
    page.push_str(&names.join(" "));
    page.push_str("\n`Help command` explains one, `Help shell` the language; ");
    page.push_str("Tab completes, Up recalls.\n");
    page
}

/// Text in lines of at most 78 columns.
fn wrapped(text: &str) -> String {
    let mut page = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if used > 0 && used + 1 + width > 78 {
            page.push('\n');
            used = 0;
        }
        if used > 0 {
            page.push(' ');
            used += 1;
        }
        page.push_str(word);
        used += width;
    }
    if used > 0 {
        page.push('\n');
    }
    page
}

/// What `Help shell` says.
pub(super) const LANGUAGE: &str = "\
Commands in upper or lower case, then arguments, with blanks between.
  a; b     one after the other      a && b   b if a returned 0
  a | b    b reads what a writes    a || b   b if a did not
  a &      a program in the background
  > file   output to a file         >> file  to its end
  < file   input from a file        2> file  complaints to a file
  'text'   as it is                 \"text\"   with $ replaced
  $name    a variable               $RC, $?  the last return code
  $(a)     the output of a          $((1+2)) a number
  * ? [a-z]  file names             # a comment
Paths: NAME:dir/file from an assign, /dir/file from the root, dir/file from
here, .. for the directory above. NIL: takes and gives nothing.
Return codes: 0 well, 5 look at it, 10 not done, 20 broken. Why explains.
Scripts: if/then/elif/else/fi, while, until, for, case, name() { ...; }, { },
( ), <<, set -e; and If EXISTS|WARN|ERROR|FAIL|a EQ b ... Else ... EndIf.
";
