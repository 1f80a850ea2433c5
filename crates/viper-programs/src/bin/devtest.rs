//! `devtest`: a driver with a narrowed device, and what it must not get at.
#![cfg_attr(target_os = "none", no_std, no_main)]

viper_rt::entry!(viper_programs::devtest::run);
