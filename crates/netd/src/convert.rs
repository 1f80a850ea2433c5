//! The stack's words in those of the service.

use core::net::{IpAddr, SocketAddr};
use viper_netstack::{Error as StackError, SocketKind, SocketStatus, TcpState};
use viper_proto::net::{SocketInfo, UNSPECIFIED, kind, tcp_state};
use viper_rt::Error;

/// An error of the stack.
#[must_use]
pub fn error(error: StackError) -> Error {
    match error {
        StackError::WouldBlock => Error::WouldBlock,
        StackError::Finished | StackError::NotConnected => Error::PeerClosed,
        StackError::Refused => Error::ConnectionRefused,
        StackError::Reset => Error::ConnectionReset,
        StackError::TimedOut | StackError::NameServerFailed => Error::TimedOut,
        StackError::HostUnreachable
        | StackError::NoRoute
        | StackError::AddressGone
        | StackError::NoNameServer => Error::Unreachable,
        StackError::AddressInUse => Error::AddressInUse,
        StackError::AddressNotAvailable | StackError::NameNotFound => Error::NotFound,
        StackError::BadSocket => Error::BadHandle,
        StackError::BadArgument => Error::InvalidArgument,
        StackError::TooLarge => Error::MessageTooLarge,
        StackError::NoMemory => Error::LimitReached,
        StackError::Malformed => Error::BadMessage,
        _ => Error::Internal,
    }
}

/// A state of a connection.
#[must_use]
pub fn state(state: TcpState) -> u32 {
    match state {
        TcpState::Closed => tcp_state::CLOSED,
        TcpState::Listen => tcp_state::LISTEN,
        TcpState::SynSent => tcp_state::SYN_SENT,
        TcpState::SynReceived => tcp_state::SYN_RECEIVED,
        TcpState::Established => tcp_state::ESTABLISHED,
        TcpState::FinWait1 => tcp_state::FIN_WAIT_1,
        TcpState::FinWait2 => tcp_state::FIN_WAIT_2,
        TcpState::CloseWait => tcp_state::CLOSE_WAIT,
        TcpState::Closing => tcp_state::CLOSING,
        TcpState::LastAck => tcp_state::LAST_ACK,
        TcpState::TimeWait => tcp_state::TIME_WAIT,
    }
}

/// A socket of the stack, for lists.
#[must_use]
pub fn socket(status: &SocketStatus, process_id: u64) -> SocketInfo {
    SocketInfo {
        kind: match status.kind {
            SocketKind::Tcp => kind::TCP,
            SocketKind::Listener => kind::LISTENER,
            SocketKind::Ping => kind::PING,
            _ => kind::UDP,
        },
        state: status.state.map_or(tcp_state::CLOSED, state),
        process_id,
        local: status.local.into(),
        peer: status.remote.unwrap_or(UNSPECIFIED).into(),
        receive_queue: status.receive_queue as u64,
        send_queue: status.send_queue as u64,
    }
}

/// Whether something bound to `bound` is what a packet to `to` is for.
#[must_use]
pub fn is_for(bound: SocketAddr, to: SocketAddr) -> bool {
    let host = match bound.ip() {
        IpAddr::V6(address) if address.is_unspecified() => true,
        IpAddr::V4(address) if address.is_unspecified() => to.is_ipv4(),
        address => address == to.ip(),
    };
    host && bound.port() == to.port()
}
