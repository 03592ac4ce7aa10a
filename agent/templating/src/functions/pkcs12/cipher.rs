//! The ciphers of PKCS#12 files.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use cbc::Decryptor;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, InnerIvInit, KeyInit};
use des::TdesEde3;
use rc2::Rc2;
use zeroize::Zeroizing;

use super::kdf::{Hash, Purpose};
use super::{Failed, read, utf8_password};
use crate::context::Context;
use crate::der::oid;
use crate::der::unmarshal::{Field, Sequence};
use crate::failure::{Failure, Result};
use crate::keys::parse;

/// Bytes of AES blocks and vectors.
const AES_BLOCK: usize = 16;

/// A cipher with its key and vector.
enum Cipher {
    Aes(Zeroizing<Vec<u8>>, [u8; AES_BLOCK]),
    TripleDes(Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>),
    Rc2(Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>),
}

/// Decrypts under a password and takes the padding off.
pub(super) fn decrypt(
    cx: &mut Context,
    (algorithm, parameters): (&[u8], &[u8]),
    encrypted: &[u8],
    password: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let cipher = Cipher::new(cx, algorithm, parameters, password)?;
    if encrypted.is_empty() {
        return Err(Failed::plain("empty encrypted data"));
    }
    if !encrypted.len().is_multiple_of(cipher.block()) {
        return Err(Failed::plain("input is not a multiple of the block size"));
    }
    cx.allocate(encrypted.len())?;
    let mut data = Zeroizing::new(encrypted.to_vec());
    cipher.decrypt(&mut data)?;
    let padding = data.last().copied().unwrap_or(0);
    let length = usize::from(padding);
    let fits = (1..=cipher.block()).contains(&length)
        && data.iter().rev().take(length).all(|byte| *byte == padding);
    if !fits {
        return Err(Failed::plain("decryption error, incorrect padding"));
    }
    let end = data.len() - length;
    data.truncate(end);
    Ok(data)
}

/// Pads and encrypts with AES-256-CBC.
pub(super) fn encrypt(
    plain: &[u8],
    key: &[u8],
    vector: [u8; AES_BLOCK],
) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let padding = AES_BLOCK - plain.len() % AES_BLOCK;
    let mut data = Zeroizing::new(Vec::with_capacity(plain.len() + padding));
    data.extend_from_slice(plain);
    data.extend(std::iter::repeat_n(padding as u8, padding));
    let context = EncryptionContext::Iv128(FixedLength::from(vector));
    UnboundCipherKey::new(&AES_256, key)
        .and_then(EncryptingKey::cbc)
        .and_then(|key| key.less_safe_encrypt(&mut data, context))
        .map_err(|_| Failed::plain("AES failed"))?;
    Ok(data)
}

// === impl Cipher ===

impl Cipher {
    /// The cipher that an AlgorithmIdentifier names.
    fn new(
        cx: &mut Context,
        algorithm: &[u8],
        parameters: &[u8],
        password: &[u8],
    ) -> Result<Self, Failed> {
        let (key, block) = match algorithm {
            oid::PBE_SHA_3DES => (24, 8),
            oid::PBE_SHA_RC2_128 => (16, 8),
            oid::PBE_SHA_RC2_40 => (5, 8),
            oid::PBES2 => return Self::pbes2(cx, parameters, &utf8_password(password)),
            unknown => {
                return Err(Failed::plain(format!(
                    "pbe algorithm {} is not supported",
                    oid::dotted(unknown)
                )));
            }
        };
        let (salt, count) = read::whole(parameters, &Field::structure("pbeParams"), |value| {
            let mut fields = value.fields();
            let salt = fields.field(&Field::OCTETS)?.contents;
            Ok((salt, fields.field(&Field::INTEGER)?.int()?))
        })?;
        let key = Hash::Sha1.pkcs12(cx, password, salt, count, Purpose::Key, key)?;
        let vector = Hash::Sha1.pkcs12(cx, password, salt, count, Purpose::Vector, block)?;
        Ok(match algorithm {
            oid::PBE_SHA_3DES => Self::TripleDes(key, vector),
            _ => Self::Rc2(key, vector),
        })
    }

    fn pbes2(cx: &mut Context, parameters: &[u8], password: &[u8]) -> Result<Self, Failed> {
        let ((kdf, kdf_parameters), (scheme, scheme_parameters)) =
            algorithms(parameters, "pbes2Params")?;
        if kdf != oid::PBKDF2 {
            return Err(Failed::plain(format!(
                "pbes2 kdf algorithm {} is not supported",
                oid::dotted(kdf)
            )));
        }
        let kdf = Pbkdf2::read(kdf_parameters)?;
        if !kdf.salt_is_octets {
            return Err(Failed::plain(
                "only octet string salts are supported for pbes2/pbkdf2",
            ));
        }
        let hash = kdf.hash("pbes2 prf")?;
        let length = match scheme {
            oid::AES_256_CBC => 32,
            oid::AES_192_CBC => 24,
            oid::AES_128_CBC => 16,
            unknown => {
                return Err(Failed::plain(format!(
                    "pbes2 algorithm {} is not supported",
                    oid::dotted(unknown)
                )));
            }
        };
        let key = hash.pbkdf2(cx, password, kdf.salt, kdf.iterations, length)?;
        let vector = vector(scheme_parameters).ok_or_else(|| {
            Failed::Panic(Failure::plain(
                "cipher.NewCBCDecrypter: IV length must equal block size",
            ))
        })?;
        Ok(Self::Aes(key, vector))
    }

