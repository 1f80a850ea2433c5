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
    // The system test starts that driver before this program, and misses this line if it did not.
    let code = context.own.devtest();
    if code != Err(Error::NotFound) {
        report.run("device/no-more-than-given", || {
            want("failed checks", code.map_err(failed("devtest"))?, 0)
        });
    }
}
