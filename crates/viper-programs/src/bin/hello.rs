//! `hello`: the smallest program.
#![cfg_attr(target_os = "none", no_std, no_main)]

viper_rt::entry!(run);

fn run() {
    viper_rt::println!("Hello from ViperOS");
    for argument in viper_rt::program::arguments().skip(1) {
        viper_rt::println!("{argument}");
    }
}
