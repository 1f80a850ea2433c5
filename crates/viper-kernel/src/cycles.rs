//! Channels that only messages in each other's queues name.
//!
//! A channel end can be sent in a message, even into its own queue, so that reference counts alone
//! would keep such channels for good. Whenever a process has ended (and only then: it takes a look
//! at every capability to a channel), what nobody can reach any more is emptied, and ends by the
//! counts.

use alloc::vec::Vec;
use viper_abi::Kind;

use crate::arena::NIL;
use crate::kernel::Kernel;
use crate::object::ObjectRef;
use crate::platform::Platform;

impl<P: Platform> Kernel<P> {
    /// Drops the messages of channel ends that no process can come by, directly or by receiving
    /// messages. Does nothing if there is no memory to look: the next process's end will do.
    pub fn collect_cycles(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        let Some(reached) = self.reachable_ends() else {
            return;
        };
        for end in 0..reached.len() as u32 {
            let is_live = self
                .channels
                .get(end / 2)
                .is_some_and(|channel| channel.ends[(end % 2) as usize].refs > 0);
            if is_live && !reached[end as usize] {
                self.drop_queue(end);
            }
        }
    }

    /// Which channel ends a process has a capability to, or can get one to.
    fn reachable_ends(&self) -> Option<Vec<bool>> {
        let mut reached = Vec::new();
        let mut to_visit = Vec::new();
        let count = 2 * self.channels.bound() as usize;
        reached.try_reserve_exact(count).ok()?;
        reached.resize(count, false);
        to_visit.try_reserve_exact(count).ok()?;
        let mut reach = |object: ObjectRef, to_visit: &mut Vec<u32>| {
            if object.kind == Kind::CHANNEL
                && let Some(mark) = reached.get_mut(object.index as usize)
                && !core::mem::replace(mark, true)
            {
                to_visit.push(object.index); // each end once: there is room
            }
        };
        for process in self.processes.indices() {
            if let Ok(table) = self.caps.table(self.processes[process].table) {
                for (_, entry) in table {
                    reach(entry.object, &mut to_visit);
                }
            }
        }
        while let Some(end) = to_visit.pop() {
            let mut at = self.channels[end / 2].ends[(end % 2) as usize].messages.0;
            while at != NIL {
                let message = &self.messages[at];
                for place in 0..message.parked.len() {
                    if let Some(entry) = self.caps.parked(&message.parked, place) {
                        reach(entry.object, &mut to_visit);
                    }
                }
                at = message.next;
            }
        }
        Some(reached)
    }
}
