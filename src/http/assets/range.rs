//! `Range` (RFC 9110, section 14): one range of bytes. What can't be understood, and several ranges, are passed over, as the RFC allows.

/// What part of a file is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// All of it.
    All,
    /// From this byte on, so many.
    Part {
        /// The first byte.
        from: u64,
        /// At least one.
        bytes: u64,
    },
    /// A part beyond the end.
    Beyond,
}

/// Reads the header's value, for a file of that size.
pub(super) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let number = |text: &str| {
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than a u64 has are beyond every file.
        is_plain.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let Some(spec) = header.and_then(|header| header.strip_prefix("bytes=")) else { return Wanted::All };
    let Some((first, last)) = spec.trim().split_once('-') else { return Wanted::All };
    match (first, last) {
        ("", suffix) => match number(suffix) {
            None => Wanted::All,
            Some(0) => Wanted::Beyond,
            Some(_) if size == 0 => Wanted::Beyond,
            Some(suffix) => {
                let bytes = suffix.min(size);
                Wanted::Part { from: size - bytes, bytes }
            }
        },
        (first, last) => {
            let end = if last.is_empty() { Some(u64::MAX) } else { number(last) };
            let Some((first, last)) = number(first).zip(end) else { return Wanted::All };
            if last < first {
                Wanted::All
            } else if first >= size {
                Wanted::Beyond
            } else {
                Wanted::Part { from: first, bytes: last.min(size - 1) - first + 1 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood_and_the_rest_passed_over() {
        let part = |from, bytes| Wanted::Part { from, bytes };
        for (header, want) in [
            ("bytes=0-", part(0, 10)),
            ("bytes=0-0", part(0, 1)),
            ("bytes=3-5", part(3, 3)),
            ("bytes=9-99", part(9, 1)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-99", part(0, 10)),
            ("bytes=0-99999999999999999999999", part(0, 10)),
            ("bytes=10-", Wanted::Beyond),
            ("bytes=99999999999999999999999-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=5-3", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("pages=0-1", Wanted::All),
        ] {
            assert_eq!(wanted(Some(header), 10), want, "{header}");
        }
        assert_eq!(wanted(None, 10), Wanted::All);
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Beyond);
        assert_eq!(wanted(Some("bytes=-5"), 0), Wanted::Beyond);
    }
}
