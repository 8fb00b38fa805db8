//! Why a command is refused.

/// Most faults reported at once: a line item with a thousand bad values needs no thousand messages.
pub const FAULTS_MAX: usize = 100;

/// One thing wrong with what was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Where, as the sender wrote it: `pricing.amount_micros`, `caps[1].max`; empty for the whole.
    pub path: String,
    /// What, for programs; snake case and stable.
    pub code: &'static str,
    /// What, for people.
    pub message: String,
}

/// Everything wrong with what was sent, as far as was looked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    faults: Vec<Fault>,
    forbidden: bool,
}

/// Why a command is refused. Nothing has changed, but for [`Refusal::Uncertain`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such entity, or it is not the requester's: the two look alike.
    NotFound,
    /// The requester's role may not do this to anything.
    Forbidden(&'static str),
    /// The requester's role may not send these fields.
    ForbiddenFields(Vec<Fault>),
    /// Somebody else was quicker.
    Stale {
        /// The entity's revision now.
        current: u64,
    },
    /// What was sent breaks rules.
    Invalid(Vec<Fault>),
    /// It does not fit with what is there.
    Conflict {
        /// For programs.
        code: &'static str,
        /// For people.
        message: &'static str,
    },
    /// A limit of the catalogue is reached.
    Full {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// Too many commands are waiting; try again.
    Busy,
    /// The store does not answer. Nothing has changed; try again.
    Unavailable,
    /// The store did not answer in time: whether all of it was done is not known. The one refusal after which something may have changed.
    Uncertain,
    /// The store failed: nothing is accepted until the process is started again.
    Broken,
}

impl Faults {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn add(&mut self, path: impl Into<String>, code: &'static str, message: impl Into<String>) {
        if !self.is_full() {
            self.faults.push(Fault { path: path.into(), code, message: message.into() });
        }
    }

    /// Adds a field that the requester may not send, whatever its value.
    pub fn forbid(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.forbidden = true;
        self.add(path, "operator_only", message);
    }

    /// Adds another list's, with `prefix` before their paths.
    pub fn take(&mut self, other: Self, prefix: &str) {
        self.forbidden |= other.forbidden;
        for mut fault in other.faults {
            if !self.is_full() {
                fault.path = if fault.path.is_empty() { prefix.to_owned() } else { format!("{prefix}.{}", fault.path) };
                self.faults.push(fault);
            }
        }
    }

    /// Adds those of another list whose field was not reported yet: a value that could not be read has no further faults.
    pub fn take_new(&mut self, other: Self) {
        self.forbidden |= other.forbidden;
        let known: Vec<String> = self.faults.iter().map(|fault| fault.path.clone()).collect();
        for fault in other.faults {
            let reported = known.iter().any(|path| within(&fault.path, path));
            if !reported && !self.is_full() {
                self.faults.push(fault);
            }
        }
    }

    /// Whether [`FAULTS_MAX`] is reached; more are not kept.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.faults.len() >= FAULTS_MAX
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// The faults, in the order in which they were found.
    #[must_use]
    pub fn as_slice(&self) -> &[Fault] {
        &self.faults
    }

    /// No fault, or the refusal that names them all.
    ///
    /// # Errors
    /// [`Refusal::ForbiddenFields`] when a right is missing, else [`Refusal::Invalid`].
    pub fn into_result(self) -> Result<(), Refusal> {
        if self.faults.is_empty() {
            Ok(())
        } else if self.forbidden {
            Err(Refusal::ForbiddenFields(self.faults))
        } else {
            Err(Refusal::Invalid(self.faults))
        }
    }
}

/// Whether `path` is `outer` or lies in it.
fn within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_reported_once() {
        let mut faults = Faults::new();
        faults.add("caps[0]", "unreadable", "x");
        let mut more = Faults::new();
        more.add("caps[0].max", "too_small", "x");
        more.add("caps[01]", "other", "x");
        more.add("caps", "too_many", "x");
        faults.take_new(more);
        let paths: Vec<_> = faults.as_slice().iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["caps[0]", "caps[01]", "caps"]);
    }

    #[test]
    fn no_more_than_the_limit_is_kept() {
        let mut faults = Faults::new();
        for number in 0..FAULTS_MAX + 5 {
            faults.add(format!("a[{number}]"), "wrong", "x");
        }
        assert!(faults.is_full());
        assert_eq!(faults.as_slice().len(), FAULTS_MAX);
    }
}
