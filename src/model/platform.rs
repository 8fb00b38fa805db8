//! The kind of player, as a closed set: targeting takes any text, tokens and events take one of these.

/// The kind of player that asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Platform {
    /// Not said, or none of the others.
    #[default]
    Unknown,
    /// iOS.
    Ios,
    /// Android.
    Android,
    /// A web page.
    Web,
    /// A desktop application.
    Desktop,
    /// A television.
    Tv,
    /// A smart speaker.
    Speaker,
    /// A car.
    Car,
    /// A game console.
    Console,
}

impl Platform {
    /// Every platform, in the order of its code.
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Ios,
        Self::Android,
        Self::Web,
        Self::Desktop,
        Self::Tv,
        Self::Speaker,
        Self::Car,
        Self::Console,
    ];

    /// Its name, as in [`Facts::platform`](super::Facts::platform).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ios => "ios",
            Self::Android => "android",
            Self::Web => "web",
            Self::Desktop => "desktop",
            Self::Tv => "tv",
            Self::Speaker => "speaker",
            Self::Car => "car",
            Self::Console => "console",
        }
    }

    /// The platform of that name; [`Platform::Unknown`] for any other.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|platform| platform.name() == name).unwrap_or_default()
    }
}
