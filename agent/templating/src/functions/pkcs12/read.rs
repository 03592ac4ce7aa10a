//! Reading PKCS#12 files, check by check as go-pkcs12 0.7 does.

use zeroize::Zeroizing;

use super::mac::Mac;
use super::{Failed, bmp_password, cipher};
use crate::context::Context;
use crate::der::oid;
use crate::der::unmarshal::{Field, Sequence, Value};
use crate::failure::{Failure, Result};
use crate::keys::{PrivateKey, parse};
use crate::x509;

/// Safes that a file may have.
const SAFES: std::ops::RangeInclusive<usize> = 1..=2;

/// What a key store holds.
pub(super) struct Store {
    pub(super) key: PrivateKey,
    /// In the file's order, encoded.
    pub(super) certificates: Vec<Zeroizing<Vec<u8>>>,
}

/// A PFX's parts.
struct Pfx<'a> {
    version: i64,
    content: Content<'a>,
    mac: Option<Mac<'a>>,
}

/// A ContentInfo.
struct Content<'a> {
    kind: &'a [u8],
    /// What the explicit tag holds; empty if there is none.
    contents: &'a [u8],
}

/// A SafeBag: what it is and what it holds.
struct Bag<'a> {
    kind: &'a [u8],
    contents: &'a [u8],
}

/// Reads the key and the certificates of a file.
pub(super) fn decode(cx: &mut Context, file: &[u8], password: &[u8]) -> Result<Store, Failed> {
    cx.allocate(file.len())?;
    let mut password = bmp_password(password)?;
    let pfx =
        Pfx::read(file).map_err(|failure| failure.within("pkcs12: error reading P12 data: "))?;
    if pfx.version != 3 {
        return Err(Failed::plain("can only decode v3 PFX PDU's"));
    }
    if pfx.content.kind != oid::PKCS7_DATA {
        return Err(Failed::plain("only password-protected PFX is implemented"));
    }
    let message = whole(
        pfx.content.contents,
        &Field::ANY,
        |value| Ok(value.contents),
    )?;
    authenticate(cx, &pfx, message, &mut password)?;
    let safes = safes(cx, message, &password)?;
    // Every bag of every safe is looked at before the first is opened.
    let mut bags = Vec::new();
    for safe in &safes {
        bags.extend(self::bags(cx, safe)?);
    }
    open(cx, &bags, &password)
}

/// Checks the MAC. A file without one has the empty password; an empty password is tried in two forms.
fn authenticate(
    cx: &mut Context,
    pfx: &Pfx,
    message: &[u8],
    password: &mut Zeroizing<Vec<u8>>,
) -> Result<(), Failed> {
    let is_empty = password.as_slice() == [0, 0];
    let Some(mac) = &pfx.mac else {
        if is_empty {
            return Ok(());
        }
        return Err(Failed::plain("no MAC in data"));
    };
    if mac.verify(cx, message, password)? {
        return Ok(());
    }
    if is_empty {
        password.clear();
        if mac.verify(cx, message, password)? {
            return Ok(());
        }
    }
    Err(Failed::plain("decryption password incorrect"))
}

/// The contents of every safe, decrypted.
fn safes(
    cx: &mut Context,
    message: &[u8],
    password: &[u8],
) -> Result<Vec<Zeroizing<Vec<u8>>>, Failed> {
    let contents = whole(message, &Field::SLICE, |value| {
        let field = Field::structure("contentInfo");
        let mut sequence = value.elements(&field)?;
        let mut contents = Vec::new();
        while !sequence.is_empty() {
            cx.allocate(size_of::<Content>())?;
            contents.push(Content::read(&sequence.field(&field)?)?);
        }
        Ok(contents)
    })?;
    if !SAFES.contains(&contents.len()) {
        return Err(Failed::plain(format!(
            "expected between {} and {} items in the authenticated safe, but this file has {}",
            SAFES.start(),
            SAFES.end(),
            contents.len()
        )));
    }
    let mut safes = Vec::new();
    for content in &contents {
        let safe = content.open(cx, password)?;
        // Go reads the bags of a safe before it opens the next one.
        bags(cx, &safe)?;
        safes.push(safe);
    }
    Ok(safes)
}

