//! Real cities with where they are, what is spoken there, and their time zones. Coordinates are of the centres, to two decimals.

/// A city.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct City {
    /// ISO 3166-1 alpha-2, lower case.
    pub country: &'static str,
    /// ISO 3166-2, lower case.
    pub region: &'static str,
    /// Name as people write it; targeting compares in lower case.
    pub name: &'static str,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// IANA name.
    pub zone: &'static str,
    /// The language that most listeners there use, BCP 47.
    pub language: &'static str,
    /// How many of a thousand or so listeners live there.
    pub weight: f64,
    /// Start of postal codes there; three digits or letters are added.
    pub postal_prefix: &'static str,
}

#[expect(clippy::too_many_arguments, reason = "a row of the table below")]
const fn city(
    country: &'static str,
    region: &'static str,
    name: &'static str,
    latitude: f64,
    longitude: f64,
    zone: &'static str,
    language: &'static str,
    weight: f64,
    postal_prefix: &'static str,
) -> City {
    City { country, region, name, latitude, longitude, zone, language, weight, postal_prefix }
}

/// The cities of the demo's world; those of one country stand together.
pub const CITIES: [City; 62] = [
    city("se", "se-ab", "Stockholm", 59.33, 18.07, "Europe/Stockholm", "sv", 60.0, "11"),
    city("se", "se-o", "Gothenburg", 57.71, 11.97, "Europe/Stockholm", "sv", 35.0, "41"),
    city("se", "se-m", "Malmö", 55.60, 13.00, "Europe/Stockholm", "sv", 25.0, "21"),
    city("no", "no-03", "Oslo", 59.91, 10.75, "Europe/Oslo", "no", 35.0, "0"),
    city("no", "no-46", "Bergen", 60.39, 5.32, "Europe/Oslo", "no", 15.0, "5"),
    city("dk", "dk-84", "Copenhagen", 55.68, 12.57, "Europe/Copenhagen", "da", 35.0, "1"),
    city("dk", "dk-82", "Aarhus", 56.16, 10.20, "Europe/Copenhagen", "da", 15.0, "8"),
    city("fi", "fi-18", "Helsinki", 60.17, 24.94, "Europe/Helsinki", "fi", 30.0, "00"),
    city("fi", "fi-11", "Tampere", 61.50, 23.79, "Europe/Helsinki", "fi", 12.0, "33"),
    city("gb", "gb-eng", "London", 51.51, -0.13, "Europe/London", "en", 80.0, "e"),
    city("gb", "gb-eng", "Manchester", 53.48, -2.24, "Europe/London", "en", 35.0, "m"),
    city("gb", "gb-sct", "Glasgow", 55.86, -4.25, "Europe/London", "en", 20.0, "g"),
    city("ie", "ie-l", "Dublin", 53.35, -6.26, "Europe/Dublin", "en", 25.0, "d"),
    city("de", "de-be", "Berlin", 52.52, 13.40, "Europe/Berlin", "de", 70.0, "10"),
    city("de", "de-by", "Munich", 48.14, 11.58, "Europe/Berlin", "de", 40.0, "80"),
    city("de", "de-hh", "Hamburg", 53.55, 9.99, "Europe/Berlin", "de", 40.0, "20"),
    city("de", "de-nw", "Cologne", 50.94, 6.96, "Europe/Berlin", "de", 35.0, "50"),
    city("at", "at-9", "Vienna", 48.21, 16.37, "Europe/Vienna", "de", 25.0, "1"),
    city("ch", "ch-zh", "Zurich", 47.37, 8.54, "Europe/Zurich", "de", 20.0, "8"),
    city("ch", "ch-ge", "Geneva", 46.20, 6.14, "Europe/Zurich", "fr", 10.0, "12"),
    city("nl", "nl-nh", "Amsterdam", 52.37, 4.90, "Europe/Amsterdam", "nl", 35.0, "10"),
    city("nl", "nl-zh", "Rotterdam", 51.92, 4.48, "Europe/Amsterdam", "nl", 20.0, "30"),
    city("be", "be-bru", "Brussels", 50.85, 4.35, "Europe/Brussels", "fr", 18.0, "10"),
    city("be", "be-van", "Antwerp", 51.22, 4.40, "Europe/Brussels", "nl", 12.0, "20"),
    city("fr", "fr-idf", "Paris", 48.86, 2.35, "Europe/Paris", "fr", 60.0, "75"),
    city("fr", "fr-ara", "Lyon", 45.76, 4.84, "Europe/Paris", "fr", 25.0, "69"),
    city("fr", "fr-pac", "Marseille", 43.30, 5.37, "Europe/Paris", "fr", 20.0, "13"),
    city("es", "es-md", "Madrid", 40.42, -3.70, "Europe/Madrid", "es", 45.0, "28"),
    city("es", "es-ct", "Barcelona", 41.39, 2.17, "Europe/Madrid", "es", 40.0, "08"),
    city("es", "es-vc", "Valencia", 39.47, -0.38, "Europe/Madrid", "es", 15.0, "46"),
    city("pt", "pt-11", "Lisbon", 38.72, -9.14, "Europe/Lisbon", "pt", 20.0, "1"),
    city("it", "it-25", "Milan", 45.46, 9.19, "Europe/Rome", "it", 35.0, "20"),
    city("it", "it-62", "Rome", 41.90, 12.50, "Europe/Rome", "it", 35.0, "00"),
    city("pl", "pl-14", "Warsaw", 52.23, 21.01, "Europe/Warsaw", "pl", 35.0, "00"),
    city("pl", "pl-12", "Kraków", 50.06, 19.94, "Europe/Warsaw", "pl", 18.0, "30"),
    city("cz", "cz-10", "Prague", 50.08, 14.44, "Europe/Prague", "cs", 20.0, "11"),
    city("gr", "gr-i", "Athens", 37.98, 23.73, "Europe/Athens", "el", 18.0, "10"),
    city("tr", "tr-34", "Istanbul", 41.01, 28.98, "Europe/Istanbul", "tr", 40.0, "34"),
    city("us", "us-ny", "New York", 40.71, -74.01, "America/New_York", "en", 80.0, "10"),
    city("us", "us-ca", "Los Angeles", 34.05, -118.24, "America/Los_Angeles", "en", 60.0, "90"),
    city("us", "us-il", "Chicago", 41.88, -87.63, "America/Chicago", "en", 40.0, "60"),
    city("us", "us-tx", "Austin", 30.27, -97.74, "America/Chicago", "en", 25.0, "78"),
    city("us", "us-co", "Denver", 39.74, -104.99, "America/Denver", "en", 18.0, "80"),
    city("us", "us-az", "Phoenix", 33.45, -112.07, "America/Phoenix", "en", 18.0, "85"),
    city("ca", "ca-on", "Toronto", 43.65, -79.38, "America/Toronto", "en", 35.0, "m5"),
    city("ca", "ca-qc", "Montreal", 45.50, -73.57, "America/Toronto", "fr", 22.0, "h3"),
    city("ca", "ca-bc", "Vancouver", 49.28, -123.12, "America/Vancouver", "en", 20.0, "v6"),
    city("mx", "mx-cmx", "Mexico City", 19.43, -99.13, "America/Mexico_City", "es", 45.0, "06"),
    city("mx", "mx-jal", "Guadalajara", 20.67, -103.35, "America/Mexico_City", "es", 20.0, "44"),
    city("br", "br-sp", "São Paulo", -23.55, -46.63, "America/Sao_Paulo", "pt", 60.0, "01"),
    city("br", "br-rj", "Rio de Janeiro", -22.91, -43.17, "America/Sao_Paulo", "pt", 35.0, "20"),
    city("ar", "ar-c", "Buenos Aires", -34.60, -58.38, "America/Argentina/Buenos_Aires", "es", 35.0, "10"),
    city("jp", "jp-13", "Tokyo", 35.68, 139.69, "Asia/Tokyo", "ja", 50.0, "10"),
    city("jp", "jp-27", "Osaka", 34.69, 135.50, "Asia/Tokyo", "ja", 25.0, "53"),
    city("in", "in-mh", "Mumbai", 19.08, 72.88, "Asia/Kolkata", "hi", 40.0, "40"),
    city("in", "in-ka", "Bengaluru", 12.97, 77.59, "Asia/Kolkata", "en", 30.0, "56"),
    city("id", "id-jk", "Jakarta", -6.21, 106.85, "Asia/Jakarta", "id", 35.0, "10"),
    city("ph", "ph-00", "Manila", 14.60, 120.98, "Asia/Manila", "en", 30.0, "10"),
    city("au", "au-nsw", "Sydney", -33.87, 151.21, "Australia/Sydney", "en", 35.0, "20"),
    city("au", "au-vic", "Melbourne", -37.81, 144.96, "Australia/Melbourne", "en", 30.0, "30"),
    city("nz", "nz-auk", "Auckland", -36.85, 174.76, "Pacific/Auckland", "en", 15.0, "10"),
    city("za", "za-gp", "Johannesburg", -26.20, 28.05, "Africa/Johannesburg", "en", 20.0, "20"),
];

/// The city as targeting spells it: `country/name`, lower case.
#[must_use]
pub fn city_key(city: &City) -> String {
    format!("{}/{}", city.country, city.name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Zone;
    use crate::targeting::normal;

    #[test]
    fn every_row_is_in_normal_form_and_its_zone_exists() {
        for city in &CITIES {
            assert!(Zone::named(city.zone).is_ok(), "{}", city.name);
            assert_eq!(normal::country(city.country).as_deref(), Some(city.country));
            assert_eq!(normal::region(city.region).as_deref(), Some(city.region));
            assert!(city.region.starts_with(city.country), "{}", city.name);
            assert_eq!(normal::city(&city_key(city)), Some(city_key(city)));
            assert_eq!(normal::language(city.language).as_deref(), Some(city.language));
            assert!((-90.0..=90.0).contains(&city.latitude) && (-180.0..=180.0).contains(&city.longitude));
        }
        let mut countries: Vec<&str> = CITIES.iter().map(|city| city.country).collect();
        countries.dedup();
        assert!(countries.len() >= 25, "{}", countries.len());
    }
}
