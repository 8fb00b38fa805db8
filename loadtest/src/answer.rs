//! Reads HTTP/1.1 answers off a stream: as little as it takes to tell one from the next.
//!
//! A head ends at the first empty line; the body is as long as `content-length` says, and absent where that is. An answer in chunks is refused: Segue sends
//! none to what is asked here.

use memchr::memmem;

/// Longest head that is looked for.
const HEAD_MAX: usize = 16_384;

/// An answer at the beginning of what was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer<'b> {
    /// The status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: &'b [u8],
    /// How many bytes it takes, head and body.
    pub(crate) length: usize,
}

/// What is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotHttp;

/// The answer at the beginning of the bytes; none where some of it is still to come.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Answer<'_>>, NotHttp> {
    let Some(head_end) = memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEAD_MAX { Err(NotHttp) } else { Ok(None) };
    };
    let head = &bytes[..head_end];
    let status = status(head).ok_or(NotHttp)?;
    let body_start = head_end + 4;
    let length = body_start + body_length(head)?;
    if bytes.len() < length {
        return Ok(None);
    }
    Ok(Some(Answer { status, body: &bytes[body_start..length], length }))
}

/// The number behind `HTTP/1.1 `.
fn status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn body_length(head: &[u8]) -> Result<usize, NotHttp> {
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            return std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(NotHttp);
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Err(NotHttp);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_wherever_the_stream_is_cut() {
        let first = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ndate: x\r\n\r\nhello".as_slice();
        let second = b"HTTP/1.1 204 No Content\r\ndate: x\r\n\r\n".as_slice();
        let stream = [first, second].concat();
        for cut in 0..first.len() {
            assert_eq!(read(&stream[..cut]), Ok(None), "{cut} bytes");
        }
        let answer = read(&stream).expect("HTTP").expect("whole");
        assert_eq!((answer.status, answer.body, answer.length), (200, b"hello".as_slice(), first.len()));
        let answer = read(&stream[answer.length..]).expect("HTTP").expect("whole");
        assert_eq!((answer.status, answer.body, answer.length), (204, b"".as_slice(), second.len()));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for wrong in [
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(read(wrong.as_bytes()), Err(NotHttp), "{wrong}");
        }
        assert_eq!(read(&vec![b'x'; HEAD_MAX + 1]), Err(NotHttp));
    }
}
