//! Tells the programs' build scripts where the linker script is: they see it as
//! `DEP_VIPER_RT_LINKER_SCRIPT`.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo::rerun-if-changed=user.ld");
    println!("cargo::metadata=LINKER_SCRIPT={folder}/user.ld");
}
