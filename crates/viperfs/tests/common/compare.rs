//! Random operations on a volume and on the model; after each, both must show the same.

use super::common::{FAST, Model, Rng, fast, fresh, snapshot};
use viperfs::{CheckOptions, Fs, check};

/// Runs `ops` operations, with a check and a remount about every 200.
///
/// `names` and `size` (bytes of a write) scale the operations.
pub fn run(seed: u64, blocks: u64, ops: u64, names: u64, size: u64) {
    let mut rng = Rng::new(seed);
    let mut fs = Fs::mount(fresh(blocks), fast()).unwrap();
    let mut model = Model::new();
    for i in 0..ops {
        let op = model.random_op(&mut rng, names, size);
        let _ = model.apply(&mut fs, &op);
        let shown = snapshot(&mut fs).unwrap();
        assert!(shown == model.snapshot(), "seed {seed} op {i} {op:?}");
        if rng.below(200) == 0 {
            let mut dev = fs.unmount().unwrap();
            let options = CheckOptions {
                crc32c: FAST,
                ..CheckOptions::default()
            };
            let report = check(&mut dev, &options, |_| {});
            assert!(report.is_clean(), "seed {seed} at {i}: {report:?}");
            fs = Fs::mount(dev, fast()).unwrap();
            model.pins.clear();
            let shown = snapshot(&mut fs).unwrap();
            assert!(shown == model.snapshot(), "seed {seed} remount at {i}");
        }
    }
}
