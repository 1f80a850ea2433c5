//! A TCP connection between a program's rings and the stack.

use crate::convert;
use crate::pipe::Pipe;
use core::net::SocketAddr;
use viper_netstack::{Error as StackError, SocketId, Stack};
use viper_proto::net::{bits, status};
use viper_rt::Error;

/// A connection.
#[derive(Debug)]
pub struct Flow {
    /// Its name in the stack; `None` before it could be started, and after it has ended.
    pub id: Option<SocketId>,
    /// Where it is to go as soon as there is an address to go there from.
    pub wants: Option<SocketAddr>,
    /// The rings.
    pub pipe: Pipe,
    is_open: bool,
    is_shut: bool,
    is_ended: bool,
    is_let_go: bool,
}

impl Flow {
    /// A connection of the stack, open or not.
    #[must_use]
    pub fn new(id: Option<SocketId>, pipe: Pipe) -> Flow {
        Flow {
            id,
            wants: None,
            pipe,
            is_open: false,
            is_shut: false,
            is_ended: false,
            is_let_go: false,
        }
    }

    /// Moves what can be moved, either way, and wakes the owner if it waits for that.
    ///
    /// # Errors
    /// What ended the connection; [`Error::Corrupt`] if the owner broke the rings.
    pub fn pump(&mut self, stack: &mut Stack) -> Result<(), Error> {
        let Some(id) = self.id else {
            return Ok(());
        };
        let mut wake = 0;
        if !self.is_open {
            if !stack.tcp_is_connected(id).map_err(convert::error)? {
                return Ok(());
            }
            self.is_open = true;
            self.pipe.set_status(status::OPEN);
            wake = bits::ALL;
        }
        let outcome = self
            .send(stack, id, &mut wake)
            .and_then(|()| self.receive(stack, id, &mut wake));
        self.pipe.wake(wake);
        outcome
    }

    /// From the owner's ring into the stack.
    fn send(&mut self, stack: &mut Stack, id: SocketId, wake: &mut u32) -> Result<(), Error> {
        while !self.is_shut {
            let tx = &mut self.pipe.tx;
            if tx.available()? == 0 {
                if tx.release() {
                    *wake |= bits::WRITE;
                }
                if tx.is_ended()? {
                    self.is_shut = true;
                    // Only one that has ended cannot be shut, and that is told elsewhere.
                    let _ = stack.tcp_shutdown(id);
                } else if self.is_let_go || tx.prepare_wait()? {
                    break;
                }
                continue;
            }
            let mut taken = Ok(0);
            let outcome = stack.tcp_send_with(id, |room| {
                taken = tx.read(room);
                taken.unwrap_or(0)
            });
            taken?;
            match outcome {
                Ok(_) => {}
                Err(StackError::WouldBlock) => break,
                Err(error) => return Err(convert::error(error)),
            }
        }
        if self.pipe.tx.release() {
            *wake |= bits::WRITE;
        }
        Ok(())
    }

    /// From the stack into the owner's ring.
    fn receive(&mut self, stack: &mut Stack, id: SocketId, wake: &mut u32) -> Result<(), Error> {
        let rx = &mut self.pipe.rx;
        let mut outcome = Ok(());
        while !self.is_ended && !self.is_let_go {
            let mut written = Ok(0);
            let taken = stack.tcp_recv_with(id, |bytes| {
                written = rx.write(bytes);
                written.unwrap_or(0)
            });
            written?;
            match taken {
                Ok(0) => {
                    if rx.publish() {
                        *wake |= bits::READ;
                    }
                    if rx.prepare_wait(rx.capacity() / 2)? {
                        break;
                    }
                }
                Ok(_) => {}
                Err(StackError::WouldBlock) => break,
                Err(StackError::Finished) => {
                    self.is_ended = true;
                    let _ = rx.publish();
                    rx.close();
                    *wake |= bits::READ;
                }
                Err(error) => {
                    outcome = Err(convert::error(error));
                    break;
                }
            }
        }
        if rx.publish() {
            *wake |= bits::READ;
        }
        outcome
    }

    /// The owner has let go: what it wrote is still sent, what it did not read is lost.
    ///
    /// Whether it can be forgotten already.
    pub fn let_go(&mut self, stack: &mut Stack) -> bool {
        self.is_let_go = true;
        let was_read = self.pipe.rx.is_drained() == Ok(true);
        if !was_read && let Some(id) = self.id.take() {
            let _ = stack.tcp_abort(id);
        }
        self.is_drained(stack)
    }

    /// Goes on sending what the owner left behind. Whether that is done.
    pub fn is_drained(&mut self, stack: &mut Stack) -> bool {
        let outcome = self.pump(stack);
        let Some(id) = self.id else {
            return true;
        };
        let is_done = match outcome {
            Ok(()) => self.pipe.tx.available() == Ok(0),
            Err(_) => true,
        };
        if is_done {
            self.id = None;
            let _ = stack.close(id);
        }
        is_done
    }

    /// Ends it at once, with a reset.
    pub fn abort(&mut self, stack: &mut Stack) {
        if let Some(id) = self.id.take() {
            let _ = stack.tcp_abort(id);
        }
    }

    /// It has ended by this error: the owner reads what is there and then hears of it.
    pub fn fail(&mut self, stack: &mut Stack, error: Error) {
        self.pipe.set_status(error.code() as i32);
        self.pipe.wake(bits::ALL);
        self.abort(stack);
    }
}
