//! What paths were asked for lately, and what the answer was: right while nothing changes.

use super::super::Attributes;
use super::super::window::{Seen, Windows};
use alloc::string::String;
use alloc::vec::Vec;

const PLACES_MAX: usize = 4;

#[derive(Debug)]
struct Place {
    path: String,
    follow: bool,
    attributes: Attributes,
    seen: Option<Seen>,
}

/// The last answers about paths.
#[derive(Debug)]
pub(super) struct Recent {
    places: Vec<Place>,
    /// The place to be given to another path next.
    next: usize,
}

impl Recent {
    pub(super) const fn new() -> Recent {
        Recent {
            places: Vec::new(),
            next: 0,
        }
    }

    /// What is known of a path, if that is right still.
    pub(super) fn find(&self, path: &str, follow: bool, windows: &Windows) -> Option<Attributes> {
        let mut places = self.places.iter();
        let place = places.find(|place| place.path == path && place.follow == follow)?;
        windows.is_still(place.seen).then_some(place.attributes)
    }

    /// Remembers an answer; `seen` was before it.
    pub(super) fn note(
        &mut self,
        path: &str,
        follow: bool,
        attributes: Attributes,
        seen: Option<Seen>,
    ) {
        let same = |place: &&mut Place| place.path == path && place.follow == follow;
        if let Some(place) = self.places.iter_mut().find(same) {
            (place.attributes, place.seen) = (attributes, seen);
            return;
        }
        let place = Place {
            path: path.into(),
            follow,
            attributes,
            seen,
        };
        match self.places.get_mut(self.next) {
            Some(old) => *old = place,
            None => self.places.push(place),
        }
        self.next = (self.next + 1) % PLACES_MAX;
    }
}
