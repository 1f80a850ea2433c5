//! The tests that run inside the guest: the program `viper-test-suite`.

use super::{Lab, Test, Verdict, one, parts};
use crate::cli::MachineOptions;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    parts("suite", |lab| guest_suite(lab, 1)),
    parts("suite-smp-4", |lab| guest_suite(lab, 4)),
    one("fuzz-million-calls", million_calls),
];

/// The test of `devtest`, which only runs if that was started.
const DRIVER: &str = "device/no-more-than-given";

/// A million random calls on four cores; afterwards everything is as before.
fn million_calls(lab: &Lab<'_>) -> Verdict {
    let options = MachineOptions {
        smp: Some(4),
        no_net: true,
        ..MachineOptions::default()
    };
    let outcome = lab.run_long(&options, "viper-test-suite fuzz 1000000 7")?;
    outcome.prints("ok fuzz")?;
    outcome.code(0)
}

/// Each of the guest's lines is a test; so is that it came to its end.
fn guest_suite(lab: &Lab<'_>, cores: u8) -> Vec<(String, Verdict)> {
    let options = MachineOptions {
        smp: Some(cores),
        no_net: true,
        ..MachineOptions::default()
    };
    match lab.run_long(&options, "Servers devtest RESTART; viper-test-suite") {
        Err(reason) => vec![("run".into(), Err(reason))],
        Ok(outcome) => {
            let mut verdicts = read(&outcome.output);
            let any = verdicts.iter().any(|(name, _)| name == DRIVER);
            let failed = verdicts.iter().any(|(_, verdict)| verdict.is_err());
            let end = match outcome.code(0) {
                // Which tests failed is said by their own lines.
                Err(_) if failed && matches!(outcome.end, crate::session::End::Code(_)) => Ok(()),
                Ok(()) if !any => Err(format!("no result of {DRIVER}")),
                other => other,
            };
            verdicts.push(("end".into(), end));
            verdicts
        }
    }
}

/// Reads lines `ok NAME` and `not ok NAME REASON`; others are comments.
fn read(output: &str) -> Vec<(String, Verdict)> {
    output
        .lines()
        .filter_map(|line| {
            if let Some(name) = line.strip_prefix("ok ") {
                return Some((name.trim().into(), Ok(())));
            }
            let (name, reason) = match line.strip_prefix("not ok ")?.split_once(' ') {
                Some((name, reason)) => (name, reason),
                None => (line.strip_prefix("not ok ")?, "no reason given"),
            };
            Some((name.into(), Err(reason.into())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_and_comments_passed_over() {
        let read = read("# two tests\nok first\nnot ok second expected 1, found 2\nnot ok third\n");
        assert_eq!(read[0], ("first".into(), Ok(())));
        assert_eq!(
            read[1],
            ("second".into(), Err("expected 1, found 2".into()))
        );
        assert_eq!(read[2], ("third".into(), Err("no reason given".into())));
        assert_eq!(read.len(), 3);
    }
}
