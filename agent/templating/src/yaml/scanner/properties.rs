//! Directives, anchors, aliases and tags.

use super::Scanner;
use crate::buffer::Buffer;
use crate::value::Text;
use crate::yaml::fault::Fault;
use crate::yaml::source::width;
use crate::yaml::token::Kind;

// === impl Scanner ===

impl Scanner<'_> {
    pub(super) fn fetch_directive(&mut self) -> Result<(), Fault> {
        self.unroll_indent(-1);
        self.forget_key()?;
        self.key_allowed = false;
        let mark = self.source.mark();
        self.source.skip();
        let name = self.directive_name()?;
        let kind = match &*name {
            b"YAML" => self.version()?,
            b"TAG" => self.tag_directive()?,
            _ => return Err(self.source.fault("found unknown directive name")),
        };
        self.finish_line()?;
        self.push(kind, mark);
        Ok(())
    }

    fn directive_name(&mut self) -> Result<Vec<u8>, Fault> {
        let name = self.word()?;
        if name.is_empty() {
            return Err(self.source.fault("could not find expected directive name"));
        }
        if !self.source.is_space() {
            let problem = "found unexpected non-alphabetical character";
            return Err(self.source.fault(problem));
        }
        Ok(name.into_vec())
    }

    /// Letters, digits, `_` and `-`.
    fn word(&mut self) -> Result<Buffer, Fault> {
        let mut word = Buffer::default();
        self.source.require(1)?;
        while self.source.is_word() {
            self.source.read(&mut word);
            self.source.require(1)?;
        }
        Ok(word)
    }

    fn skip_blanks(&mut self) -> Result<(), Fault> {
        self.source.require(1)?;
        while self.source.is_blank() {
            self.source.skip();
            self.source.require(1)?;
        }
        Ok(())
    }

    fn version(&mut self) -> Result<Kind, Fault> {
        self.skip_blanks()?;
        let major = self.version_number()?;
        if !self.source.is_at(b'.') {
            let problem = "did not find expected digit or '.' character";
            return Err(self.source.fault(problem));
        }
        self.source.skip();
        let minor = self.version_number()?;
        Ok(Kind::Version(major, minor))
    }

    /// One digit or two.
    fn version_number(&mut self) -> Result<u8, Fault> {
        self.source.require(1)?;
        let mut value = 0;
        let mut length = 0;
        while self.source.byte(0).is_ascii_digit() {
            length += 1;
            if length > 2 {
                return Err(self.source.fault("found extremely long version number"));
            }
            value = value * 10 + (self.source.byte(0) - b'0');
            self.source.skip();
            self.source.require(1)?;
        }
        if length == 0 {
            return Err(self.source.fault("did not find expected version number"));
        }
        Ok(value)
    }

    fn tag_directive(&mut self) -> Result<Kind, Fault> {
        self.skip_blanks()?;
        let handle = self.tag_handle(true)?;
        self.source.require(1)?;
        if !self.source.is_blank() {
            return Err(self.source.fault("did not find expected whitespace"));
        }
        self.skip_blanks()?;
        let prefix = self.tag_uri(&[])?;
        self.source.require(1)?;
        if !self.source.is_space() {
            let problem = "did not find expected whitespace or line break";
            return Err(self.source.fault(problem));
        }
        Ok(Kind::TagDirective(handle, prefix))
    }

    /// An alias or anchor, as `kind` makes a token of its name.
    pub(super) fn fetch_anchor(&mut self, kind: fn(Text) -> Kind) -> Result<(), Fault> {
        self.save_key()?;
        self.key_allowed = false;
        let mark = self.source.mark();
        self.source.skip();
        let name = self.word()?;
        let ends = self.source.is_space()
            || matches!(
                self.source.byte(0),
                b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`'
            );
        if name.is_empty() || !ends {
            let problem = "did not find expected alphabetic or numeric character";
            return Err(self.source.fault(problem));
        }
        self.push(kind(Text::new(name.into_vec())), mark);
        Ok(())
    }

    pub(super) fn fetch_tag(&mut self) -> Result<(), Fault> {
        self.save_key()?;
        self.key_allowed = false;
        let mark = self.source.mark();
        let kind = self.tag()?;
        self.push(kind, mark);
        Ok(())
    }

    fn tag(&mut self) -> Result<Kind, Fault> {
        self.source.require(2)?;
        let kind = if self.source.byte(1) == b'<' {
            self.source.skip();
            self.source.skip();
            let suffix = self.tag_uri(&[])?;
            if !self.source.is_at(b'>') {
                return Err(self.source.fault("did not find the expected '>'"));
            }
            self.source.skip();
            Kind::Tag(Vec::new(), suffix)
        } else {
            self.short_tag()?
        };
        self.source.require(1)?;
        if !self.source.is_space() {
            let problem = "did not find expected whitespace or line break";
            return Err(self.source.fault(problem));
        }
        Ok(kind)
    }

    /// `!suffix`, `!handle!suffix` or `!`.
    fn short_tag(&mut self) -> Result<Kind, Fault> {
        let handle = self.tag_handle(false)?;
        if handle.len() > 1 && handle.ends_with(b"!") {
            let suffix = self.tag_uri(&[])?;
            return Ok(Kind::Tag(handle, suffix));
        }
        // What looked like a handle is the beginning of the suffix.
        let suffix = self.tag_uri(&handle)?;
        if suffix.is_empty() {
            return Ok(Kind::Tag(suffix, b"!".to_vec()));
        }
        Ok(Kind::Tag(b"!".to_vec(), suffix))
    }

    fn tag_handle(&mut self, directive: bool) -> Result<Vec<u8>, Fault> {
        self.source.require(1)?;
        if !self.source.is_at(b'!') {
            return Err(self.source.fault("did not find expected '!'"));
        }
        let mut handle = Buffer::default();
        self.source.read(&mut handle);
        self.source.require(1)?;
        while self.source.is_word() {
            self.source.read(&mut handle);
            self.source.require(1)?;
        }
        if self.source.is_at(b'!') {
            self.source.read(&mut handle);
        } else if directive && &*handle != b"!" {
            return Err(self.source.fault("did not find expected '!'"));
        }
        Ok(handle.into_vec())
    }

    /// The rest of a tag behind `head`, whose `!` does not count.
    fn tag_uri(&mut self, head: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut uri = Buffer::default();
        uri.extend_from_slice(head.get(1..).unwrap_or_default());
        let mut found = !head.is_empty();
        self.source.require(1)?;
        while self.source.is_word() || is_uri(self.source.byte(0)) {
            if self.source.is_at(b'%') {
                self.uri_escape(&mut uri)?;
            } else {
                self.source.read(&mut uri);
            }
            self.source.require(1)?;
            found = true;
        }
        if !found {
            return Err(self.source.fault("did not find expected tag URI"));
        }
        Ok(uri.into_vec())
    }

    /// The escapes of one character.
    fn uri_escape(&mut self, uri: &mut Buffer) -> Result<(), Fault> {
        let mut remaining = None;
        while remaining != Some(0) {
            self.source.require(3)?;
            let octet = self.escaped_octet()?;
            remaining = Some(match remaining {
                None if !(0x80..0xc0).contains(&octet) && octet < 0xf8 => width(octet) - 1,
                None => {
                    let problem = "found an incorrect leading UTF-8 octet";
                    return Err(self.source.fault(problem));
                }
                Some(remaining) if octet & 0xc0 == 0x80 => remaining - 1,
                Some(_) => {
                    let problem = "found an incorrect trailing UTF-8 octet";
                    return Err(self.source.fault(problem));
                }
            });
            uri.push(octet);
            for _ in 0..3 {
                self.source.skip();
            }
        }
        Ok(())
    }

    fn escaped_octet(&self) -> Result<u8, Fault> {
        let digit = |offset| char::from(self.source.byte(offset)).to_digit(16);
        match (self.source.byte(0), digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => Ok(u8::try_from(high << 4 | low).unwrap_or(0)),
            _ => Err(self.source.fault("did not find URI escaped octet")),
        }
    }
}

/// Whether a byte that is no letter, digit, `_` or `-` may stand in a tag.
fn is_uri(byte: u8) -> bool {
    b";/?:@&=+$,.!~*'()[]%".contains(&byte)
}
