//! All interleavings, as far as the bounds go. Run with `RUSTFLAGS="--cfg loom"`; empty without.
#![allow(
    unexpected_cfgs,
    reason = "`--cfg loom` builds the crate for the model checker"
)]

#[cfg(loom)]
mod futex;
#[cfg(loom)]
mod ring;
#[cfg(loom)]
mod ticket;

/// Explores with up to `preemptions` switches away from threads that could go on.
#[cfg(loom)]
fn model(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}
