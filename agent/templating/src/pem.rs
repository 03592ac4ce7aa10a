//! PEM as Go's `encoding/pem` reads and writes it.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::radix64::{self, Alphabet};

/// What opens a block, at the begin of a line.
const BEGIN: &[u8] = b"-----BEGIN ";
/// What closes a block, with the end of the line before.
const END: &[u8] = b"\n-----END ";
/// What ends the first and the last line.
const DASHES: &[u8] = b"-----";
/// Columns of the lines that are written.
const COLUMNS: usize = 64;
/// The header that is written first.
const PROC_TYPE: &[u8] = b"Proc-Type";

/// One block.
pub(crate) struct Block {
    /// The words between `BEGIN` and the dashes.
    pub(crate) kind: Vec<u8>,
    /// Lines with a colon before the body.
    headers: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The body.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

/// Where in `rest` the last line of a block stands. Offsets may point before `rest` once lines were taken from it.
struct Place<'a> {
    rest: &'a [u8],
    /// Of [`END`].
    end: isize,
    /// Of what follows [`END`].
    trailer: isize,
}

/// The next block and what follows it; all of `data` if there is none.
///
/// A broken block (no last line, another word in it, a body that is no base64) is passed over.
pub(crate) fn decode(data: &[u8]) -> (Option<Block>, &[u8]) {
    let mut place = Place {
        rest: data,
        end: 0,
        trailer: 0,
    };
    while place.find() {
        match place.block() {
            Attempt::Block(block, rest) => return (Some(block), rest),
            Attempt::Broken => {}
            Attempt::Ended => break,
        }
    }
    (None, data)
}

/// Writes a block without headers.
pub(crate) fn encode(kind: &str, bytes: &[u8], out: &mut Vec<u8>) {
    write(kind.as_bytes(), &BTreeMap::new(), bytes, out);
}

/// The length of what [`encode`] appends, for paying.
pub(crate) fn encoded_length(kind: &str, bytes: usize) -> usize {
    let body = radix64::encoded_length(bytes);
    body + body.div_ceil(COLUMNS) + 2 * kind.len() + 32
}

fn write(kind: &[u8], headers: &BTreeMap<Vec<u8>, Vec<u8>>, bytes: &[u8], out: &mut Vec<u8>) {
    let mut line = |parts: &[&[u8]]| {
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.push(b'\n');
    };
    line(&[BEGIN, kind, DASHES]);
    if let Some(value) = headers.get(PROC_TYPE) {
        line(&[PROC_TYPE, b": ", value]);
    }
    for (name, value) in headers.iter().filter(|(name, _)| *name != PROC_TYPE) {
        line(&[name, b": ", value]);
    }
    if !headers.is_empty() {
        line(&[]);
    }
    let body = Zeroizing::new(radix64::encode(bytes));
    body.chunks(COLUMNS).for_each(|chunk| line(&[chunk]));
    line(&[END.trim_ascii_start(), kind, DASHES]);
}

// === impl Block ===

impl Block {
    /// Writes the block, headers by name.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        write(&self.kind, &self.headers, &self.bytes, out);
    }
}

// === impl Place ===

/// What came of one attempt to read a block.
enum Attempt<'a> {
    Block(Block, &'a [u8]),
    /// Another may follow.
    Broken,
    /// None can follow.
    Ended,
}

impl<'a> Place<'a> {
    /// Goes past the last line that was looked at, to the next one that is preceded by a first line.
    fn find(&mut self) -> bool {
        loop {
            let Some(rest) = tail(self.rest, self.trailer) else {
                return false;
            };
            let Some(end) = find(rest, END) else {
                return false;
            };
            self.rest = rest;
            self.end = signed(end);
            self.trailer = signed(end + END.len());
            let before = rest.get(..end).unwrap_or_default();
            // The last first line before the last line: earlier ones have no last line of their own.
            let Some(begin) = rfind(before, BEGIN) else {
                continue;
            };
            if begin == 0 || rest.get(begin - 1) == Some(&b'\n') {
                self.skip(begin + BEGIN.len());
                return true;
            }
        }
    }

