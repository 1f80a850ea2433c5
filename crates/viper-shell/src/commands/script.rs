//! Execute, and what only scripts need.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Spec, number};
use crate::context::{About, Context, Ended, Flow, Stop, fail};
use crate::error::Error;
use crate::io::CHUNK;
use crate::parse::TEXT_MAX;
use crate::shell::{OK, WARN};
use crate::system::OpenMode;

pub(super) static COMMANDS: &[Spec] = &[
    Spec::new(
        "Execute",
        &["sh"],
        "Execute script [arguments...]",
        "runs a script",
        execute,
    )
    .details("The arguments are $1, $2, ... in the script. Also `sh -c 'commands'`."),
    Spec::new(
        ".",
        &["source"],
        ". script",
        "runs a script in this shell",
        source,
    ),
    Spec::new(
        "eval",
        &[],
        "eval text...",
        "runs its arguments as commands",
        eval,
    ),
    Spec::new(
        "shift",
        &[],
        "shift [n]",
        "drops the first arguments of a script",
        shift,
    ),
    Spec::new("break", &[], "break [n]", "leaves a loop", leave),
    Spec::new(
        "continue",
        &[],
        "continue [n]",
        "goes on with the next turn of a loop",
        go_on,
    ),
    Spec::new(
        "return",
        &[],
        "return [code]",
        "leaves a function or script",
        give_back,
    ),
    Spec::new("true", &[":"], "true", "returns 0", |_, _| Ok(OK)),
    Spec::new("false", &[], "false", "returns 5", |_, _| Ok(WARN)).quiet(),
];

impl Context<'_> {
    /// The text of a script.
    fn script(&mut self, typed: &str) -> Result<String, Stop> {
        let path = self.locate(typed)?;
        let file = self.sys.open(&path, OpenMode::READ).about(typed)?;
        let mut bytes = Vec::new();
        let mut buf = alloc::vec![0; CHUNK];
        let read = loop {
            match self.sys.read(file, bytes.len() as u64, &mut buf) {
                Ok(0) => break Ok(()),
                Ok(_) if bytes.len() > TEXT_MAX => break Err(Error::TooLarge),
                Ok(count) => bytes.extend_from_slice(buf.get(..count).unwrap_or(&buf)),
                Err(error) => break Err(error),
            }
        };
        let _ = self.sys.close(file);
        read.about(typed)?;
        String::from_utf8(bytes).map_err(|_| Stop::Fail(10, format!("{typed}: is not a text")))
    }
}

fn execute(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let (text, arguments) = match arguments {
        [] => return Err(Stop::Usage),
        [option, text, rest @ ..] if option == "-c" => {
            let zero = String::from("sh");
            (
                text.clone(),
                if rest.is_empty() {
                    Vec::from([zero])
                } else {
                    rest.to_vec()
                },
            )
        }
        [typed, ..] => (c.script(typed)?, arguments.to_vec()),
    };
    let name = arguments.first().cloned().unwrap_or_default();
    // `EndShell` ends only the script.
    c.deeper(|c| {
        Ok(c.subshell(|c| {
            c.shell.state.arguments = arguments;
            c.run_text(&text, &name)
        })?)
    })
}

fn source(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let [typed, rest @ ..] = arguments else {
        return Err(Stop::Usage);
    };
    let text = c.script(typed)?;
    let outer = (!rest.is_empty())
        .then(|| core::mem::replace(&mut c.shell.state.arguments, arguments.to_vec()));
    let ran = c.deeper(|c| Ok(c.run_text(&text, typed)?));
    if let Some(outer) = outer {
        c.shell.state.arguments = outer;
    }
    match ran {
        Err(Stop::Flow(Flow::Return(code))) => Ok(code),
        other => other,
    }
}

fn eval(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let text = arguments.join(" ");
    c.deeper(|c| Ok(c.run_text(&text, "eval")?))
}

fn shift(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let count = usize::try_from(one_number(arguments, 1)?).unwrap_or(usize::MAX);
    let given = c.shell.state.arguments.len().saturating_sub(1);
    if count > given {
        return fail("there are not so many arguments");
    }
    c.shell.state.arguments.drain(1..=count);
    Ok(OK)
}

fn one_number(arguments: &[String], default: u64) -> Result<u64, Stop> {
    match arguments {
        [] => Ok(default),
        [one] => number(one),
        _ => Err(Stop::Usage),
    }
}

fn leave(_: &mut Context<'_>, arguments: &[String]) -> Ended {
    Err(Flow::Break(one_number(arguments, 1)? as usize).into())
}

fn go_on(_: &mut Context<'_>, arguments: &[String]) -> Ended {
    Err(Flow::Continue(one_number(arguments, 1)? as usize).into())
}

fn give_back(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let code = match arguments {
        [] => c.shell.last,
        [code] => code.parse().map_err(|_| Stop::Usage)?,
        _ => return Err(Stop::Usage),
    };
    Err(Flow::Return(code).into())
}