fn bags<'a>(cx: &mut Context, safe: &'a [u8]) -> Result<Vec<Bag<'a>>> {
    whole(safe, &Field::SLICE, |value| {
        let field = Field::structure("safeBag");
        let mut sequence = value.elements(&field)?;
        let mut bags = Vec::new();
        while !sequence.is_empty() {
            cx.allocate(size_of::<Bag>())?;
            bags.push(Bag::read(cx, &sequence.field(&field)?)?);
        }
        Ok(bags)
    })
}

fn open(cx: &mut Context, bags: &[Bag], password: &[u8]) -> Result<Store, Failed> {
    let mut key = None;
    let mut certificates = Vec::new();
    for bag in bags {
        match bag.kind {
            oid::CERTIFICATE_BAG => certificates.push(bag.certificate(cx)?),
            oid::KEY_BAG | oid::SHROUDED_KEY_BAG if key.is_some() => {
                return Err(Failed::plain("expected exactly one key bag"));
            }
            oid::KEY_BAG => key = Some(parse::pkcs8(cx, bag.contents)?),
            oid::SHROUDED_KEY_BAG => key = Some(bag.shrouded_key(cx, password)?),
            _ => {}
        }
    }
    if certificates.is_empty() {
        return Err(Failed::plain("certificate missing"));
    }
    match key {
        Some(key) => Ok(Store { key, certificates }),
        None => Err(Failed::plain("private key missing")),
    }
}

/// Reads the one element of `bytes`. Go looks into it before it complains of bytes behind it.
pub(super) fn whole<'a, T>(
    bytes: &'a [u8],
    field: &Field,
    read: impl FnOnce(Value<'a>) -> Result<T>,
) -> Result<T> {
    let mut sequence = Sequence::new(bytes);
    let read = read(sequence.field(field)?)?;
    if !sequence.is_empty() {
        return Err(Failure::plain("pkcs12: trailing data found"));
    }
    Ok(read)
}

// === impl Pfx ===

impl<'a> Pfx<'a> {
    fn read(file: &'a [u8]) -> Result<Self> {
        whole(file, &Field::structure("pfxPdu"), |value| {
            let mut fields = value.fields();
            let version = fields.field(&Field::INTEGER)?.int()?;
            let content = Content::read(&fields.field(&Field::structure("contentInfo"))?)?;
            let mac = fields.optional(&Field::structure("macData").optional())?;
            let mac = mac.map(|value| Mac::read(&value)).transpose()?;
            Ok(Self {
                version,
                content,
                mac,
            })
        })
    }
}

// === impl Content ===

impl<'a> Content<'a> {
    fn read(value: &Value<'a>) -> Result<Self> {
        let mut fields = value.fields();
        let kind = fields.field(&Field::OBJECT)?.object()?;
        let contents = fields.optional(&Field::ANY.explicit(0).optional())?;
        Ok(Self {
            kind,
            contents: contents.map_or(&[], |value| value.contents),
        })
    }

    /// The contents of a safe.
    fn open(&self, cx: &mut Context, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failed> {
        match self.kind {
            oid::PKCS7_DATA => {
                let data = whole(self.contents, &Field::OCTETS, |value| Ok(value.contents))?;
                cx.allocate(data.len())?;
                Ok(Zeroizing::new(data.to_vec()))
            }
            oid::PKCS7_ENCRYPTED_DATA => self.decrypt(cx, password),
            _ => Err(Failed::plain(
                "only data and encryptedData content types are supported in authenticated safe",
            )),
        }
    }

    fn decrypt(&self, cx: &mut Context, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failed> {
        let value = read_encrypted(self.contents)?;
        if value.version != 0 {
            return Err(Failed::plain(
                "only version 0 of EncryptedData is supported",
            ));
        }
        cipher::decrypt(cx, value.algorithm, value.data, password)
    }
}

/// An EncryptedData.
struct Encrypted<'a> {
    version: i64,
    algorithm: (&'a [u8], &'a [u8]),
    data: &'a [u8],
}

fn read_encrypted(bytes: &[u8]) -> Result<Encrypted<'_>> {
    whole(bytes, &Field::structure("encryptedData"), |value| {
        let mut fields = value.fields();
        let version = fields.field(&Field::INTEGER)?.int()?;
        let info = fields.field(&Field::structure("encryptedContentInfo"))?;
        let mut info = info.fields();
        info.field(&Field::OBJECT)?.object()?;
        let algorithm = parse::algorithm(&mut info)?;
        let data = info.optional(&Field::OCTETS.implicit(0).optional())?;
        Ok(Encrypted {
            version,
            algorithm,
            data: data.map_or(&[], |value| value.contents),
        })
    })
}

