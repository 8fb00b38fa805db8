//! The people who listen, and what they listen to.

use super::STREAM_LISTENERS;
use super::audience::{some_artist, some_city};
use super::places::City;
use super::words::{CONTENT_CATEGORIES, FIRST_NAMES, GENRES, MOODS, PLAYLISTS, SEGMENTS};
use crate::workload::{Draws, Zipf};

/// What a listener answered when asked for consent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsentAnswer {
    /// Yes.
    Granted,
    /// No law asks for it where they live.
    NotRequired,
    /// No.
    Denied,
}

/// What a listener plays on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// `ios`, `android`, ...
    pub platform: &'static str,
    /// `phone`, ...
    pub device_type: &'static str,
    /// Operating system.
    pub os: &'static str,
    /// Its version.
    pub os_version: String,
    /// The app's version.
    pub app_version: String,
    /// `wifi`, ...
    pub connection: &'static str,
}

/// A person who listens.
#[derive(Clone, PartialEq, Debug)]
pub struct WorldListener {
    /// Their account's id.
    pub id: String,
    /// Their first name, for people to read; sent nowhere.
    pub name: &'static str,
    /// Where they live.
    pub home: &'static City,
    /// Where exactly, degrees north and east.
    pub coordinates: (f64, f64),
    /// Their postal code.
    pub postal_code: String,
    /// Years.
    pub age: u8,
    /// `female`, `male`, `other`.
    pub gender: &'static str,
    /// Language.
    pub language: &'static str,
    /// What they play on; usually one, sometimes two at the same time.
    pub devices: Vec<Device>,
    /// Genres they like, best first; three.
    pub taste: Vec<&'static str>,
    /// Segments that the service put them in.
    pub segments: Vec<&'static str>,
    /// Their answer about consent.
    pub consent: ConsentAnswer,
    /// Whether they pay not to hear ads.
    pub premium: bool,
    /// Whether they are a child.
    pub child: bool,
    /// Whether their player asks for breaks ahead of time.
    pub prefetches: bool,
}

/// Something that plays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Track {
    /// Genre.
    pub genre: &'static str,
    /// Mood.
    pub mood: &'static str,
    /// The playlist that it is in.
    pub playlist: &'static str,
    /// Who plays.
    pub artist: String,
    /// Whether it is explicit.
    pub explicit: bool,
    /// Content category.
    pub content_category: &'static str,
    /// Length in milliseconds: 2 to 5 minutes.
    pub duration_ms: u32,
}

/// The first `count` listeners of that seed's world; more listeners don't change the first ones.
#[must_use]
pub fn listeners(count: usize, seed: u64) -> Vec<WorldListener> {
    let mut draws = Draws::new(seed, STREAM_LISTENERS);
    let genres = Zipf::new(18, 0.9);
    (0..count).map(|index| listener(index, &genres, &mut draws)).collect()
}

fn listener(index: usize, genres: &Zipf, draws: &mut Draws) -> WorldListener {
    let home = some_city(draws);
    let child = draws.chance(0.03);
    let age = if child { draws.between(6, 12) } else { 16 + draws.below(30) + draws.below(35) };
    let taste = draws.distinct(3, |draws| genres.draw(draws)).into_iter().map(|genre| GENRES[genre as usize]).collect();
    let segments = draws.distinct(4, |draws| draws.below(24)).into_iter().map(|one| SEGMENTS[one as usize]).collect();
    let devices = if draws.chance(0.08) { vec![device(draws), device(draws)] } else { vec![device(draws)] };
    WorldListener {
        id: format!("listener-{index}"),
        name: draws.pick::<&str>(&FIRST_NAMES),
        home,
        // About 15 km either way.
        coordinates: (home.latitude + (draws.unit() - 0.5) * 0.27, home.longitude + (draws.unit() - 0.5) * 0.4),
        postal_code: format!("{}{:03}", home.postal_prefix, draws.below(60)),
        age: u8::try_from(age).expect("below 100"),
        gender: ["female", "male", "other"][draws.weighted(&[0.48, 0.48, 0.04])],
        language: if draws.chance(0.85) { home.language } else { "en" },
        devices,
        taste: if child { vec!["kids"] } else { taste },
        segments,
        consent: [ConsentAnswer::Granted, ConsentAnswer::NotRequired, ConsentAnswer::Denied]
            [draws.weighted(&[0.68, 0.20, 0.12])],
        premium: draws.chance(0.05),
        child,
        prefetches: draws.chance(0.3),
    }
}

fn device(draws: &mut Draws) -> Device {
    let (platform, device_type, os) = [
        ("ios", "phone", "ios"),
        ("android", "phone", "android"),
        ("android", "tablet", "android"),
        ("web", "computer", "windows"),
        ("desktop", "computer", "macos"),
        ("speaker", "speaker", "linux"),
    ][draws.weighted(&[0.3, 0.38, 0.05, 0.1, 0.1, 0.07])];
    Device {
        platform,
        device_type,
        os,
        os_version: format!("{}.{}", draws.between(12, 18), draws.below(6)),
        app_version: format!("{}.{}.{}", draws.between(7, 9), draws.below(20), draws.below(5)),
        connection: ["wifi", "cellular", "wired"][draws.weighted(&[0.55, 0.4, 0.05])],
    }
}

impl WorldListener {
    /// The next thing they play, from what they like.
    pub fn next_track(&self, draws: &mut Draws) -> Track {
        let genre = self.taste[if draws.chance(0.6) { 0 } else { draws.index(self.taste.len()) }];
        let explicit_share = match genre {
            "hip hop" | "metal" | "punk" => 0.4,
            "kids" | "classical" | "ambient" | "audiobook" => 0.0,
            _ => 0.08,
        };
        Track {
            genre,
            mood: draws.pick::<&str>(&MOODS),
            playlist: draws.pick::<&str>(&PLAYLISTS),
            artist: some_artist(draws),
            explicit: draws.chance(explicit_share),
            content_category: draws.pick::<&str>(&CONTENT_CATEGORIES),
            duration_ms: draws.between(120_000, 300_000),
        }
    }
}
