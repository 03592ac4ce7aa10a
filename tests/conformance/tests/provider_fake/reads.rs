//! Reading one value, one map, many values.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use latchkey_cluster::eventually;
use latchkey_proto::provider::v1 as wire;
use serde_json::json;
use tonic::Code;

use crate::rig::{Provider, SOON, assert_refused, with_provider};

#[test]
fn pc_04_and_05_values_are_found_by_key_version_and_property() -> Result<()> {
    // PC-04, PC-05.
    with_provider(async |provider| {
        let nested = r#"{"a":{"b":"deep"},"big":12345678901234567890,"o":{ "x" : 1 }}"#;
        provider
            .fake(
                "f",
                &json!({"data": [
                    {"key": "k", "value": "v"},
                    {"key": "k", "value": "v1", "version": "1"},
                    {"key": "only", "value": "old", "version": "v1"},
                    {"key": "json", "value": nested},
                    {"key": "map", "valueMap": {"b": "<2>", "a": "1"}},
                    {"key": "a/b//c", "value": "slashes"},
                ]}),
            )
            .await?;
        for (key, version, property, expected) in [
            ("k", "", "", "v"),
            ("k", "1", "", "v1"),
            ("json", "", "", nested),
            ("json", "", "a.b", "deep"),
            ("json", "", "big", "12345678901234567890"),
            ("json", "", "o", "{ \"x\" : 1 }"),
            ("map", "", "", r#"{"a":"1","b":"<2>"}"#),
            ("a/b//c", "", "", "slashes"),
        ] {
            let value = provider.get("f", key, version, property).await?;
            assert_eq!(
                String::from_utf8(value)?,
                expected,
                "{key} {version} {property}"
            );
        }
        // Also P-58: key and version are not one text.
        for (key, version, property) in [
            ("none", "", ""),
            ("k", "2", ""),
            ("only", "", ""),
            ("k1", "", ""),
            ("json", "", "a.c"),
            ("k", "", "a"),
        ] {
            let refused = provider.get("f", key, version, property).await;
            assert_refused(
                refused,
                Code::NotFound,
                "SECRET_NOT_FOUND",
                "Secret does not exist",
            );
        }
        Ok(())
    })
}

#[test]
fn pc_10_maps_keep_the_text_of_what_is_no_string() -> Result<()> {
    // PC-10.
    with_provider(async |provider| {
        let object = r#"{"s":"q\"é","n":1.50,"o":{ "x":[1, 2] },"null":null,"t":true}"#;
        provider
            .fake("f", &json!({"data": [{"key": "o", "value": object}, {"key": "plain", "value": "text"}, {"key": "list", "value": "[1]"}]}))
            .await?;
        let map = provider.get_map("f", "o").await?;
        let expected: BTreeMap<String, Vec<u8>> = [
            ("s", "q\"é"),
            ("n", "1.50"),
            ("o", "{ \"x\":[1, 2] }"),
            ("null", ""),
            ("t", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
        .into();
        assert_eq!(map, expected);
        for key in ["plain", "list"] {
            let refused = provider.get_map("f", key).await;
            assert_refused(
                refused,
                Code::FailedPrecondition,
                "INVALID_PAYLOAD",
                &format!("unable to unmarshal secret {key}"),
            );
        }
        assert_refused(
            provider.get_map("f", "none").await,
            Code::NotFound,
            "SECRET_NOT_FOUND",
            "",
        );
        Ok(())
    })
}

async fn find(
    provider: &Provider,
    find: wire::ExternalSecretFind,
) -> Result<BTreeMap<String, Vec<u8>>, tonic::Status> {
    let request = wire::GetAllSecretsRequest {
        provider_ref: Some(provider.reference("f")),
        find: Some(find),
        source_namespace: provider.cx.namespace().into(),
    };
    provider
        .client()
        .unwrap()
        .get_all_secrets(request)
        .await
        .map(|answer| answer.into_inner().secrets)
}

fn by_name(regexp: &str, conversion: &str) -> wire::ExternalSecretFind {
    wire::ExternalSecretFind {
        name: Some(wire::FindName {
            regexp: regexp.into(),
        }),
        conversion_strategy: conversion.into(),
        ..Default::default()
    }
}

#[test]
fn pc_11_finds_match_names_and_take_the_greatest_version() -> Result<()> {
    // PC-11.
    with_provider(async |provider| {
        provider
            .fake(
                "f",
                &json!({"data": [
                    {"key": "db/pass", "value": "ten", "version": "v10"},
                    {"key": "db/pass", "value": "two", "version": "v2"},
                    {"key": "db/user", "value": "u"},
                    {"key": "other", "value": "o"},
                ]}),
            )
            .await?;
        let keys = |map: &BTreeMap<String, Vec<u8>>| map.keys().cloned().collect::<Vec<_>>();
        let found = find(provider, by_name("^db/", "Default")).await?;
        assert_eq!(keys(&found), ["db_pass", "db_user"]);
        assert_eq!(found["db_pass"], b"two", "versions are compared as text");
        assert_eq!(
            keys(&find(provider, by_name("pass", "Unicode")).await?),
            ["db_U002f_pass"]
        );
        assert_eq!(
            keys(&find(provider, by_name("pass", "")).await?),
            ["db_pass"],
            "P-02"
        );
        assert_eq!(find(provider, by_name("", "Default")).await?.len(), 3);
        assert!(
            find(provider, by_name("nothing", "Default"))
                .await?
                .is_empty(),
            "an empty result is a success"
        );
        for (criteria, text) in [
            (
                wire::ExternalSecretFind::default(),
                "unexpected find operator",
            ),
            (by_name("(", ""), "could not compile find.name.regexp [(]"),
            (
                wire::ExternalSecretFind {
                    tags: [("a".to_owned(), "b".to_owned())].into(),
                    ..Default::default()
                },
                "unsupported find operator",
            ),
        ] {
            assert_refused(
                find(provider, criteria).await,
                Code::InvalidArgument,
                "INVALID_ARGUMENT",
                text,
            );
        }
        Ok(())
    })
}

#[test]
fn a_changed_resource_is_served_at_once_and_a_deleted_one_no_more() -> Result<()> {
    with_provider(async |provider| {
        for round in 0..5 {
            let value = format!("v{round}");
            provider
                .fake("f", &json!({"data": [{"key": "k", "value": value}]}))
                .await?;
            eventually(Duration::from_secs(2), "the new value", async || {
                let found = provider.get("f", "k", "", "").await?;
                Ok((found == value.as_bytes()).then_some(()))
            })
            .await?;
        }
        provider.cx.kubectl(&["delete", "fake", "f"]).await?;
        eventually(
            Duration::from_secs(2),
            "the end of the resource",
            async || {
                let result = provider.get("f", "k", "", "").await;
                Ok(result
                    .is_err_and(|status| status.code() == Code::FailedPrecondition)
                    .then_some(()))
            },
        )
        .await
    })
}

#[test]
fn simulated_troubles_happen_as_told() -> Result<()> {
    with_provider(async |provider| {
        provider
            .fake(
                "f",
                &json!({"data": [{"key": "k", "value": "v"}], "simulation": {
                    "failures": [
                        {"operations": ["GetSecret"], "times": 2, "code": "UNAVAILABLE", "message": "down", "retryAfter": "3s"},
                    ],
                    "stall": {"operations": ["GetSecretMap"]},
                    "latency": {"perOperation": {"GetSecret": {"base": "200ms"}}},
                    "capabilities": "ReadOnly",
                }}),
            )
            .await?;
        for _ in 0..2 {
            let refused = provider.get("f", "k", "", "").await;
            assert_refused(refused, Code::Unavailable, "BACKEND_UNAVAILABLE", "down");
        }
        let started = Instant::now();
        assert_eq!(provider.get("f", "k", "", "").await?, b"v");
        assert!(started.elapsed() >= Duration::from_millis(200));
        let mut client = provider.client()?;
        let get = provider.get_request("f", "k");
        let mut stalled = tonic::Request::new(wire::GetSecretMapRequest {
            remote_ref: get.remote_ref,
            provider_ref: get.provider_ref,
            source_namespace: get.source_namespace,
        });
        stalled.set_timeout(Duration::from_secs(2));
        let status = client.get_secret_map(stalled).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        let capabilities = wire::CapabilitiesRequest {
            provider_ref: Some(provider.reference("f")),
            source_namespace: provider.cx.namespace().into(),
        };
        let answer = client.capabilities(capabilities).await?.into_inner();
        assert_eq!(
            answer.capabilities(),
            wire::SecretStoreCapabilities::ReadOnly
        );
        provider
            .fake(
                "f",
                &json!({"data": [{"key": "k", "value": "v"}], "simulation": {"auth": {}}}),
            )
            .await?;
        eventually(SOON, "the refusal of what is not supported", async || {
            let result = provider.get("f", "k", "", "").await;
            Ok(result
                .is_err_and(|status| status.message().contains("auth is not supported"))
                .then_some(()))
        })
        .await
    })
}