// === impl Bag ===

impl<'a> Bag<'a> {
    fn read(cx: &mut Context, value: &Value<'a>) -> Result<Self> {
        let mut fields = value.fields();
        let kind = fields.field(&Field::OBJECT)?.object()?;
        let contents = fields.field(&Field::ANY.explicit(0))?.contents;
        let attributes = fields.optional(&Field::SLICE.set().optional())?;
        if let Some(attributes) = attributes {
            let field = Field::structure("pkcs12Attribute");
            let mut attributes = attributes.elements(&field)?;
            while !attributes.is_empty() {
                cx.work(1)?;
                let mut attribute = attributes.field(&field)?.fields();
                attribute.field(&Field::OBJECT)?.object()?;
                attribute.field(&Field::ANY.set())?;
            }
        }
        Ok(Self { kind, contents })
    }

    fn certificate(&self, cx: &mut Context) -> Result<Zeroizing<Vec<u8>>, Failed> {
        let (kind, data) = read_certificate(self.contents)
            .map_err(|failure| failure.within("pkcs12: error decoding cert bag: "))?;
        if kind != oid::X509_CERTIFICATE {
            return Err(Failed::plain(
                "only X509 certificates are supported in cert bags",
            ));
        }
        let mut rest = data;
        let mut count = 0;
        while !rest.is_empty() {
            let length = x509::parse_first(cx, rest)?.raw.len();
            rest = rest.get(length..).unwrap_or_default();
            count += 1;
        }
        if count != 1 {
            return Err(Failed::plain(
                "expected exactly one certificate in the certBag",
            ));
        }
        Ok(Zeroizing::new(data.to_vec()))
    }

    fn shrouded_key(&self, cx: &mut Context, password: &[u8]) -> Result<PrivateKey, Failed> {
        let (algorithm, data) = read_shrouded(self.contents).map_err(|failure| {
            failure.within("pkcs12: error decoding PKCS#8 shrouded key bag: ")
        })?;
        let key = match cipher::decrypt(cx, algorithm, data, password) {
            Err(Failed::Error(failure)) => {
                return Err(failure
                    .within("pkcs12: error decrypting PKCS#8 shrouded key bag: ")
                    .into());
            }
            other => other?,
        };
        whole(&key, &Field::ANY, |_| Ok(())).map_err(|failure| {
            failure.within("pkcs12: error unmarshaling decrypted private key: ")
        })?;
        let key = parse::pkcs8(cx, &key)
            .map_err(|failure| failure.within("pkcs12: error parsing PKCS#8 private key: "))?;
        Ok(key)
    }
}

fn read_certificate(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    whole(bytes, &Field::structure("certBag"), |value| {
        let mut fields = value.fields();
        let kind = fields.field(&Field::OBJECT)?.object()?;
        let data = fields.field(&Field::OCTETS.explicit(0))?.contents;
        Ok((kind, data))
    })
}

type Shrouded<'a> = ((&'a [u8], &'a [u8]), &'a [u8]);

fn read_shrouded(bytes: &[u8]) -> Result<Shrouded<'_>> {
    whole(
        bytes,
        &Field::structure("encryptedPrivateKeyInfo"),
        |value| {
            let mut fields = value.fields();
            let algorithm = parse::algorithm(&mut fields)?;
            let data = fields.field(&Field::OCTETS)?.contents;
            Ok((algorithm, data))
        },
    )
}
