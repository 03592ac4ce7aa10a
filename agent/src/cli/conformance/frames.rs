//! Just enough of HTTP/2 (RFC 9113) to do what a good client never does: break off, ping too often, look at single frames.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a client says first (RFC 9113 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest payload that is read, in bytes: the size that nobody must announce to send.
const MAX_PAYLOAD: usize = 16 * 1024;

/// Bytes before each payload.
const HEADER: usize = 9;

/// Types of frames (RFC 9113 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
}

/// Flags of frames.
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its type, of [`kind`].
    pub(crate) kind: u8,
    /// Its flags, of [`flag`].
    pub(crate) flags: u8,
    /// Its stream; 0 is the connection.
    pub(crate) stream: u32,
    /// Its content.
    pub(crate) payload: Vec<u8>,
}

/// Reads frames.
pub(crate) struct FrameReader<S> {
    stream: S,
    buffer: Vec<u8>,
}

// === impl Frame ===

impl Frame {
    /// A frame of the connection.
    pub(crate) fn connection(kind: u8, flags: u8, payload: &[u8]) -> Self {
        Self {
            kind,
            flags,
            stream: 0,
            payload: payload.to_vec(),
        }
    }

    /// Its bytes. The payload must be shorter than 16 MiB.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// What must be answered at once, and how: settings and pings.
    pub(crate) fn acknowledgement(&self) -> Option<Self> {
        let payload = match self.kind {
            kind::SETTINGS => &[][..],
            kind::PING => &self.payload,
            _ => return None,
        };
        (self.flags & flag::ACK == 0).then(|| Self::connection(self.kind, flag::ACK, payload))
    }

    /// Code and text of a GOAWAY.
    pub(crate) fn goaway(&self) -> Option<(u32, String)> {
        if self.kind != kind::GOAWAY {
            return None;
        }
        let code = self.payload.get(4..8)?.try_into().ok()?;
        let text = String::from_utf8_lossy(self.payload.get(8..)?).into_owned();
        Some((u32::from_be_bytes(code), text))
    }

    /// Takes the first frame out of `buffer`, if it is whole.
    fn take(buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let Some(&[a, b, c, kind, flags, w, x, y, z]) = buffer.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if length > MAX_PAYLOAD {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a frame is larger than it may be",
            ));
        }
        let Some(payload) = buffer.get(HEADER..HEADER + length) else {
            return Ok(None);
        };
        let frame = Self {
            kind,
            flags,
            stream: u32::from_be_bytes([w, x, y, z]) & 0x7fff_ffff,
            payload: payload.to_vec(),
        };
        buffer.drain(..HEADER + length);
        Ok(Some(frame))
    }
}

// === impl FrameReader ===

impl<S: AsyncRead + Unpin> FrameReader<S> {
    /// Reads from `stream`.
    pub(crate) const fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if the connection broke or what came is no frame.
    ///
    /// # Cancel safety
    ///
    /// What was read before stays for the next call.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = Frame::take(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk).await?;
            if count == 0 {
                return Ok(None);
            }
            self.buffer.extend(&chunk[..count]);
        }
    }

    /// Reads the preface of a client, which comes before its first frame.
    #[cfg(test)]
    pub(crate) async fn preface(&mut self) -> io::Result<bool> {
        let mut preface = [0; PREFACE.len()];
        self.stream.read_exact(&mut preface).await?;
        Ok(preface == PREFACE)
    }
}

/// Headers, each written in full (RFC 7541 6.2.2): no table, no Huffman code.
pub(crate) fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 5.1).
fn integer(mut number: usize, block: &mut Vec<u8>) {
    const PREFIX: usize = 127;
    let low = |number: usize| u8::try_from(number & 127).unwrap_or_default();
    if number < PREFIX {
        block.push(low(number));
        return;
    }
    block.push(127);
    number -= PREFIX;
    while number >= 128 {
        block.push(low(number) | 128);
        number >>= 7;
    }
    block.push(low(number));
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn frames_are_read_as_they_are_written_however_they_are_cut() {
        let frames = [
            Frame::connection(kind::SETTINGS, 0, &[]),
            Frame::connection(kind::PING, flag::ACK, &[1; 8]),
            Frame {
                kind: kind::DATA,
                flags: flag::END_STREAM,
                stream: 3,
                payload: vec![7; 1000],
            },
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        for size in [1, 2, 9, 10, 5000] {
            let (mut writer, stream) = tokio::io::duplex(size);
            let bytes = bytes.clone();
            tokio::spawn(async move { writer.write_all(&bytes).await });
            let mut reader = FrameReader::new(stream);
            for frame in &frames {
                assert_eq!(reader.next().await.unwrap().as_ref(), Some(frame), "{size}");
            }
            assert_eq!(reader.next().await.unwrap(), None);
        }
        let mut reader = FrameReader::new(&[0xff; 20][..]);
        assert!(reader.next().await.is_err());
    }

    #[test]
    fn a_goaway_tells_code_and_text() {
        let frame = Frame::connection(kind::GOAWAY, 0, b"\0\0\0\x01\0\0\0\x0btoo_many_pings");
        assert_eq!(frame.goaway(), Some((11, "too_many_pings".into())));
        assert_eq!(Frame::connection(kind::GOAWAY, 0, b"\0").goaway(), None);
        assert_eq!(Frame::connection(kind::PING, 0, &[0; 9]).goaway(), None);
    }

    #[test]
    fn only_questions_are_acknowledged() {
        let ping = Frame::connection(kind::PING, 0, &[5; 8]);
        let answer = ping.acknowledgement().unwrap();
        assert_eq!(answer, Frame::connection(kind::PING, flag::ACK, &[5; 8]));
        assert_eq!(answer.acknowledgement(), None);
        let settings = Frame::connection(kind::SETTINGS, 0, &[9; 6]);
        assert!(settings.acknowledgement().unwrap().payload.is_empty());
        assert_eq!(
            Frame::connection(kind::GOAWAY, 0, &[]).acknowledgement(),
            None
        );
    }

    #[test]
    fn lengths_of_headers_are_written_with_their_prefix() {
        assert_eq!(headers(&[("a", "bc")]), b"\x00\x01a\x02bc");
        let long = headers(&[("a", &"x".repeat(300))]);
        // 300 - 127 = 173 = 0b1010_1101: seven bits at a time, the lowest first.
        assert_eq!(&long[..6], &[0, 1, b'a', 127, 0xad, 1]);
    }
}
