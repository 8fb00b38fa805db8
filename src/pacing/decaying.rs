//! Sums that forget.

/// A sum in which what is `tau` old counts 1/e of what is new. The quotient of two of them, fed alike, is an average that is right
/// from the first moment on. The time constant, in milliseconds, is part of the type: there are some ten of them for each line item.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct DecayingSum<const TAU_MS: u32> {
    sum: f64,
}

impl<const TAU_MS: u32> DecayingSum<TAU_MS> {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { sum: 0.0 }
    }

    /// Lets `elapsed_ms` pass and adds `value`.
    pub fn add(&mut self, elapsed_ms: f64, value: f64) {
        self.sum = self.sum * (-elapsed_ms / f64::from(TAU_MS)).exp() + value;
    }

    /// Takes `value` out, down to nothing.
    pub fn subtract(&mut self, value: f64) {
        self.sum = (self.sum - value).max(0.0);
    }

    /// The sum as of the last [`DecayingSum::add`].
    #[must_use]
    pub const fn value(&self) -> f64 {
        self.sum
    }
}
