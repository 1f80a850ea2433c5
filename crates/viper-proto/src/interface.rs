//! `interface!`: a service is declared once; its client, its server trait, its dispatch and its
//! table of operations are made from that.

/// One operation of a service, for documentation and traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its number: the low half of a message's label.
    pub number: u16,
    /// Its name.
    pub name: &'static str,
    /// Whether a client may repeat it after the server died.
    pub idempotent: bool,
    /// Arguments with their types, in the order of the message.
    pub arguments: &'static [(&'static str, &'static str)],
    /// Results with their types, in the order of the reply.
    pub results: &'static [(&'static str, &'static str)],
    /// The lines of its documentation.
    pub doc: &'static [&'static str],
}

/// Operation 0 of every service: its version.
pub const VERSION_OPERATION: u16 = 0;

/// Declares the operations of a service.
///
/// Invoked in a module of its own. Each operation is
///
/// ```text
/// /// Documentation.
/// NUMBER => retry|once now|later name(argument: Type, ..) -> (result: Type, ..);
/// ```
///
/// `retry`: a client may repeat it after the server died; `once`: it may have happened. `later`:
/// the server may answer when it likes, and serves others meanwhile. Types are those that stand in
/// messages: see `viper_rt::message::Take`. A client gives slices for `Bytes` and `List`.
///
/// It makes `VERSION`, `OPERATIONS`, `Client`, the trait `Serve`, and `dispatch`.
#[macro_export]
macro_rules! interface {
    (
        $name:literal version $version:literal;
        $(
            $(#[doc = $doc:literal])+
            $number:literal => $again:ident $when:ident $op:ident(
                $($arg:ident: $arg_ty:ty),* $(,)?
            ) -> ($($ret:ident: $ret_ty:ty),* $(,)?);
        )+
    ) => {
        /// The version of this interface.
        pub const VERSION: u32 = $version;

        /// Its operations.
        pub const OPERATIONS: &[$crate::interface::Operation] = &[$(
            $crate::interface::Operation {
                number: $number,
                name: stringify!($op),
                idempotent: $crate::interface!(@again $again),
                arguments: &[$((stringify!($arg), stringify!($arg_ty))),*],
                results: &[$((stringify!($ret), stringify!($ret_ty))),*],
                doc: &[$($doc),+],
            },
        )+];

        #[doc = concat!("A client of the ", $name, " service.")]
        #[derive(Debug)]
        pub struct Client($crate::rt::client::Connection);

        impl From<$crate::rt::handle::Channel> for Client {
            fn from(channel: $crate::rt::handle::Channel) -> Client {
                Client::new(channel)
            }
        }

        impl Client {
            /// A client over this channel.
            #[must_use]
            pub const fn new(channel: $crate::rt::handle::Channel) -> Client {
                Client($crate::rt::client::Connection::new(channel))
            }

            /// The connection below.
            #[must_use]
            pub const fn connection(&self) -> &$crate::rt::client::Connection {
                &self.0
            }

            /// The channel, by value.
            #[must_use]
            pub fn into_channel(self) -> $crate::rt::handle::Channel {
                self.0.into_channel()
            }

            /// The version the server speaks.
            ///
            /// # Errors
            /// Those of the connection.
            pub fn version(&self) -> Result<u32, $crate::rt::Error> {
                self.0.call::<u32>($crate::interface::VERSION_OPERATION, ())
            }

            $(
                $(#[doc = $doc])+
                ///
                /// # Errors
                /// What the server answers, and those of the connection.
                #[inline]
                pub fn $op(
                    &self,
                    $($arg: <$arg_ty as $crate::rt::message::Take>::Sent<'_>),*
                ) -> Result<$crate::interface!(@single $($ret_ty),*), $crate::rt::Error> {
                    self.0.call($number, ($($arg,)*))
                }
            )+
        }

        #[doc = concat!("A server of the ", $name, " service.")]
        pub trait Serve {
            /// What it keeps for a client.
            type Client;
            $( $crate::interface!(@method $when [$($doc)+] $op [$($arg: $arg_ty),*]
                [$($ret_ty),*]); )+
        }

        /// Hands a request to the server's method for it.
        ///
        /// A message that does not have the declared form is answered with `BadMessage`, an
        /// unknown operation with `NotSupported`.
        #[inline]
        pub fn dispatch<S: Serve + ?Sized>(
            server: &mut S,
            client: &mut S::Client,
            mut request: $crate::rt::message::Reader,
        ) -> $crate::rt::server::Answer {
            use $crate::rt::message::Take;
            use $crate::rt::server::Answer;
            match request.label() as u16 {
                $crate::interface::VERSION_OPERATION => Answer::from_result(Ok(VERSION)),
                $(
                    $number => {
                        let taken = <($($arg_ty,)*)>::take(&mut request);
                        let taken = taken.and_then(|t| request.finish().map(|()| t));
                        match taken {
                            Ok(($($arg,)*)) => $crate::interface!(@run $when server client $op
                                [$($arg),*]),
                            Err(error) => Answer::error(error),
                        }
                    }
                )+
                _ => Answer::error($crate::rt::Error::NotSupported),
            }
        }
    };

    (@again retry) => { true };
    (@again once) => { false };
    (@single) => { () };
    (@single $one:ty) => { $one };
    (@single $($many:ty),+) => { ($($many,)+) };
    (@method now [$($doc:literal)+] $op:ident [$($arg:ident: $arg_ty:ty),*] [$($ret_ty:ty),*]) => {
        $(#[doc = $doc])+
        ///
        /// # Errors
        /// Any error goes to the client as it is.
        fn $op(&mut self, client: &mut Self::Client, $($arg: $arg_ty),*)
            -> Result<$crate::interface!(@single $($ret_ty),*), $crate::rt::Error>;
    };
    (@method later [$($doc:literal)+] $op:ident [$($arg:ident: $arg_ty:ty),*]
        [$($ret_ty:ty),*]) => {
        $(#[doc = $doc])+
        ///
        /// May be answered later: detach the call and keep the `Pending` it gives.
        fn $op(
            &mut self,
            client: &mut Self::Client,
            call: $crate::rt::server::Deferrable<$crate::interface!(@single $($ret_ty),*)>,
            $($arg: $arg_ty),*
        ) -> $crate::rt::server::Outcome<$crate::interface!(@single $($ret_ty),*)>;
    };
    (@run now $server:ident $client:ident $op:ident [$($arg:ident),*]) => {
        Answer::from_result($server.$op($client, $($arg),*))
    };
    (@run later $server:ident $client:ident $op:ident [$($arg:ident),*]) => {
        Answer::from_outcome($server.$op(
            $client, $crate::rt::server::Deferrable::new(), $($arg),*))
    };
}
