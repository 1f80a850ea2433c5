//! What a session tells its caller.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use crate::{ChannelId, ChannelKind, PublicKey, Request};

/// Something the caller has to know, or to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Client: the server owns this key. Check it, then `accept_host_key` or
    /// `refuse_host_key`. No more input is taken before.
    HostKey(PublicKey),
    /// Client: `authenticate` can be called.
    ReadyToAuthenticate,
    /// Client: text for the user, who must not take it for this program's own.
    Banner(String),
    /// Client: the last attempt failed, or was not enough.
    AuthFailed {
        /// Methods that can be tried now.
        methods: Vec<String>,
        /// Whether the attempt was right, but more is needed.
        partial: bool,
    },
    /// Client: the server asks these; answer by `answer_prompts`.
    Prompts(Prompts),
    /// Client: the password has expired, which is taken as a failure.
    PasswordExpired(String),
    /// Server: someone wants to log in; decide by `answer_auth`. No more input is taken before.
    AuthAttempt(AuthAttempt),
    /// The user is logged in; channels can be opened.
    Authenticated,
    /// New keys are in use, and writing is possible again.
    Rekeyed,
    /// The peer wants a channel: `accept_channel` or `refuse_channel`.
    ChannelOffered {
        /// Its name from now on.
        channel: ChannelId,
        /// What it is for.
        kind: ChannelKind,
    },
    /// A channel we asked for is open.
    ChannelOpened(ChannelId),
    /// A channel we asked for was refused. Its name is no longer valid.
    ChannelRefused {
        /// Its name.
        channel: ChannelId,
        /// Why (RFC 4254 section 5.1).
        reason: u32,
        /// Why, for people.
        message: String,
    },
    /// There is data to read.
    Readable(ChannelId),
    /// The peer takes more data.
    Writable(ChannelId),
    /// The peer sends no more data.
    Eof(ChannelId),
    /// The channel is closed in both directions; what is unread can still be read.
    Closed(ChannelId),
    /// The peer asks something on a channel.
    Request {
        /// Which channel.
        channel: ChannelId,
        /// What.
        request: Request,
        /// If set, `reply` must be called once for it.
        reply_wanted: bool,
    },
    /// The answer to the oldest request made with `reply_wanted`.
    Reply {
        /// Which channel.
        channel: ChannelId,
        /// Whether it was granted.
        success: bool,
    },
    /// Server: listen for the client; answer by `answer_forward`.
    ForwardRequested {
        /// The address to listen on; empty for all.
        address: String,
        /// The port, or 0 to choose one.
        port: u16,
    },
    /// Server: stop listening.
    ForwardCancelled {
        /// The address.
        address: String,
        /// The port.
        port: u16,
    },
    /// Client: the answer to `request_forward`.
    ForwardReply {
        /// The address that was asked for.
        address: String,
        /// The port the server listens on, or `None` if it refused.
        port: Option<u16>,
    },
}

/// One try of a user to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthAttempt {
    /// The name of the user. Not known to exist.
    pub user: String,
    /// By what.
    pub method: AuthMethod,
}

/// How someone tries to log in.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthMethod {
    /// Without proof. Also used to ask for the methods.
    None,
    /// By this password.
    Password(Zeroizing<String>),
    /// By this key.
    PublicKey {
        /// The key.
        key: PublicKey,
        /// Whether the signature was there and right. If not, the client only asks whether the
        /// key would do, and accepting it lets nobody in.
        proven: bool,
    },
    /// By questions, which `AuthAnswer::Ask` poses.
    KeyboardInteractive,
    /// By these answers to the questions.
    Answers(Vec<Zeroizing<String>>),
}

impl fmt::Debug for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthMethod::None => f.write_str("None"),
            AuthMethod::Password(_) => f.write_str("Password(..)"),
            AuthMethod::PublicKey { key, proven } => {
                write!(f, "PublicKey({key:?}, proven: {proven})")
            }
            AuthMethod::KeyboardInteractive => f.write_str("KeyboardInteractive"),
            AuthMethod::Answers(answers) => write!(f, "Answers({})", answers.len()),
        }
    }
}

/// What the server makes of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthAnswer {
    /// Let the user in, or say that the key would do.
    Accept,
    /// No.
    Reject,
    /// Right, but another method is needed too.
    Partial,
    /// Ask questions. Only for `KeyboardInteractive` and `Answers`.
    Ask(Prompts),
}

/// Questions to a user (RFC 4256).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompts {
    /// Heading; often empty.
    pub name: String,
    /// Explanation; often empty.
    pub instruction: String,
    /// The questions; may be none, and then an empty answer is due.
    pub prompts: Vec<Prompt>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its text.
    pub text: String,
    /// Whether the answer may be seen while it is typed.
    pub echo: bool,
}
