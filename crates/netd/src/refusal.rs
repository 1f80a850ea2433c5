//! What is served when there can be no network: a plain answer.

use viper_rt::Error;
use viper_rt::message::Reader;
use viper_rt::server::{Answer, NewClient, Service};

/// A server that answers every request with one error.
#[derive(Clone, Copy, Debug)]
pub struct Refusal(pub Error);

impl Service for Refusal {
    type Client = ();

    fn connect(&mut self, _: NewClient) -> Result<(), Error> {
        Ok(())
    }

    fn request(&mut self, (): &mut (), _: Reader) -> Answer {
        Answer::error(self.0)
    }
}
