//! Devices: nothing without a capability, and no more than it says with one.

use super::Context;
use super::report::{Report, failed, want};
use crate::devtest::unowned_device;
use viper_rt::Error;

/// All tests of this file.
pub(super) fn tests(context: &Context, report: &mut Report<'_>) {
    report.run("device/none-without-capability", || {
        want("a device", unowned_device(|_| false), None)
    });
    report.run("device/no-more-than-given", || match context.own.devtest() {
        // An image that is not for tests has no such driver.
        Err(Error::NotFound) => Ok(()),
        code => want("failed checks of devtest", code.map_err(failed("devtest"))?, 0),
    });
}