    fn block(&self) -> usize {
        match self {
            Self::Aes(..) => AES_BLOCK,
            Self::TripleDes(..) | Self::Rc2(..) => 8,
        }
    }

    fn decrypt(&self, data: &mut [u8]) -> Result<(), Failed> {
        let failed = || Failed::plain("decryption failed");
        match self {
            Self::Aes(key, vector) => {
                let algorithm = match key.len() {
                    16 => &AES_128,
                    24 => &AES_192,
                    _ => &AES_256,
                };
                let context = DecryptionContext::Iv128(FixedLength::from(vector));
                UnboundCipherKey::new(algorithm, key)
                    .and_then(DecryptingKey::cbc)
                    .and_then(|key| key.decrypt(data, context).map(drop))
                    .map_err(|_| failed())
            }
            Self::TripleDes(key, vector) => {
                let cipher = TdesEde3::new_from_slice(key).map_err(|_| failed())?;
                decrypt_blocks(cipher, vector, data)
            }
            Self::Rc2(key, vector) => {
                let cipher = Rc2::new_with_eff_key_len(key, key.len() * 8);
                decrypt_blocks(cipher, vector, data)
            }
        }
    }
}

fn decrypt_blocks<C: BlockCipherDecrypt>(
    cipher: C,
    vector: &[u8],
    data: &mut [u8],
) -> Result<(), Failed> {
    let failed = || Failed::plain("decryption failed");
    Decryptor::inner_iv_slice_init(cipher, vector)
        .map_err(|_| failed())?
        .decrypt_padded::<NoPadding>(data)
        .map_err(|_| failed())?;
    Ok(())
}

/// The contents of the element that holds a vector; none if it is of another length. No parameters are an empty vector.
fn vector(parameters: &[u8]) -> Option<[u8; AES_BLOCK]> {
    let value = Sequence::new(parameters).field(&Field::ANY).ok()?;
    value.contents.try_into().ok()
}

/// Identifier and encoded parameters.
pub(super) type Algorithm<'a> = (&'a [u8], &'a [u8]);

/// The two algorithms of PBES2's or PBMAC1's parameters.
pub(super) fn algorithms<'a>(
    parameters: &'a [u8],
    name: &'static str,
) -> Result<(Algorithm<'a>, Algorithm<'a>)> {
    read::whole(parameters, &Field::structure(name), |value| {
        let mut fields = value.fields();
        let first = parse::algorithm(&mut fields)?;
        Ok((first, parse::algorithm(&mut fields)?))
    })
}

/// PBKDF2's parameters.
pub(super) struct Pbkdf2<'a> {
    pub(super) salt: &'a [u8],
    pub(super) salt_is_octets: bool,
    pub(super) iterations: i64,
    /// 0 if there is none.
    pub(super) length: i64,
    /// The identifier of the HMAC; none for that over SHA-1.
    prf: Option<&'a [u8]>,
}

impl<'a> Pbkdf2<'a> {
    pub(super) fn read(parameters: &'a [u8]) -> Result<Self, Failed> {
        let read = read::whole(parameters, &Field::structure("pbkdf2Params"), |value| {
            let mut fields = value.fields();
            let salt = fields.field(&Field::ANY)?;
            let iterations = fields.field(&Field::INTEGER)?.int()?;
            let length = fields.optional(&Field::INTEGER.optional())?;
            let length = length.map(|value| value.int()).transpose()?;
            let prf = fields.optional(&Field::structure("AlgorithmIdentifier").optional())?;
            let prf = prf.map(|value| parse::algorithm_of(&value)).transpose()?;
            Ok(Self {
                salt: salt.contents,
                salt_is_octets: salt.tag == 4,
                iterations,
                length: length.unwrap_or(0),
                prf: prf.map(|(object, _)| object),
            })
        });
        Ok(read?)
    }

    /// The hash; `what` names the function in the text for an unknown one.
    pub(super) fn hash(&self, what: &str) -> Result<Hash, Failed> {
        let Some(object) = self.prf else {
            return Ok(Hash::Sha1);
        };
        Hash::from_hmac_oid(object).ok_or_else(|| {
            Failed::plain(format!("{what} {} is not supported", oid::dotted(object)))
        })
    }
}
