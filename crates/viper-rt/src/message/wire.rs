//! What can stand in a message.

use super::{Reader, Writer};
use crate::handle::{
    Channel, Device, Event, Interrupt, Memory, Process, Quota, Reply, System, Thread, Timer,
};
use viper_abi::{Error, MESSAGE_MAX};

/// A value that can be put into a message.
pub trait Put {
    /// Adds it.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] if it does not fit.
    fn put(self, to: &mut Writer) -> Result<(), Error>;
}

/// A value that can be taken out of a message.
pub trait Take: Sized {
    /// What a sender gives for it: the value itself, or a slice for bytes and lists.
    type Sent<'a>: Put;

    /// Takes it.
    ///
    /// # Errors
    /// [`Error::BadMessage`] if it is not there or not a value of this type.
    fn take(from: &mut Reader) -> Result<Self, Error>;
}

macro_rules! numbers {
    ($($ty:ty),+) => { $(
        impl Put for $ty {
            #[inline(always)]
            fn put(self, to: &mut Writer) -> Result<(), Error> { to.word(self as u64) }
        }
        impl Take for $ty {
            type Sent<'a> = $ty;
            #[inline(always)]
            fn take(from: &mut Reader) -> Result<$ty, Error> {
                <$ty>::try_from(from.word()?).map_err(|_| Error::BadMessage)
            }
        }
    )+ };
}
numbers!(u16, u32, u64);

impl Put for i64 {
    #[inline(always)]
    fn put(self, to: &mut Writer) -> Result<(), Error> {
        to.word(self as u64)
    }
}

impl Take for i64 {
    type Sent<'a> = i64;
    #[inline(always)]
    fn take(from: &mut Reader) -> Result<i64, Error> {
        from.word().map(|w| w as i64)
    }
}

impl Put for bool {
    #[inline(always)]
    fn put(self, to: &mut Writer) -> Result<(), Error> {
        to.word(u64::from(self))
    }
}

impl Take for bool {
    type Sent<'a> = bool;
    #[inline(always)]
    fn take(from: &mut Reader) -> Result<bool, Error> {
        match from.word()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::BadMessage),
        }
    }
}

macro_rules! objects {
    ($($ty:ty),+) => { $(
        impl Put for $ty {
            #[inline]
            fn put(self, to: &mut Writer) -> Result<(), Error> { to.handle(self.into()) }
        }
        impl Take for $ty {
            type Sent<'a> = $ty;
            #[inline]
            fn take(from: &mut Reader) -> Result<$ty, Error> { from.handle() }
        }
    )+ };
}
objects!(
    Channel, Device, Event, Interrupt, Memory, Process, Quota, Reply, System, Thread, Timer
);

macro_rules! tuples {
    ($(($($name:ident)*))+) => { $(
        impl<$($name: Put),*> Put for ($($name,)*) {
            #[inline(always)]
            #[allow(non_snake_case, unused_variables, reason = "names of types and their values")]
            fn put(self, to: &mut Writer) -> Result<(), Error> {
                let ($($name,)*) = self;
                $( $name.put(to)?; )*
                Ok(())
            }
        }
        impl<$($name: Take),*> Take for ($($name,)*) {
            type Sent<'a> = ($($name::Sent<'a>,)*);
            #[inline(always)]
            #[allow(unused_variables, clippy::unused_unit, reason = "the empty tuple")]
            fn take(from: &mut Reader) -> Result<Self, Error> {
                Ok(($( $name::take(from)?, )*))
            }
        }
    )+ };
}
tuples! { () (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) }

/// Bytes taken out of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    len: usize,
    bytes: [u8; Bytes::MAX],
}

impl Bytes {
    /// Most bytes that fit a message with nothing else in it.
    pub const MAX: usize = MESSAGE_MAX - 8;

    /// A copy of these bytes.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] if there are more than [`Bytes::MAX`].
    pub fn new(from: &[u8]) -> Result<Bytes, Error> {
        let mut bytes = [0; Bytes::MAX];
        let part = bytes.get_mut(..from.len()).ok_or(Error::MessageTooLarge)?;
        part.copy_from_slice(from);
        Ok(Bytes {
            len: from.len(),
            bytes,
        })
    }

