//! Money: whole micros of the network's trading currency in an `i64`. No float ever touches it.

use std::fmt;
use std::iter::Sum;

/// Micros in one unit of currency.
pub const MICROS_PER_UNIT: i64 = 1_000_000;

/// An amount of money in micros (millionths of the currency unit). Range: about ±9.2 × 10^12 units.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

/// A sum left the range of `i64` micros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the amount leaves the range of 64-bit micros")]
pub struct MoneyOverflow;

impl Micros {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The sum, or an error outside the range.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when the sum does not fit.
    pub fn plus(self, other: Self) -> Result<Self, MoneyOverflow> {
        self.0.checked_add(other.0).map(Self).ok_or(MoneyOverflow)
    }

    /// The difference, or an error outside the range.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when the difference does not fit.
    pub fn minus(self, other: Self) -> Result<Self, MoneyOverflow> {
        self.0.checked_sub(other.0).map(Self).ok_or(MoneyOverflow)
    }

    /// The amount `count` times, or an error outside the range.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when the product does not fit.
    pub fn times(self, count: u32) -> Result<Self, MoneyOverflow> {
        self.0.checked_mul(i64::from(count)).map(Self).ok_or(MoneyOverflow)
    }

    /// The sum of many amounts, or an error outside the range.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when the sum does not fit.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyOverflow> {
        amounts.into_iter().try_fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for Micros {
    /// Units and six decimals, e.g. `-0.004500`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        let unit = MICROS_PER_UNIT.unsigned_abs();
        write!(f, "{sign}{}.{:06}", magnitude / unit, magnitude % unit)
    }
}

impl fmt::Debug for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}µ", self.0)
    }
}

/// Sums that are proven to fit (audit totals of checked parts) may use `i128`; this stays in micros.
impl Sum<Micros> for i128 {
    fn sum<I: Iterator<Item = Micros>>(amounts: I) -> Self {
        amounts.map(|amount| Self::from(amount.0)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // INV-23.
    #[test]
    fn overflow_is_an_error_not_a_wrap() {
        assert_eq!(Micros(i64::MAX).plus(Micros(1)), Err(MoneyOverflow));
        assert_eq!(Micros(i64::MIN).minus(Micros(1)), Err(MoneyOverflow));
        assert_eq!(Micros(i64::MAX).times(2), Err(MoneyOverflow));
        assert_eq!(Micros::sum([Micros(2), Micros(3)]), Ok(Micros(5)));
    }

    #[test]
    fn prints_units() {
        assert_eq!(Micros(4_500).to_string(), "0.004500");
        assert_eq!(Micros(-1_000_001).to_string(), "-1.000001");
        assert_eq!(Micros(i64::MIN).to_string(), "-9223372036854.775808");
    }
}
