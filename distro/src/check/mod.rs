//! Checks of the sources that no compiler makes. Each prints its complaints and a closing line.

mod clippy;
mod floors;
mod packages;
mod public_types;
mod unsafe_count;

use std::process::ExitCode;

use crate::cli::Check;
use crate::error::{Result, unable};
use crate::workspace::Workspace;
pub use clippy::clippy;
use packages::Package;

/// Runs a check; ends with 1 when it complains.
///
/// # Errors
///
/// When the workspace cannot be read.
pub fn check(workspace: &Workspace, what: Check, update: bool) -> Result<ExitCode> {
    let packages = packages::read(workspace)?;
    let (name, complaints) = match what {
        Check::Floors => (
            "floors",
            floors::dependencies(&packages, &floors::rules(workspace)?),
        ),
        Check::Members => ("members", floors::order(&packages)),
        Check::PublicTypes => ("public-types", public_types::complaints(&packages)?),
        Check::Clippy => return unable("clippy needs a compiler"),
        Check::UnsafeCount => (
            "unsafe-count",
            unsafe_count::complaints(workspace, &packages, update)?,
        ),
    };
    for complaint in &complaints {
        println!("{name}: {complaint}");
    }
    println!(
        "{name}: {} packages, {} complaints",
        packages.len(),
        complaints.len()
    );
    Ok(ExitCode::from(u8::from(!complaints.is_empty())))
}
