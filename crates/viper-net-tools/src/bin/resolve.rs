//! `resolve`: see the library.
#![cfg_attr(target_os = "none", no_std, no_main)]
viper_rt::entry!(viper_net_tools::resolve);
