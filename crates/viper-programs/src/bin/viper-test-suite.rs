//! `viper-test-suite`: tests of the real kernel, from an ordinary program.
#![cfg_attr(target_os = "none", no_std, no_main)]

viper_rt::entry!(viper_programs::suite::run);
