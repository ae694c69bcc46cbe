//! Packets: a length of three bytes, a number that counts them, and content.

use std::io::{self, Read, Write};

use crate::{Duplex, Error, Refusal};

/// The longest content of one packet; longer content goes on in the next.
const LONGEST: usize = 0xff_ffff;
/// In a status: the answer of another statement follows.
const MORE_RESULTS: u16 = 0x0008;

/// A connection that speaks in packets.
pub(crate) struct Channel {
    stream: Box<dyn Duplex>,
    next: u8,
}

impl Channel {
    pub(crate) fn new(stream: impl Duplex + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            next: 0,
        }
    }

    /// Puts another layer around the connection; the count of packets goes on.
    pub(crate) fn wrap(&mut self, layer: impl FnOnce(Box<dyn Duplex>) -> Box<dyn Duplex>) {
        let bare = std::mem::replace(&mut self.stream, Box::new(io::empty()));
        self.stream = layer(bare);
    }

    /// A new command: packets are counted anew.
    pub(crate) fn begin(&mut self) {
        self.next = 0;
    }

    pub(crate) fn read(&mut self) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        loop {
            let mut head = [0; 4];
            self.stream.read_exact(&mut head)?;
            let [low, middle, high, number] = head;
            let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
            self.next = number.wrapping_add(1);
            let begun = content.len();
            content.resize(begun + length, 0);
            self.stream.read_exact(&mut content[begun..])?;
            if length < LONGEST {
                return Ok(content);
            }
        }
    }

    pub(crate) fn write(&mut self, content: &[u8]) -> Result<(), Error> {
        let mut rest = content;
        loop {
            let (part, after) = rest.split_at(rest.len().min(LONGEST));
            let [low, middle, high, _] = u32::try_from(part.len()).unwrap_or(0).to_le_bytes();
            self.stream.write_all(&[low, middle, high, self.next])?;
            self.stream.write_all(part)?;
            self.next = self.next.wrapping_add(1);
            rest = after;
            // Content that fills its last packet is ended by an empty one.
            if part.len() < LONGEST {
                return Ok(self.stream.flush()?);
            }
        }
    }
}

/// A command and its text.
pub(crate) fn command(number: u8, text: &str) -> Vec<u8> {
    [&[number], text.as_bytes()].concat()
}

/// An ERR packet: number, `#` and the SQLSTATE, words. Before the greeting there is no SQLSTATE.
pub(crate) fn refusal(content: &[u8]) -> Refusal {
    let number = match content.get(1..3) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]),
        _ => 0,
    };
    let rest = content.get(3..).unwrap_or_default();
    let (state, said) = match rest.split_first() {
        Some((b'#', rest)) if rest.len() >= 5 => rest.split_at(5),
        _ => (b"HY000".as_slice(), rest),
    };
    Refusal {
        number,
        state: String::from_utf8_lossy(state).into_owned(),
        said: String::from_utf8_lossy(said).into_owned(),
    }
}

/// Whether an OK packet says that more follows: after rows changed and the last key made comes the status.
pub(crate) fn more_after_ok(content: &[u8]) -> Result<bool, Error> {
    let mut reader = Reader::new(content.get(1..).unwrap_or_default());
    reader.length()?;
    reader.length()?;
    Ok(reader.number()? & MORE_RESULTS != 0)
}

/// Whether the end of rows says that more follows: after the number of warnings comes the status.
pub(crate) fn more_after_end(content: &[u8]) -> Result<bool, Error> {
    let mut reader = Reader::new(content.get(1..).unwrap_or_default());
    reader.number()?;
    Ok(reader.number()? & MORE_RESULTS != 0)
}

/// Reads values out of a packet's content.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| Error::Protocol("a packet ends too early".to_owned()))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Bytes up to a zero, which is passed over, or to the end.
    pub(crate) fn until_zero(&mut self) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| *byte == 0);
        let bytes = &self.rest[..end.unwrap_or(self.rest.len())];
        self.rest = &self.rest[(bytes.len() + 1).min(self.rest.len())..];
        bytes
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub(crate) fn number(&mut self) -> Result<u16, Error> {
        self.bytes(2)
            .map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// A number as short as it can be; `None` stands for NULL.
    pub(crate) fn length(&mut self) -> Result<Option<usize>, Error> {
        let width = match self.byte()? {
            0xfb => return Ok(None),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            small => return Ok(Some(usize::from(small))),
        };
        let bytes = self.bytes(width)?.iter().rev();
        Ok(Some(
            bytes.fold(0, |number, byte| number << 8 | usize::from(*byte)),
        ))
    }

    /// A text with its length before it. What is no UTF-8, such as a blob, is read as near as it comes.
    pub(crate) fn text(&mut self) -> Result<Option<String>, Error> {
        match self.length()? {
            Some(length) => {
                let bytes = self.bytes(length)?;
                Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
            }
            None => Ok(None),
        }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written, to be read again.
    #[derive(Clone, Default)]
    struct Loop(Arc<Mutex<Vec<u8>>>);

    impl Read for Loop {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut held = self.0.lock().unwrap();
            let count = buffer.len().min(held.len());
            buffer[..count].copy_from_slice(&held[..count]);
            held.drain(..count);
            Ok(count)
        }
    }

    impl Write for Loop {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn content_of_any_length_is_read_as_it_was_written() {
        for length in [0, LONGEST - 4, LONGEST - 3, LONGEST] {
            let held = Loop::default();
            let mut channel = Channel::new(held.clone());
            let mut content = vec![7; length];
            content.extend([1, 2, 3]);
            channel.write(&content).unwrap();
            assert!(channel.read().unwrap() == content, "{length} bytes");
            assert!(held.0.lock().unwrap().is_empty(), "{length} bytes");
        }
    }

    #[test]
    fn lengths_are_read_in_each_of_their_widths() {
        let read = |bytes: &[u8]| Reader::new(bytes).length().unwrap();
        assert_eq!(read(&[0xfa]), Some(250));
        assert_eq!(read(&[0xfb]), None);
        assert_eq!(read(&[0xfc, 0x01, 0x02]), Some(0x0201));
        assert_eq!(read(&[0xfd, 0x01, 0x02, 0x03]), Some(0x03_0201));
        assert_eq!(read(&[0xfe, 1, 0, 0, 0, 0, 0, 0, 0]), Some(1));
        assert!(Reader::new(&[0xfc, 0x01]).length().is_err());
    }

    #[test]
    fn a_refusal_tells_number_state_and_words() {
        let told = refusal(b"\xff\x15\x04#28000Access denied");
        assert_eq!((told.number, told.state.as_str()), (1045, "28000"));
        assert_eq!(told.said, "Access denied");
        assert!(told.is_of_a_login());
        let early = refusal(b"\xff\x10\x04Too many connections");
        assert_eq!((early.number, early.state.as_str()), (1040, "HY000"));
        assert!(!early.is_of_a_login());
    }
}
