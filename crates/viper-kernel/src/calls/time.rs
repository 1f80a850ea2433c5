//! Timers, the clock, and waiting at an address.

use viper_abi::{Error, FOREVER, Handle, Kind, Rights, Signals};

use crate::arena::NIL;
use crate::deadline::Owner;
use crate::kernel::{Handled, Kernel, Stop};
use crate::object::{Notifier, Timer};
use crate::platform::Platform;
use crate::thread::{Queue, State, Wait, Waiting};

impl<P: Platform> Kernel<P> {
    pub fn timer_create(&mut self, thread: u32) -> Handled<(Handle,)> {
        let rights = Rights::DUPLICATE | Rights::TRANSFER | Rights::WRITE | Rights::WAIT;
        self.deadlines.add_owner()?;
        let make = |quota| Timer {
            notifier: Notifier::NEW,
            period_ns: 0,
            deadline_at: NIL,
            refs: 1,
            quota,
        };
        match self.create(thread, None, Kind::TIMER, rights, |k| &mut k.timers, make) {
            Ok((handle, _)) => Ok((handle,)),
            Err(e) => {
                self.deadlines.remove_owner();
                Err(e.into())
            }
        }
    }

    pub fn timer_set(
        &mut self,
        thread: u32,
        timer: Handle,
        deadline: u64,
        period_ns: u64,
    ) -> Handled<()> {
        let index = self.object(thread, timer, Kind::TIMER, Rights::WRITE)?;
        if (1..1000).contains(&period_ns) {
            return Err(Error::InvalidArgument.into());
        }
        self.stop_timer(index);
        self.timers[index].period_ns = period_ns;
        let notifier = &mut self.timers[index].notifier;
        notifier.signals = notifier.signals.without(Signals::EXPIRED);
        if deadline != FOREVER {
            self.set_deadline(Owner::Timer(index), deadline);
        }
        Ok(())
    }

    pub fn clock_now(&mut self, _: u32) -> Handled<(u64,)> {
        Ok((self.platform.now_ns(),))
    }

    pub fn sleep_until(&mut self, thread: u32, deadline: u64) -> Handled<()> {
        if deadline <= self.platform.now_ns() {
            return Ok(());
        }
        self.block(thread, Wait::Sleep, deadline);
        Err(Stop::Written)
    }

    pub fn futex_wait(
        &mut self,
        thread: u32,
        address: u64,
        expected: u32,
        deadline: u64,
    ) -> Handled<()> {
        let key = self.futex_key(thread, address)?;
        let mut word = [0; 4];
        self.read_user(thread, address, &mut word)?;
        if u32::from_le_bytes(word) != expected {
            return Err(Error::WouldBlock.into());
        }
        if deadline <= self.platform.now_ns() {
            return Err(Error::TimedOut.into());
        }
        self.memories[key.memory]
            .futexes
            .push::<Waiting>(&mut self.threads, thread);
        self.block(thread, Wait::Futex(key), deadline);
        Err(Stop::Written)
    }

    pub fn futex_wake(&mut self, thread: u32, address: u64, count: u32) -> Handled<(u32,)> {
        let key = self.futex_key(thread, address)?;
        let mut woken = 0;
        let mut next = self.memories[key.memory].futexes.first();
        while let Some(waiter) = next {
            next = Queue::after::<Waiting>(&mut self.threads, waiter);
            if woken == count {
                break;
            }
            if self.threads[waiter].state == State::Blocked(Wait::Futex(key)) {
                self.wake_with(waiter, Ok(()));
                woken += 1;
            }
        }
        Ok((woken,))
    }
}
