//! Sums that forget.

/// A sum in which what is `tau` old counts 1/e of what is new. The quotient of two of them, fed alike, is an average that is right
/// from the first moment on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DecayingSum {
    tau_ms: f64,
    sum: f64,
}

impl DecayingSum {
    /// Nothing yet, forgetting with this time constant in milliseconds.
    #[must_use]
    pub const fn new(tau_ms: f64) -> Self {
        Self { tau_ms, sum: 0.0 }
    }

    /// Lets `elapsed_ms` pass and adds `value`.
    pub fn add(&mut self, elapsed_ms: f64, value: f64) {
        self.sum = self.sum * (-elapsed_ms / self.tau_ms).exp() + value;
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
