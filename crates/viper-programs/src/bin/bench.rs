//! `bench`: what operations cost, in guest instructions.
#![cfg_attr(target_os = "none", no_std, no_main)]

viper_rt::entry!(viper_programs::bench::run);
