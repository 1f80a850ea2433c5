//! `nettest`: the guest's part of the system tests of the network.
#![cfg_attr(target_os = "none", no_std, no_main)]

viper_rt::entry!(viper_programs::nettest::run);
