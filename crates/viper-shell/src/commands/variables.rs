//! Set, Unset, export, env.

use alloc::format;
use alloc::string::{String, ToString};

use super::Spec;
use crate::context::{Context, Ended, Stop, fail};
use crate::shell::{OK, Variable};

pub(super) static COMMANDS: &[Spec] = &[
    Spec::new(
        "Set",
        &["setenv"],
        "Set [name [value...]]",
        "shows and sets variables",
        set,
    )
    .details(
        "Variables set this way go to programs. `name=value` sets one for the shell alone. \
         `set -e` ends the shell at the first failure, -u makes unset variables an error, -x \
         shows commands; `set -- a b` sets $1 and $2.",
    ),
    Spec::new(
        "Unset",
        &["unsetenv"],
        "Unset name...",
        "takes variables away",
        unset,
    ),
    Spec::new(
        "export",
        &[],
        "export name[=value]...",
        "hands variables to programs",
        export,
    ),
    Spec::new(
        "env",
        &["printenv"],
        "env",
        "shows the variables that programs get",
        env,
    ),
];

pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn checked(name: &str) -> Result<&str, Stop> {
    if is_name(name) {
        Ok(name)
    } else {
        fail(format!("`{name}` is no name for a variable"))
    }
}

fn set(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    match arguments {
        [] => show(c, false),
        [option, ..] if option.starts_with(['-', '+']) => options(c, arguments),
        [name] => match c.lookup(checked(name)?) {
            Some(value) => c.line(&value).map(|()| OK),
            None => fail(format!("{name} is not set")),
        },
        [name, value @ ..] => {
            let value = value.join(" ");
            store(c, checked(name)?, value);
            Ok(OK)
        }
    }
}

fn store(c: &mut Context<'_>, name: &str, value: String) {
    c.shell.state.variables.insert(
        name.to_string(),
        Variable {
            value,
            exported: true,
        },
    );
}

fn options(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    for (i, argument) in arguments.iter().enumerate() {
        if argument == "--" {
            let rest = arguments.get(i + 1..).unwrap_or(&[]);
            c.shell.state.arguments.truncate(1);
            c.shell.state.arguments.extend_from_slice(rest);
            return Ok(OK);
        }
        let on = argument.starts_with('-');
        for letter in argument
            .strip_prefix(['-', '+'])
            .ok_or(Stop::Usage)?
            .chars()
        {
            let state = &mut c.shell.state;
            match letter {
                'e' => state.stop_on_error = on,
                'u' => state.unset_is_error = on,
                'x' => state.echo_commands = on,
                _ => return Err(Stop::Usage),
            }
        }
    }
    Ok(OK)
}

fn show(c: &mut Context<'_>, exported: bool) -> Ended {
    for (name, variable) in c.shell.state.variables.clone() {
        if variable.exported || !exported {
            c.line(&format!("{name}={}", variable.value))?;
        }
    }
    Ok(OK)
}

fn unset(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    if arguments.is_empty() {
        return Err(Stop::Usage);
    }
    for name in arguments {
        if name != "-f" && name != "-v" {
            c.shell.state.variables.remove(name);
            c.shell.state.functions.remove(name);
        }
    }
    Ok(OK)
}

fn export(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    if arguments.is_empty() {
        return show(c, true);
    }
    for argument in arguments {
        match argument.split_once('=') {
            Some((name, value)) => store(c, checked(name)?, value.to_string()),
            None => {
                let value = c.lookup(checked(argument)?).unwrap_or_default();
                store(c, argument, value);
            }
        }
    }
    Ok(OK)
}

fn env(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    super::no_arguments(arguments)?;
    show(c, true)
}
