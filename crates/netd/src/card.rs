//! The network card as the stack sees it.

use viper_netstack::FrameDevice;
use viper_virtio::net::{Checksum, NetFrames};
use viper_virtio::{Error, Registers};

/// A card, as the server needs it.
pub trait NetworkCard: FrameDevice {
    /// Its address, if it has one.
    fn hardware(&self) -> Option<[u8; 6]>;
    /// The largest packet that it says it takes.
    fn mtu(&self) -> Option<u16>;
    /// Whether its link is up.
    fn is_link_up(&self) -> bool;
    /// Acknowledges an interrupt.
    fn on_interrupt(&mut self);
    /// Takes back the buffers of frames that are gone.
    fn reclaim(&mut self);
    /// Shows the device what was queued; asks to hear of room if there is none. A device that
    /// failed is started anew: what was on its way is lost, as on any wire.
    fn flush(&mut self);
}

/// A virtio card, and what went wrong with it.
#[derive(Debug)]
pub struct Card<R> {
    frames: NetFrames<R>,
    failure: Option<Error>,
}

impl<R: Registers> Card<R> {
    /// A card that works.
    #[must_use]
    pub fn new(frames: NetFrames<R>) -> Card<R> {
        Card {
            frames,
            failure: None,
        }
    }

    fn note<T>(&mut self, outcome: Result<T, Error>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.failure = Some(error);
                None
            }
        }
    }
}

impl<R: Registers> NetworkCard for Card<R> {
    fn hardware(&self) -> Option<[u8; 6]> {
        self.frames.info().mac
    }

    fn mtu(&self) -> Option<u16> {
        self.frames.info().mtu
    }

    fn is_link_up(&self) -> bool {
        self.frames.info().is_link_up
    }

    fn on_interrupt(&mut self) {
        let outcome = self.frames.on_interrupt();
        self.note(outcome);
    }

    fn reclaim(&mut self) {
        let outcome = self.frames.reclaim();
        self.note(outcome);
    }

    fn flush(&mut self) {
        let outcome = self.frames.kick();
        self.note(outcome);
        if !self.frames.can_transmit() {
            let outcome = self.frames.want_room();
            self.note(outcome);
        }
        if self.failure.take().is_some() {
            let outcome = self.frames.reset();
            self.note(outcome);
        }
    }
}

impl<R: Registers> FrameDevice for Card<R> {
    fn receive(&mut self, take: &mut dyn FnMut(&[u8], bool)) -> bool {
        let outcome = self
            .frames
            .receive(|frame, checksum| take(frame, checksum == Checksum::Valid));
        self.note(outcome).flatten().is_some()
    }

    fn can_transmit(&self) -> bool {
        self.failure.is_none() && self.frames.can_transmit()
    }

    fn transmit(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> bool {
        let outcome = self.frames.transmit(len, None, fill);
        let sent = self.note(outcome).unwrap_or(false);
        if !self.frames.can_transmit() {
            self.reclaim();
        }
        sent
    }
}
