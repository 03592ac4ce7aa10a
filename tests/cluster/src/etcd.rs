//! Searching what is really stored: every key and value in etcd, in whatever encoding the API server wrote it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use crate::layout::ETCD_ENDPOINT;

/// Keys asked for at once.
const PAGE: usize = 200;

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<Pair>,
    #[serde(default)]
    more: bool,
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
    /// A number as text, as protobuf's JSON has all of 64 bits.
    #[serde(default)]
    version: String,
}

/// The keys of all stored objects that contain `needle`, plain or in base64 at any alignment.
///
/// Built-in objects are stored as protobuf with raw bytes, custom ones as JSON with base64 text: both are found. Works inside
/// the cluster's network only. Source: etcd v3 API, `KV.Range` through its JSON gateway.
///
/// # Errors
/// When etcd does not answer.
pub async fn keys_containing(needle: &[u8]) -> Result<Vec<String>> {
    let needles = encodings(needle);
    let client = client()?;
    let mut from = vec![0_u8];
    let mut found = Vec::new();
    loop {
        let body = json!({"key": STANDARD.encode(&from), "range_end": STANDARD.encode([0]), "limit": PAGE});
        let range = range(&client, &body).await?;
        for pair in &range.kvs {
            let (key, value) = (STANDARD.decode(&pair.key)?, STANDARD.decode(&pair.value)?);
            if needles
                .iter()
                .any(|needle| contains(&value, needle) || contains(&key, needle))
            {
                found.push(String::from_utf8_lossy(&key).into_owned());
            }
            from = key;
        }
        if !range.more || range.kvs.is_empty() {
            return Ok(found);
        }
        // The smallest key after the last one.
        from.push(0);
    }
}

/// How often each object below `prefix`, such as `/registry/secrets/default/`, was written since it was created, that included:
/// whoever wrote, and whether or not the answer reached them. By the rest of the key. Works inside the cluster's network only.
///
/// # Errors
/// When etcd does not answer.
pub async fn writes_below(prefix: &str) -> Result<BTreeMap<String, u64>> {
    // The end of the range is the first key that does not begin with the prefix.
    let mut end = prefix.as_bytes().to_vec();
    let last = end.last_mut().context("a prefix has a last byte")?;
    *last += 1;
    let body = json!({"key": STANDARD.encode(prefix), "range_end": STANDARD.encode(&end), "keys_only": true});
    let pairs = range(&client()?, &body).await?.kvs;
    let written = pairs.into_iter().map(|pair| {
        let key = String::from_utf8(STANDARD.decode(&pair.key)?)?;
        let name = key.strip_prefix(prefix).unwrap_or(&key).to_owned();
        Ok((name, pair.version.parse()?))
    });
    written.collect()
}

/// kube's client is an HTTP client with time-outs; etcd needs nothing more.
fn client() -> Result<kube::Client> {
    Ok(kube::Client::try_from(kube::Config::new(
        ETCD_ENDPOINT.parse()?,
    ))?)
}

async fn range(client: &kube::Client, body: &serde_json::Value) -> Result<Range> {
    let request = http::Request::post("/v3/kv/range")
        .header("content-type", "application/json")
        .body(serde_json::to_vec(body)?)?;
    client
        .request(request)
        .await
        .context("failed to read from etcd")
}

/// `needle` itself and the part of its base64 text that does not depend on its neighbours, for each alignment.
fn encodings(needle: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![needle.to_vec()];
    for shift in 0..3_usize {
        let mut padded = vec![0_u8; shift];
        padded.extend_from_slice(needle);
        let text = STANDARD.encode(&padded);
        let start = [0, 2, 3][shift];
        let end = padded.len() * 8 / 6;
        if end > start + 8 {
            all.push(text.as_bytes()[start..end].to_vec());
        }
    }
    all
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty()
        && haystack
            .windows(needle.len())
            .any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_in_base64_at_every_alignment() {
        let needle = b"planted-canary-value";
        let needles = encodings(needle);
        for before in 0..7_usize {
            for after in 0..7_usize {
                let stored = [vec![b'x'; before], needle.to_vec(), vec![b'y'; after]].concat();
                let text = STANDARD.encode(stored).into_bytes();
                assert!(
                    needles.iter().any(|needle| contains(&text, needle)),
                    "{before} before, {after} after"
                );
            }
        }
    }

    #[test]
    fn another_value_is_not_found() {
        let text = STANDARD.encode(b"some quite different value").into_bytes();
        assert!(
            !encodings(b"planted-canary-value")
                .iter()
                .any(|needle| contains(&text, needle))
        );
    }
}
