//! Names of the demo's world. Brands, artists and playlists are invented; a likeness to a real one is chance.

/// A product category with the brands that sell in it: three each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sector {
    /// The category, as line items carry it.
    pub(super) category: &'static str,
    /// Its brands.
    pub(super) brands: [&'static str; 3],
    /// A category that its brands will not share a pod with.
    pub(super) excludes: Option<&'static str>,
    /// Whether it suits children and their music.
    pub(super) family: bool,
    /// What its campaigns are about.
    pub(super) themes: [&'static str; 3],
}

const fn sector(
    category: &'static str,
    brands: [&'static str; 3],
    excludes: Option<&'static str>,
    family: bool,
    themes: [&'static str; 3],
) -> Sector {
    Sector { category, brands, excludes, family, themes }
}

/// The sectors.
pub(super) const SECTORS: [Sector; 20] = [
    sector(
        "coffee",
        ["Nordlys Coffee", "Bramblewick Roasters", "Kaffa Alta"],
        Some("tea"),
        true,
        ["Morning cup", "Iced summer", "New roast"],
    ),
    sector(
        "banking",
        ["Fjell Bank", "Harbourline Savings", "Quillon Credit"],
        Some("gambling"),
        true,
        ["First home", "No-fee account", "Save a little"],
    ),
    sector(
        "cars",
        ["Velmora Motors", "Tarn Automotive", "Kestrin"],
        Some("alcohol"),
        true,
        ["Test drive", "Electric now", "Family seven-seater"],
    ),
    sector(
        "alcohol",
        ["Oldgate Brewery", "Lindholt Pils", "Cerro Pardo"],
        Some("cars"),
        false,
        ["Friday", "Alcohol free", "Summer on tap"],
    ),
    sector(
        "fashion",
        ["Maren & Oak", "Studio Velu", "Threadbare Lane"],
        None,
        true,
        ["Autumn line", "Mid-season sale", "Denim"],
    ),
    sector(
        "telecom",
        ["Tonefield Mobile", "Bluewire", "Parla"],
        None,
        true,
        ["Unlimited data", "Fibre", "Student plan"],
    ),
    sector(
        "grocery",
        ["Greenbasket", "Marktli", "Pantry & Vine"],
        None,
        true,
        ["Weekly offers", "Home delivery", "Local harvest"],
    ),
    sector(
        "travel",
        ["Skerry Airways", "Wayleaf Trains", "Isla Mar Holidays"],
        None,
        true,
        ["City breaks", "Night train", "Last minute"],
    ),
    sector(
        "streaming video",
        ["Lumio Play", "Reelhaven", "Nightjar Films"],
        None,
        true,
        ["New season", "Documentaries", "Free month"],
    ),
    sector(
        "games",
        ["Pixelmoor Games", "Hexfall", "Tiny Anvil Studio"],
        None,
        true,
        ["Out now", "Season pass", "Mobile launch"],
    ),
    sector(
        "fitness",
        ["Pulsegrove Gyms", "Runhelm", "Stillwater Yoga"],
        None,
        true,
        ["New year", "Couch to ten", "First class free"],
    ),
    sector(
        "insurance",
        ["Sturdy & Sons Insurance", "Umbrel", "Pinehold Mutual"],
        None,
        true,
        ["Switch and save", "Travel cover", "Home"],
    ),
    sector(
        "electronics",
        ["Aurelle Audio", "Voltbirk", "Cindertech"],
        None,
        true,
        ["Headphones", "Smart home", "Trade in"],
    ),
    sector(
        "furniture",
        ["Hemlund", "Oak Row Interiors", "Loft & Lantern"],
        None,
        true,
        ["Small spaces", "Sofa weeks", "Desk life"],
    ),
    sector(
        "fast food",
        ["Burgerhus", "Pico Taqueria", "Wok Corner"],
        Some("fitness"),
        true,
        ["Two for one", "Breakfast", "Spicy week"],
    ),
    sector(
        "cosmetics",
        ["Solveig Skin", "Petal & Ash", "Maison Orvane"],
        None,
        true,
        ["Winter care", "Sun", "Fragrance"],
    ),
    sector(
        "education",
        ["Lexiko", "Openquill Academy", "Code Harbour"],
        None,
        true,
        ["Learn Spanish", "Evening degrees", "First line of code"],
    ),
    sector("energy", ["Tidewatt", "Solbruk", "Norrvind Power"], None, true, ["Solar roof", "Fixed price", "Heat pump"]),
    sector(
        "tea",
        ["Juniper & Rain Tea", "Chai Lane", "Morgendal"],
        Some("coffee"),
        true,
        ["Evening blend", "Loose leaf", "Gift box"],
    ),
    sector(
        "gambling",
        ["Luckhaven", "Redclover Bingo", "Trumpfort"],
        Some("banking"),
        false,
        ["Weekend draw", "Welcome offer", "Derby day"],
    ),
];

/// Genres, the most heard first.
pub(super) const GENRES: [&str; 20] = [
    "pop",
    "hip hop",
    "rock",
    "electronic",
    "indie",
    "r&b",
    "latin",
    "jazz",
    "metal",
    "classical",
    "folk",
    "country",
    "reggae",
    "soul",
    "k-pop",
    "ambient",
    "punk",
    "blues",
    "kids",
    "audiobook",
];

/// Moods.
pub(super) const MOODS: [&str; 10] =
    ["happy", "chill", "focus", "workout", "party", "sleep", "romantic", "melancholic", "energetic", "morning"];

/// Playlists.
pub(super) const PLAYLISTS: [&str; 24] = [
    "monday coffee",
    "deep focus hours",
    "kitchen swing",
    "night drive",
    "fresh friday",
    "rainy window",
    "leg day",
    "after work",
    "sunday slow",
    "garage gold",
    "piano & rain",
    "bass cabin",
    "summer ferry",
    "campfire",
    "commute",
    "golden soul",
    "lo-fi desk",
    "headbang",
    "cumbia caliente",
    "bedtime stories",
    "fika",
    "new noise",
    "brass & blue",
    "long run",
];

/// First halves of artists' names.
pub(super) const ARTIST_FIRST: [&str; 12] = [
    "Paper",
    "Velvet",
    "Northern",
    "Hollow",
    "Silver",
    "Midnight",
    "Little",
    "Electric",
    "Salt",
    "Glass",
    "Wandering",
    "Red",
];

/// Second halves of artists' names.
pub(super) const ARTIST_SECOND: [&str; 12] = [
    "Lanterns", "Harbour", "Foxes", "Choir", "Weather", "Parade", "Kites", "Orchard", "Signal", "Rivers", "Machine",
    "Saints",
];

/// First names of listeners, for people to read.
pub(super) const FIRST_NAMES: [&str; 40] = [
    "Ava", "Noah", "Linnea", "Elias", "Sofia", "Mateo", "Freja", "Lukas", "Chloé", "Jules", "Hanna", "Emil", "Zofia",
    "Jakub", "Aino", "Onni", "Giulia", "Marco", "Inês", "Tomás", "Yuki", "Haruto", "Priya", "Arjun", "Putri", "Budi",
    "Olivia", "Liam", "Camila", "Diego", "Ruby", "Jack", "Thandi", "Sipho", "Elif", "Deniz", "Eleni", "Nikos", "Aroha",
    "Maria",
];

/// Audience segments.
pub(super) const SEGMENTS: [&str; 24] = [
    "commuter",
    "student",
    "new parent",
    "runner",
    "home cook",
    "early adopter",
    "frequent flyer",
    "pet owner",
    "gamer",
    "festival goer",
    "home owner",
    "night owl",
    "early bird",
    "bargain hunter",
    "car intender",
    "movie fan",
    "vegetarian",
    "coffee lover",
    "language learner",
    "gardener",
    "investor",
    "do it yourself",
    "fashion follower",
    "wine lover",
];

/// Content categories of what plays (IAB Content Taxonomy codes of music and near it).
pub(super) const CONTENT_CATEGORIES: [&str; 6] = ["iab1-6", "iab1-7", "iab9-5", "iab17", "iab23", "iab6-4"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targeting::normal;

    #[test]
    fn words_are_in_normal_form_and_brands_are_unique() {
        let words = GENRES.iter().chain(&MOODS).chain(&PLAYLISTS).chain(&SEGMENTS).chain(&CONTENT_CATEGORIES);
        for word in words.copied().chain(SECTORS.iter().map(|sector| sector.category)) {
            assert_eq!(normal::word(word).as_deref(), Some(word));
        }
        let mut brands: Vec<&str> = SECTORS.iter().flat_map(|sector| sector.brands).collect();
        let count = brands.len();
        brands.sort_unstable();
        brands.dedup();
        assert_eq!(brands.len(), count);
        assert!(
            SECTORS
                .iter()
                .filter_map(|sector| sector.excludes)
                .all(|other| { SECTORS.iter().any(|sector| sector.category == other) })
        );
    }
}
