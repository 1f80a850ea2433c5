use super::*;

const SAMPLE: &str = r#"
[image]
version = "0.1.0"
complete = true
[machine]
memory = "256M"
cpu = "cortex-a72"
cores = 1
gic = 2
[disk]
size_mib = 64
label = "SYS"
uuid = "76697065-726f-4373-8000-000000000001"
time_s = 1767225600
directories = ["/s"]
files = { "/s/startup" = "distro/disk/s/startup" }
[process.blkd]
crate = "blkd"
home = "boot"
priority = 5
quota = { memory_kib = 4096, handles = 64, threads = 2 }
restart = { when = "always" }
caps = [{ device = { name = "virtio-blk", dma_kib = 1024 } }, { serve = "BLKD:" }]
[process.fsd]
crate = "fsd"
home = "boot"
priority = 5
quota = { memory_kib = 8192, handles = 256, threads = 4 }
needs = ["blkd"]
caps = [{ connect = "BLKD:" }, { serve = "FSD:" }, { system = "power" }]
[program.hello]
crate = "viper-programs"
path = "/c/hello"
"#;

fn parse(change: &[(&str, &str)]) -> Result<Manifest, String> {
    let mut text = SAMPLE.to_string();
    for (from, to) in change {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    Manifest::parse(&text)
}

#[test]
fn a_manifest_is_read() {
    let manifest = parse(&[]).expect("valid");
    let blkd = &manifest.process["blkd"];
    assert_eq!(
        blkd.caps[0],
        Cap::Device {
            name: Device::VirtioBlk,
            dma_kib: 1024,
            required: false,
        }
    );
    assert_eq!(blkd.restart.when, RestartWhen::Always);
    assert_eq!(manifest.process["fsd"].restart.when, RestartWhen::Never);
    let names: Vec<_> = manifest
        .binaries()
        .into_iter()
        .map(|binary| binary.name)
        .collect();
    assert_eq!(names, ["blkd", "fsd", "hello"]);
}

#[test]
fn mistakes_are_named() {
    for (from, to, complaint) in [
        ("priority = 5", "priority = 8", "priority 8 is above 7"),
        ("priority = 5", "priorty = 5", "unknown field `priorty`"),
        (
            "needs = [\"blkd\"]",
            "needs = [\"x\"]",
            "it needs x, which is not declared",
        ),
        ("needs = [\"blkd\"]", "needs = [\"fsd\"]", "it needs itself"),
        ("\"FSD:\"", "\"BLKD:\"", "both serve BLKD:"),
        (
            "connect = \"BLKD:\"",
            "connect = \"NETD:\"",
            "nobody serves NETD:",
        ),
        (
            "connect = \"BLKD:\"",
            "connect = \"blkd\"",
            "not a service name",
        ),
        ("virtio-blk", "floppy", "unknown variant `floppy`"),
        ("/c/hello", "c/hello", "not an absolute path"),
        ("/c/hello", "/c/../x", "not an absolute path"),
        (
            "{ system = \"power\" }",
            "{ net = [\"tcp listen 0\"] }",
            "`tcp listen 0` is not a network rule",
        ),
        (
            "{ system = \"power\" }",
            "{ net = [\"icmp\"] }",
            "nobody serves NETD:",
        ),
        ("[process.fsd]", "[process.FSD]", "a name has"),
        (
            "restart = { when",
            "restart = { whne",
            "unknown field `whne`",
        ),
        (
            "system = \"power\"",
            "system = \"root\"",
            "unknown variant `root`",
        ),
        ("[program.hello]", "[program.fsd]", "both have a binary fsd"),
    ] {
        let error = parse(&[(from, to)]).expect_err(to);
        assert!(error.contains(complaint), "{to}: {error}");
    }
}

#[test]
fn needs_may_not_go_in_circles() {
    let error = parse(&[("restart = { when = \"always\" }", "needs = [\"fsd\"]")]);
    assert!(error.expect_err("a circle").contains("by way of others"));
}

#[test]
fn the_shipped_manifest_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifest.toml");
    let manifest = Manifest::load(&path).expect("valid");
    for file in manifest.disk.files.values() {
        assert!(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("..")
                .join(file)
                .exists(),
            "{file}"
        );
    }
}

#[test]
fn processes_for_tests_are_in_images_for_tests_only() {
    let text = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifest.toml"),
    )
    .expect("the shipped manifest");
    let manifest = Manifest::parse(&text).expect("valid");
    assert!(!manifest.process.contains_key("devtest"));
    assert!(!manifest.image.command_line.contains("devtest"));
    let manifest = manifest.with_tests();
    assert!(manifest.process.contains_key("devtest"));
    assert!(
        manifest
            .image
            .command_line
            .contains("viper.servers=-devtest")
    );
}
