//! What the system has in use, before and after: an end of the server must leave nothing behind.

use super::SERVER;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::net::Ipv4Addr;
use viper_proto::names;
use viper_proto::net::client::Network;
use viper_rt::abi::Slot;
use viper_rt::handle::Quota;
use viper_rt::{Error, Object, clock, println, program};

/// What others' heaps may differ by: the supervisor's, those of programs that listen.
const MEMORY_SLACK: u64 = 256 << 10;
/// How long others may take until they have registered again what they listen at.
const SETTLE_NS: u64 = 5 * clock::SECOND;

/// Objects and memory of the whole system.
pub(super) struct Standing(Vec<(&'static str, u64)>);

impl Standing {
    /// With a server that has only just started, and no socket of this program.
    pub(super) fn now(names: &names::Client, network: &Network) -> Result<Standing, String> {
        let looked = settle(names, network).and_then(|()| look(names));
        looked.map(Standing).map_err(|error| match error {
            Error::NoRight => "`Run GRANT manage,system` gives the rights to do this".into(),
            error => error.to_string(),
        })
    }

    /// Nothing has become more.
    pub(super) fn compare(&self, names: &names::Client, network: &Network) -> Result<(), String> {
        let mut after = Standing::now(names, network)?;
        let late = clock::after(SETTLE_NS);
        while self.first_difference(&after).is_some() && clock::now() < late {
            clock::sleep(50 * clock::MILLISECOND);
            after = Standing(look(names).map_err(|e| e.to_string())?);
        }
        for ((name, old), (_, new)) in self.0.iter().zip(&after.0) {
            println!("flows: {name}: {old} before, {new} after");
        }
        match self.first_difference(&after) {
            None => Ok(()),
            Some((name, old, new)) => Err(format!("{name}: {old} before, {new} after")),
        }
    }

    fn first_difference(&self, after: &Standing) -> Option<(&'static str, u64, u64)> {
        let both = self.0.iter().zip(&after.0);
        let all = both.map(|((name, old), (_, new))| (*name, *old, *new));
        { all }.find(|(name, old, new)| {
            let slack = if *name == MEMORY { MEMORY_SLACK } else { 0 };
            old.abs_diff(*new) > slack
        })
    }
}

const MEMORY: &str = "bytes in use by others";

/// Starts the server afresh and lets everybody find it.
fn settle(names: &names::Client, network: &Network) -> Result<(), Error> {
    names.server_restart(SERVER)?;
    // A socket makes the session what it is also after others.
    drop(network.tcp_listen((Ipv4Addr::LOCALHOST, 0).into(), 1)?);
    network.wait_ready(clock::after(SETTLE_NS))?;
    clock::sleep(500 * clock::MILLISECOND);
    Ok(())
}

fn look(names: &names::Client) -> Result<Vec<(&'static str, u64)>, Error> {
    let all = names.system()?.info()?;
    // The handle stays the program's.
    let quota = program::peek(Slot::QUOTA).ok_or(Error::NoRight)?;
    let (_, own) = ManuallyDrop::new(Quota::from_raw(quota)).usage()?;
    Ok(Vec::from([
        ("processes", u64::from(all.processes)),
        ("threads", u64::from(all.threads)),
        ("handles", u64::from(all.handles)),
        ("channels", u64::from(all.channels)),
        ("memories", u64::from(all.memories)),
        (MEMORY, (all.ram_bytes - all.free_bytes).saturating_sub(own)),
    ]))
}
