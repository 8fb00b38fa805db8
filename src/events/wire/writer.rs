//! Protobuf written straight into one buffer: what prost writes of the same message, byte for byte, without the message.
//!
//! Fields are written in the order of their numbers, as prost does. A field that is not `optional` is left out when it
//! holds its default; an `optional` one, and each element of a `repeated` one, is always written.

/// Wire type of a varint.
const VARINT: u32 = 0;
/// Wire type of eight bytes.
const FIXED64: u32 = 1;
/// Wire type of a length and as many bytes.
const DELIMITED: u32 = 2;
/// Longest varint in bytes.
const VARINT_BYTES_MAX: usize = 10;

/// The message so far.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty message, with room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// The message.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A number, an `optional` one.
    pub(super) fn some_number(&mut self, field: u32, number: u64) {
        self.key(field, VARINT);
        self.varint(number);
    }

    /// A number, left out when it is 0.
    pub(super) fn number(&mut self, field: u32, number: impl Into<u64>) {
        let number = number.into();
        if number != 0 {
            self.some_number(field, number);
        }
    }

    /// A signed number, an `optional` one: its two's complement.
    pub(super) fn some_signed(&mut self, field: u32, number: i64) {
        self.some_number(field, number.cast_unsigned());
    }

    /// A signed number, left out when it is 0.
    pub(super) fn signed(&mut self, field: u32, number: i64) {
        self.number(field, number.cast_unsigned());
    }

    /// A word of an enum, left out when it is the unspecified one.
    pub(super) fn code(&mut self, field: u32, code: i32) {
        self.signed(field, i64::from(code));
    }

    /// Words of an enum, in one piece; nothing for none.
    pub(super) fn codes(&mut self, field: u32, codes: impl ExactSizeIterator<Item = i32>) {
        if codes.len() > 0 {
            self.message(field, |writer| codes.for_each(|code| writer.varint(i64::from(code).cast_unsigned())));
        }
    }

    /// A truth, an `optional` one.
    pub(super) fn some_flag(&mut self, field: u32, flag: bool) {
        self.some_number(field, u64::from(flag));
    }

    /// A truth, left out when it is none.
    pub(super) fn flag(&mut self, field: u32, flag: bool) {
        self.number(field, flag);
    }

    /// Eight bytes, an `optional` field.
    pub(super) fn some_fixed(&mut self, field: u32, number: u64) {
        self.key(field, FIXED64);
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    /// Eight bytes, left out when they are 0.
    pub(super) fn fixed(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.some_fixed(field, number);
        }
    }

    /// A double, left out when it is 0, of whichever sign.
    pub(super) fn double(&mut self, field: u32, number: f64) {
        if number != 0.0 {
            self.some_fixed(field, number.to_bits());
        }
    }

    /// Bytes or text: `optional`, or one of a `repeated` field.
    pub(super) fn some_bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, DELIMITED);
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes or text, left out when empty.
    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.some_bytes(field, bytes);
        }
    }

    /// Pieces of one size in one field: ids one after the other, or `repeated fixed64` as it is packed. Nothing for none.
    pub(super) fn pieces<const SIZE: usize>(&mut self, field: u32, pieces: impl ExactSizeIterator<Item = [u8; SIZE]>) {
        if pieces.len() == 0 {
            return;
        }
        self.key(field, DELIMITED);
        self.varint((pieces.len() * SIZE) as u64);
        pieces.for_each(|piece| self.bytes.extend_from_slice(&piece));
    }

    /// A text where there is one.
    pub(super) fn text(&mut self, field: u32, text: Option<&str>) {
        if let Some(text) = text {
            self.some_bytes(field, text.as_bytes());
        }
    }

    /// Each of some texts.
    pub(super) fn texts(&mut self, field: u32, texts: &[String]) {
        for text in texts {
            self.some_bytes(field, text.as_bytes());
        }
    }

    /// What `write` writes, as a message of its own. Its length stands before it and is known after it: the room for a
    /// short one is left, and what is longer is moved on by a byte or two.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.key(field, DELIMITED);
        let start = self.bytes.len();
        self.bytes.push(0);
        write(self);
        let end = self.bytes.len();
        let (varint, length) = varint((end - start - 1) as u64);
        self.bytes.resize(end + length - 1, 0);
        self.bytes.copy_within(start + 1..end, start + length);
        self.bytes[start..start + length].copy_from_slice(&varint[..length]);
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, number: u64) {
        let (bytes, length) = varint(number);
        self.bytes.extend_from_slice(&bytes[..length]);
    }
}

/// Seven bits a byte, the lowest first, each but the last with its high bit set; and how many bytes.
fn varint(mut number: u64) -> ([u8; VARINT_BYTES_MAX], usize) {
    let mut bytes = [0; VARINT_BYTES_MAX];
    let mut length = 0;
    loop {
        let low = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        bytes[length] = if number == 0 { low } else { low | 0x80 };
        length += 1;
        if number == 0 {
            return (bytes, length);
        }
    }
}
