//! Names that are being resolved.

use crate::card::NetworkCard;
use crate::convert;
use crate::server::{Client, Netd};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use viper_netstack::{Error as StackError, Family, QueryId};
use viper_proto::net::{ADDRESSES_MAX, Address};
use viper_rt::Error;
use viper_rt::message::List;
use viper_rt::server::{Deferrable, Outcome, Pending};

type Addresses = List<Address, ADDRESSES_MAX>;

/// A question that waits for its answer.
#[derive(Debug)]
pub(crate) struct Question {
    /// Its name in the stack; `None` before there is anybody to ask.
    id: Option<QueryId>,
    client: u64,
    name: String,
    pending: Pending<Addresses>,
    /// When whoever asks gives up.
    pub(crate) deadline: u64,
}

/// Questions at a time.
const QUESTIONS_MAX: usize = 64;
/// Addresses that are remembered of the names that a client resolved.
const NAMED_MAX: usize = 256;

impl<C: NetworkCard> Netd<C> {
    pub(crate) fn ask(
        &mut self,
        client: &Client,
        call: Deferrable<Addresses>,
        name: &str,
        deadline: u64,
    ) -> Outcome<Addresses> {
        if let Some(known) = known_addresses(name) {
            return Outcome::Now(known);
        }
        match self.permit(client.number) {
            Ok(permit) if !permit.rules.is_empty() => {}
            _ => return Outcome::Now(Err(Error::NoRight)),
        }
        if self.questions.len() >= QUESTIONS_MAX {
            return Outcome::Now(Err(Error::LimitReached));
        }
        // The stack is to know how late it is: what it remembers may be over.
        self.work();
        let id = match self.start_question(name) {
            Ok(id) => id,
            Err(error) => return Outcome::Now(Err(error)),
        };
        let pending = match call.detach() {
            Ok(pending) => pending,
            Err(error) => return Outcome::Now(Err(error)),
        };
        self.questions.push(Question {
            id,
            client: client.number,
            name: name.into(),
            pending,
            deadline,
        });
        self.work();
        Outcome::Later
    }

    /// Asks, unless there may soon be somebody to ask who is not there yet.
    fn start_question(&mut self, name: &str) -> Result<Option<QueryId>, Error> {
        if self.stack.name_servers().is_empty() {
            return if self.is_settling() {
                Ok(None)
            } else {
                Err(convert::error(StackError::NoNameServer))
            };
        }
        let id = self.stack.resolve(name, Family::Any);
        id.map(Some).map_err(convert::error)
    }

    /// There may be somebody to ask now.
    pub(crate) fn ask_again(&mut self) {
        for mut question in core::mem::take(&mut self.questions) {
            if question.id.is_none() {
                match self.start_question(&question.name) {
                    Ok(id) => question.id = id,
                    Err(error) => {
                        question.pending.answer(Err(error));
                        continue;
                    }
                }
            }
            self.questions.push(question);
        }
    }

    /// Passes answers on; whether there were some.
    pub(crate) fn answer_questions(&mut self) -> bool {
        let mut any = false;
        while let Some(id) = self.stack.take_resolved() {
            any = true;
            let Some(result) = self.stack.resolve_result(id) else {
                continue;
            };
            let is_it = |question: &Question| question.id == Some(id);
            let Some(at) = self.questions.iter().position(is_it) else {
                continue;
            };
            let question = self.questions.swap_remove(at);
            let result = result.map_err(convert::error);
            if let Ok(addresses) = &result {
                self.remember(question.client, &question.name, addresses);
            }
            question.pending.answer(result.and_then(|a| list(&a)));
        }
        any
    }

    /// For rules that have the name.
    fn remember(&mut self, client: u64, name: &str, addresses: &[IpAddr]) {
        let Ok(permit) = self.permit(client) else {
            return;
        };
        for address in addresses {
            if permit.named.len() < NAMED_MAX && !permit.is_named(name, *address) {
                permit.named.push((name.into(), *address));
            }
        }
    }

    /// Ends the questions whose time is over.
    pub(crate) fn give_up_questions(&mut self, now: u64) {
        self.end_questions(|question| question.deadline <= now);
    }

    /// Ends the questions of a client that is gone.
    pub(crate) fn forget_questions(&mut self, client: u64) {
        self.end_questions(|question| question.client == client);
    }

    fn end_questions(&mut self, ends: impl Fn(&Question) -> bool) {
        let all = core::mem::take(&mut self.questions).into_iter();
        let (over, still): (Vec<_>, Vec<_>) = all.partition(ends);
        self.questions = still;
        for question in over {
            if let Some(id) = question.id {
                self.stack.resolve_cancel(id);
            }
            question.pending.answer(Err(Error::TimedOut));
        }
    }
}

/// Names that need no server (RFC 6761, 6.3), and addresses in figures.
fn known_addresses(name: &str) -> Option<Result<Addresses, Error>> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Some(list(&[address]));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let lower = name.to_ascii_lowercase();
    if lower != "localhost" && !lower.ends_with(".localhost") {
        return None;
    }
    let (v4, v6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    Some(list(&[IpAddr::V4(v4), IpAddr::V6(v6)]))
}

fn list(addresses: &[IpAddr]) -> Result<Addresses, Error> {
    let first: Vec<Address> = addresses
        .iter()
        .take(ADDRESSES_MAX)
        .map(|address| (*address).into())
        .collect();
    List::new(&first)
}
