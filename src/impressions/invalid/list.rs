//! Lists that an operator keeps in files: one entry a line, comments from `#` on, empty lines passed over.

/// Longest line in bytes; a longer one is no entry of any list.
const LINE_BYTES_MAX: usize = 1_024;

/// What is wrong with a list.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ListError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// The entries of a list, each as `read` understands it.
///
/// # Errors
/// [`ListError`] with the first line that `read` refuses, that is too long, or that is one more than `entries_max`.
pub(super) fn entries<T>(
    text: &str,
    entries_max: usize,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, ListError> {
    let mut entries = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let refuse = |reason| ListError { line, reason };
        if content.len() > LINE_BYTES_MAX {
            return Err(refuse(format!("{} bytes: a line has at most {LINE_BYTES_MAX}", content.len())));
        }
        let entry = content.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        if entries.len() == entries_max {
            return Err(refuse(format!("more than {entries_max} entries")));
        }
        entries.push(read(entry).map_err(refuse)?);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_and_the_first_wrong_line_named() {
        let number = |entry: &str| entry.parse::<u8>().map_err(|_| format!("expected a number, found {entry:?}"));
        assert_eq!(entries(" 1 # one\n#two\n\r\n3\r\n", 2, number), Ok(vec![1, 3]));
        let wrong = |text: &str| entries(text, 2, number).expect_err("wrong").to_string();
        assert_eq!(wrong("1\n\nx\n"), "line 3: expected a number, found \"x\"");
        assert_eq!(wrong("1\n2\n3\n"), "line 3: more than 2 entries");
        assert_eq!(wrong(&"1".repeat(1_025)), "line 1: 1025 bytes: a line has at most 1024");
    }
}
