//! Names of threads and cores, and priorities.

/// How many cores a scheduler serves at most.
pub const CORES_MAX: usize = 8;

/// How many priorities there are.
pub const PRIORITIES: usize = 8;

/// A thread, by its index in the caller's table of threads. Memory grows with the highest index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId(pub u32);

/// A core: 0 to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(u8);

/// A priority: 0 to 7, 7 runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Priority(u8);

/// A set of cores: bit n is core n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CoreMask(pub u8);

impl CoreId {
    /// The core that brings the system up.
    pub const FIRST: Self = Self(0);

    /// `None` for 8 and above.
    pub const fn new(index: usize) -> Option<Self> {
        if index < CORES_MAX {
            Some(Self(index as u8))
        } else {
            None
        }
    }

    /// 0 to 7.
    #[inline]
    pub const fn index(self) -> usize {
        // The mask changes nothing; it shows the compiler that an array of 8 suffices.
        self.0 as usize & (CORES_MAX - 1)
    }
}

impl Priority {
    /// Runs when nothing else wants to.
    pub const LOWEST: Self = Self(0);
    /// Runs before everything else.
    pub const HIGHEST: Self = Self(PRIORITIES as u8 - 1);

    /// `None` for 8 and above.
    pub const fn new(level: u8) -> Option<Self> {
        if (level as usize) < PRIORITIES {
            Some(Self(level))
        } else {
            None
        }
    }

    /// 0 to 7.
    #[inline]
    pub const fn level(self) -> u8 {
        self.0
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize & (PRIORITIES - 1)
    }
}

impl CoreMask {
    /// Every core.
    pub const ALL: Self = Self(u8::MAX);
    /// No core.
    pub const NONE: Self = Self(0);

    /// This core and no other.
    pub const fn only(core: CoreId) -> Self {
        Self(1 << core.index())
    }

    /// The first `count` cores.
    pub const fn first(count: usize) -> Self {
        if count >= CORES_MAX {
            Self::ALL
        } else {
            Self((1 << count) - 1)
        }
    }

    /// Whether `core` is a member.
    #[inline]
    pub const fn contains(self, core: CoreId) -> bool {
        self.0 >> core.index() & 1 == 1
    }

    /// The cores in both sets.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it has no member.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, lowest first.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = CoreId> {
        (0..CORES_MAX as u8)
            .map(CoreId)
            .filter(move |&core| self.contains(core))
    }
}