    /// As many of these bytes as fit.
    #[must_use]
    pub fn clip(from: &[u8]) -> Bytes {
        let len = from.len().min(Bytes::MAX);
        Bytes::read(len, |to| to.copy_from_slice(&from[..len]))
    }

    /// As text.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is not UTF-8.
    pub fn as_str(&self) -> Result<&str, Error> {
        core::str::from_utf8(self).map_err(|_| Error::InvalidArgument)
    }

    /// Lets `fill` write `len` bytes, at most [`Bytes::MAX`].
    #[inline]
    pub(super) fn read(len: usize, fill: impl FnOnce(&mut [u8])) -> Bytes {
        let mut bytes = [0; Bytes::MAX];
        let len = len.min(Bytes::MAX);
        fill(&mut bytes[..len]);
        Bytes { len, bytes }
    }
}

impl core::ops::Deref for Bytes {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl core::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl Put for &[u8] {
    #[inline]
    fn put(self, to: &mut Writer) -> Result<(), Error> {
        to.bytes(self)
    }
}

impl Put for Bytes {
    #[inline]
    fn put(self, to: &mut Writer) -> Result<(), Error> {
        to.bytes(&self)
    }
}

impl Take for Bytes {
    type Sent<'a> = &'a [u8];
    #[inline]
    fn take(from: &mut Reader) -> Result<Bytes, Error> {
        from.bytes()
    }
}

/// At most `N` values: their count, and as many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<T, const N: usize> {
    len: usize,
    items: [T; N],
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    /// A list of these values.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] if there are more than `N`.
    pub fn new(items: &[T]) -> Result<List<T, N>, Error> {
        let mut list = List {
            len: items.len(),
            items: [T::default(); N],
        };
        let places = list.items.get_mut(..items.len());
        places.ok_or(Error::MessageTooLarge)?.copy_from_slice(items);
        Ok(list)
    }
}

impl<T, const N: usize> core::ops::Deref for List<T, N> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.items[..self.len]
    }
}

impl<T: Put + Copy> Put for &[T] {
    #[inline]
    fn put(self, to: &mut Writer) -> Result<(), Error> {
        to.word(self.len() as u64)?;
        self.iter().try_for_each(|item| item.put(to))
    }
}

impl<T: Put + Copy, const N: usize> Put for List<T, N> {
    #[inline]
    fn put(self, to: &mut Writer) -> Result<(), Error> {
        let items: &[T] = &self;
        items.put(to)
    }
}

impl<T: Put + Take + Copy + Default + 'static, const N: usize> Take for List<T, N> {
    type Sent<'a> = &'a [T];
    #[inline]
    fn take(from: &mut Reader) -> Result<Self, Error> {
        let len = usize::try_from(from.word()?).map_err(|_| Error::BadMessage)?;
        let mut list = List {
            len,
            items: [T::default(); N],
        };
        for place in list.items.get_mut(..len).ok_or(Error::BadMessage)? {
            *place = T::take(from)?;
        }
        Ok(list)
    }
}

/// Declares a struct that stands in messages as its fields, in order.
#[macro_export]
macro_rules! message_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $( $(#[$field_meta:meta])* $field_vis:vis $field:ident: $ty:ty, )+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        $vis struct $name { $( $(#[$field_meta])* $field_vis $field: $ty, )+ }

        impl $crate::message::Put for $name {
            #[inline]
            fn put(self, to: &mut $crate::message::Writer) -> Result<(), $crate::Error> {
                $( $crate::message::Put::put(self.$field, to)?; )+
                Ok(())
            }
        }

        impl $crate::message::Take for $name {
            type Sent<'a> = $name;
            #[inline]
            fn take(from: &mut $crate::message::Reader) -> Result<$name, $crate::Error> {
                Ok($name { $( $field: $crate::message::Take::take(from)?, )+ })
            }
        }
    };
}
