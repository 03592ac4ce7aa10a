//! Password hashes and derived passwords.

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use scrypt::Params;
use zeroize::Zeroizing;

use super::super::{int, text};
use super::random;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::radix64;
use crate::value::Value;

/// The cost of sprig's bcrypt hashes.
const COST: u32 = 10;
/// Bytes of the longest password that bcrypt looks at.
const LONGEST: usize = 72;

/// `bcrypt`: the text of a failure is a result.
pub(super) fn bcrypt(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let hash = hash(cx, text(arguments, 0)?.bytes())?;
    cx.text(hash)
}

/// `htpasswd`: a user with a colon is a result.
pub(super) fn htpasswd(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let user = text(arguments, 0)?.bytes();
    let password = text(arguments, 1)?.bytes();
    if user.contains(&b':') {
        return cx.text([b"invalid username: ", user].concat());
    }
    if text(arguments, 2)?.bytes() == b"sha" {
        cx.allocate(password.len())?;
        let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password);
        return cx.text([user, b":{SHA}", &radix64::encode(sum.as_ref())].concat());
    }
    let hash = hash(cx, password)?;
    cx.text([user, b":", hash.as_bytes()].concat())
}

/// A bcrypt hash as Go writes it, or Go's complaint.
fn hash(cx: &mut Context, password: &[u8]) -> Result<String> {
    if password.len() > LONGEST {
        return Ok(
            "failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes"
                .to_owned(),
        );
    }
    cx.cryptography(1)?;
    // The algorithm hashes the terminating zero too, unless there is no room for it.
    let mut terminated = Zeroizing::new([0; LONGEST]);
    for (byte, given) in terminated.iter_mut().zip(password) {
        *byte = *given;
    }
    let terminated = terminated
        .get(..(password.len() + 1).min(LONGEST))
        .unwrap_or_default();
    let salt: [u8; 16] = random()?;
    let sum = bcrypt::bcrypt(COST, salt, terminated);
    let encode = |bytes: &[u8]| bcrypt::BASE_64.encode(bytes);
    let kept = sum.get(..23).unwrap_or_default();
    Ok(format!("$2a${COST}${}{}", encode(&salt), encode(kept)))
}

/// What every salt of the Master Password algorithm begins with.
const SCOPE: &[u8] = b"com.lyndir.masterpassword";

/// `derivePassword`: the Master Password algorithm, version 1.
pub(super) fn derive(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let counter = u32::try_from(int(arguments, 0)?).map_err(|_| Failure::unexpected_type())?;
    let kind = text(arguments, 1)?.bytes();
    let master = text(arguments, 2)?.bytes();
    let user = text(arguments, 3)?.bytes();
    let site = text(arguments, 4)?.bytes();
    let templates = templates(kind);
    if templates.is_empty() {
        return cx.text([b"cannot find password template ", kind].concat());
    }
    // 32 MiB of scratch and some 170 ms.
    cx.cryptography(2)?;
    cx.allocate(master.len() + user.len() + site.len())?;
    let salt = [SCOPE, &length(user), user].concat();
    let mut key = Zeroizing::new([0; 64]);
    let failed = || Failure::plain("failed to derive password");
    let parameters = Params::new(15, 8, 2).map_err(|_| failed())?;
    scrypt::scrypt(master, &salt, &parameters, key.as_mut_slice()).map_err(|_| failed())?;
    let message = Zeroizing::new([SCOPE, &length(site), site, &counter.to_be_bytes()].concat());
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()), &message);
    let mut seed = tag.as_ref().iter().map(|byte| usize::from(*byte));
    let template = seed
        .next()
        .and_then(|first| templates.get(first % templates.len()))
        .ok_or_else(failed)?;
    let characters = template.bytes().zip(seed).filter_map(|(class, number)| {
        let class = class_of(class);
        class.get(number % class.len().max(1)).copied()
    });
    cx.text(characters.collect::<Vec<u8>>())
}

/// As the algorithm writes it: four bytes, in bytes of the text.
fn length(text: &[u8]) -> [u8; 4] {
    (text.len() as u32).to_be_bytes()
}

/// The shapes of a password of a type; none for an unknown type.
fn templates(kind: &[u8]) -> &'static [&'static str] {
    match kind {
        b"maximum" => &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"],
        b"long" => &[
            "CvcvnoCvcvCvcv",
            "CvcvCvcvnoCvcv",
            "CvcvCvcvCvcvno",
            "CvccnoCvcvCvcv",
            "CvccCvcvnoCvcv",
            "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv",
            "CvcvCvccnoCvcv",
            "CvcvCvccCvcvno",
            "CvcvnoCvcvCvcc",
            "CvcvCvcvnoCvcc",
            "CvcvCvcvCvccno",
            "CvccnoCvccCvcv",
            "CvccCvccnoCvcv",
            "CvccCvccCvcvno",
            "CvcvnoCvccCvcc",
            "CvcvCvccnoCvcc",
            "CvcvCvccCvccno",
            "CvccnoCvcvCvcc",
            "CvccCvcvnoCvcc",
            "CvccCvcvCvccno",
        ],
        b"medium" => &["CvcnoCvc", "CvcCvcno"],
        b"short" => &["Cvcn"],
        b"basic" => &["aaanaaan", "aannaaan", "aaannaaa"],
        b"pin" => &["nnnn"],
        _ => &[],
    }
}

/// The characters of a class.
fn class_of(letter: u8) -> &'static [u8] {
    match letter {
        b'V' => b"AEIOU",
        b'C' => b"BCDFGHJKLMNPQRSTVWXYZ",
        b'v' => b"aeiou",
        b'c' => b"bcdfghjklmnpqrstvwxyz",
        b'a' => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
        b'n' => b"0123456789",
        b'o' => b"@&%?,=[]_:-+*$#!'^~;()/.",
        b'x' => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
        _ => b"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_of_a_template_is_a_class() {
        for kind in ["maximum", "long", "medium", "short", "basic", "pin"] {
            for template in templates(kind.as_bytes()) {
                assert!(template.bytes().all(|letter| !class_of(letter).is_empty()));
            }
        }
        assert!(templates(b"Long").is_empty());
    }
}
