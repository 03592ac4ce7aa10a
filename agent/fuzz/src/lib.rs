//! What the fuzz targets of volume attributes promise (csi.md 8): the same answer twice, bounds that hold, and refusals that are one
//! line, name an attribute and give nothing away.

use std::collections::BTreeMap;

use latchkey::volumes::attributes::{DATA, EXTERNAL_SECRET, ITEMS, SECRET_STORE};
use latchkey::volumes::{Plan, Rules};
use latchkey_csi::backend::VolumeRequest;

/// Longest refusal, bytes.
const MAX_REFUSAL: usize = 2048;

/// Keys and values in turn, parted by zero bytes.
pub fn attributes(input: &[u8]) {
    let mut parts = input
        .split(|byte| *byte == 0)
        .map(|part| String::from_utf8_lossy(part).into_owned());
    let mut attributes = BTreeMap::new();
    while let Some(key) = parts.next() {
        attributes.insert(key, parts.next().unwrap_or_default());
    }
    plan(attributes);
}

/// The attribute `data`.
pub fn data(input: &[u8]) {
    let text = String::from_utf8_lossy(input).into_owned();
    plan(BTreeMap::from([
        (DATA.to_owned(), text),
        (SECRET_STORE.to_owned(), "store".to_owned()),
    ]));
}

/// The attribute `items`.
pub fn items(input: &[u8]) {
    let text = String::from_utf8_lossy(input).into_owned();
    plan(BTreeMap::from([
        (EXTERNAL_SECRET.to_owned(), "es".to_owned()),
        (ITEMS.to_owned(), text),
    ]));
}

fn plan(attributes: BTreeMap<String, String>) {
    let request = VolumeRequest {
        volume_id: "v".to_owned(),
        namespace: "n".to_owned(),
        pod_name: "p".to_owned(),
        pod_uid: "u".to_owned(),
        service_account: "s".to_owned(),
        attributes,
    };
    let rules = Rules::default();
    let answer = Plan::try_new(&request, &rules);
    assert_eq!(answer, Plan::try_new(&request, &rules), "two answers");
    match answer {
        Ok(plan) => check(&plan, &rules),
        Err(refusal) => {
            let text = refusal.to_string();
            assert!(!text.chars().any(char::is_control), "more than a line");
            assert!(text.len() <= MAX_REFUSAL, "{} bytes", text.len());
        }
    }
}

fn check(plan: &Plan, rules: &Rules) {
    let settings = plan.settings;
    assert!(
        settings
            .size_limit
            .is_some_and(|limit| limit <= rules.max_size)
    );
    assert!(settings.default_mode.is_none_or(|mode| mode <= 0o777));
    assert!(settings.uid != Some(u32::MAX) && settings.gid != Some(u32::MAX));
    let items = plan.layout.items.as_deref().unwrap_or_default();
    assert!(items.len() <= 256, "{} items", items.len());
    for item in items {
        let is_plain = |part: &str| !["", ".", ".."].contains(&part);
        assert!(
            item.path.split('/').all(is_plain),
            "a path that leads elsewhere"
        );
        assert!(item.mode.is_none_or(|mode| mode <= 0o777));
    }
}