    /// Drops `count` bytes from the front.
    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
        self.end -= signed(count);
        self.trailer -= signed(count);
    }

    /// Reads the block whose first line's words are at the front.
    fn block(&mut self) -> Attempt<'a> {
        let (words, consumed) = line(self.rest);
        self.skip(consumed);
        let Some(kind) = words.strip_suffix(DASHES) else {
            return Attempt::Broken;
        };
        let Some(headers) = self.headers() else {
            return Attempt::Ended;
        };
        if !headers.is_empty() && self.end < 0 {
            return Attempt::Broken;
        }
        if !self.trailer_fits(kind) {
            return Attempt::Broken;
        }
        let Some(bytes) = self.body() else {
            return Attempt::Broken;
        };
        let block = Block {
            kind: kind.to_vec(),
            headers,
            bytes,
        };
        // An empty block's last line is found by the end of the first, which has been dropped.
        let last = tail(self.rest, self.end + signed(END.len()) - 1).unwrap_or_default();
        let (_, consumed) = line(last);
        Attempt::Block(block, last.get(consumed..).unwrap_or_default())
    }

    /// Lines with a colon. `None` if they run to the end of the input.
    fn headers(&mut self) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut headers = BTreeMap::new();
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let (words, consumed) = line(self.rest);
            let Some(colon) = words.iter().position(|byte| *byte == b':') else {
                return Some(headers);
            };
            let (name, value) = words.split_at(colon);
            let value = value.get(1..).unwrap_or_default();
            headers.insert(trim(name).to_vec(), trim(value).to_vec());
            self.skip(consumed);
        }
    }

    /// Whether the last line says `kind` and nothing more.
    fn trailer_fits(&self, kind: &[u8]) -> bool {
        tail(self.rest, self.trailer)
            .and_then(|trailer| trailer.strip_prefix(kind))
            .and_then(|trailer| trailer.strip_prefix(DASHES))
            .is_some_and(|trailer| line(trailer).0.is_empty())
    }

    fn body(&self) -> Option<Zeroizing<Vec<u8>>> {
        let end = usize::try_from(self.end).unwrap_or(0);
        let body = self.rest.get(..end)?;
        if !body.iter().any(|byte| matches!(byte, b' ' | b'\t')) {
            return radix64::decode(Alphabet::Standard, body).ok();
        }
        let mut dense = Zeroizing::new(Vec::with_capacity(body.len()));
        dense.extend(body.iter().filter(|byte| !matches!(byte, b' ' | b'\t')));
        radix64::decode(Alphabet::Standard, &dense).ok()
    }
}

/// The first line without its end and without blanks before it, and how many bytes it takes.
fn line(data: &[u8]) -> (&[u8], usize) {
    let (mut line, consumed) = match data.iter().position(|byte| *byte == b'\n') {
        None => (data, data.len()),
        Some(end) => {
            let line = data.get(..end).unwrap_or_default();
            (line.strip_suffix(b"\r").unwrap_or(line), end + 1)
        }
    };
    while let [start @ .., b' ' | b'\t'] = line {
        line = start;
    }
    (line, consumed)
}

/// What follows `offset`; `None` outside of `data`.
fn tail(data: &[u8], offset: isize) -> Option<&[u8]> {
    data.get(usize::try_from(offset).ok()?..)
}

/// Lengths of slices fit.
fn signed(length: usize) -> isize {
    isize::try_from(length).unwrap_or(isize::MAX)
}

fn find(data: &[u8], pattern: &[u8]) -> Option<usize> {
    data.windows(pattern.len())
        .position(|window| window == pattern)
}

fn rfind(data: &[u8], pattern: &[u8]) -> Option<usize> {
    data.windows(pattern.len())
        .rposition(|window| window == pattern)
}

/// Go's `bytes.TrimSpace`.
fn trim(bytes: &[u8]) -> &[u8] {
    let leading = match bytes.utf8_chunks().next() {
        Some(chunk) => chunk.valid().len() - chunk.valid().trim_start().len(),
        None => 0,
    };
    let bytes = bytes.get(leading..).unwrap_or_default();
    let trailing = match bytes.utf8_chunks().last() {
        Some(chunk) if chunk.invalid().is_empty() => {
            chunk.valid().len() - chunk.valid().trim_end().len()
        }
        _ => 0,
    };
    bytes.get(..bytes.len() - trailing).unwrap_or_default()
}

#[cfg(test)]
mod tests;
