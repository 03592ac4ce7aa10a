//! The MAC of a PKCS#12 file, which also tells whether the password is right.

use aws_lc_rs::constant_time;
use aws_lc_rs::hmac;

use super::cipher::{Pbkdf2, algorithms};
use super::kdf::{Hash, Purpose};
use super::{Failed, utf8_password};
use crate::context::Context;
use crate::der::oid;
use crate::der::unmarshal::{Field, Value};
use crate::failure::Result;
use crate::keys::parse;

/// A MAC and how it is made.
pub(super) struct Mac<'a> {
    algorithm: &'a [u8],
    parameters: &'a [u8],
    digest: &'a [u8],
    salt: &'a [u8],
    iterations: i64,
}

impl<'a> Mac<'a> {
    pub(super) fn read(value: &Value<'a>) -> Result<Self> {
        let mut fields = value.fields();
        let info = fields.field(&Field::structure("digestInfo"))?;
        let mut info = info.fields();
        let (algorithm, parameters) = parse::algorithm(&mut info)?;
        let digest = info.field(&Field::OCTETS)?.contents;
        let salt = fields.field(&Field::OCTETS)?.contents;
        let iterations = fields.optional(&Field::INTEGER.optional())?;
        let iterations = iterations.map(|value| value.int()).transpose()?;
        Ok(Self {
            algorithm,
            parameters,
            digest,
            salt,
            iterations: iterations.unwrap_or(1),
        })
    }

    /// Whether the message's MAC under the password, encoded as UTF-16, is this one.
    pub(super) fn verify(
        &self,
        cx: &mut Context,
        message: &[u8],
        password: &[u8],
    ) -> Result<bool, Failed> {
        cx.work(message.len() as u64 / 64)?;
        let tag = match (self.algorithm, Hash::from_oid(self.algorithm)) {
            (oid::PBMAC1, _) => self.pbmac1(cx, message, &utf8_password(password))?,
            (_, Some(hash)) => {
                let (salt, count) = (self.salt, self.iterations);
                let key = hash.pkcs12(cx, password, salt, count, Purpose::Mac, hash.size())?;
                hash.hmac(&key, message)
            }
            (unknown, None) => {
                return Err(Failed::plain(format!(
                    "MAC digest algorithm not supported: {}",
                    oid::dotted(unknown)
                )));
            }
        };
        Ok(constant_time::verify_slices_are_equal(self.digest, tag.as_ref()).is_ok())
    }

    /// RFC 9579: everything but the digest is in the algorithm's parameters.
    fn pbmac1(
        &self,
        cx: &mut Context,
        message: &[u8],
        password: &[u8],
    ) -> Result<hmac::Tag, Failed> {
        let ((kdf, kdf_parameters), (mac, _)) = algorithms(self.parameters, "pbmac1Params")
            .map_err(|failure| failure.within("error decoding PBMAC1 parameters: "))?;
        if kdf != oid::PBKDF2 {
            return Err(Failed::plain(format!(
                "PBMAC1 KDF algorithm {} is not supported",
                oid::dotted(kdf)
            )));
        }
        let kdf = Pbkdf2::read(kdf_parameters)?;
        if !kdf.salt_is_octets {
            return Err(Failed::plain(
                "only octet string salts are supported for PBMAC1/PBKDF2",
            ));
        }
        let prf = kdf.hash("PBMAC1 PRF")?;
        let Some(hash) = Hash::from_hmac_oid(mac) else {
            return Err(Failed::plain(format!(
                "PBMAC1 MAC algorithm {} is not supported",
                oid::dotted(mac)
            )));
        };
        let Some(length) = usize::try_from(kdf.length)
            .ok()
            .filter(|length| *length > 0)
        else {
            return Err(Failed::plain(
                "PBMAC1 requires explicit KeyLength parameter in PBKDF2 parameters",
            ));
        };
        let key = prf.pbkdf2(cx, password, kdf.salt, kdf.iterations, length)?;
        Ok(hash.hmac(&key, message))
    }
}
