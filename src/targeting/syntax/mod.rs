//! Targeting as people and programs write it: JSON ↔ [`Expression`](super::Expression).
//!
//! An object holds when **all** its fields hold; a list of values holds when **any** of them does. So
//!
//! ```json
//! { "country": ["SE", "NO"], "age": [{ "from": 18, "to": 34 }], "not": { "genre": ["kids"] } }
//! ```
//!
//! is "in Sweden or Norway, and 18 to 34, and not beside music for children". `all` and `any` hold lists of such objects, `not` holds one; they
//! nest. The empty object is everybody. Something unknown about a listener never meets a condition, and always meets its `not`.
//!
//! Values are brought to their normal form (`SE` becomes `se`, see [`normal`](super::normal)), sorted, and written back so. What can't be, is
//! too much, or could never hold is refused with the path of the field: [`SyntaxError`].

mod attributes;
mod read;
#[cfg(test)]
mod tests;
mod wire;
mod write;

pub use read::{
    AGE_MAX, CIRCLES_MAX, DEPTH_MAX, ERRORS_MAX, PARTS_MAX, RADIUS_MAX_M, RADIUS_MIN_M, RANGES_MAX, SEGMENTS_MAX,
    SyntaxError, VALUES_MAX, parse, parse_json,
};
pub use wire::{AgeRangeBody, CircleBody, Day, DaypartBody, HoursBody, TargetingBody, TimeZoneOf, VersionRangeBody};
pub use write::write;
