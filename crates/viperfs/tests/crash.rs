//! Power cuts at every write. `VIPERFS_CRASH_STATES` sets how many states are tried.

mod common;
#[path = "common/crash.rs"]
mod crash;

#[test]
fn every_cut_leaves_an_acknowledged_state() {
    let states = std::env::var("VIPERFS_CRASH_STATES")
        .ok()
        .and_then(|v| v.parse().ok());
    let tally = crash::run(
        states.unwrap_or(if cfg!(debug_assertions) { 500 } else { 100_000 }),
        0,
    );
    println!("{tally:?}");
    assert!(tally.replayed > 0, "some cuts must leave work to recovery");
}
