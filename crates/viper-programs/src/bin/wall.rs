//! `wall`: work for `distro compare`, by the clock.
#![cfg_attr(target_os = "none", no_std, no_main)]

viper_rt::entry!(viper_programs::wall::run);
