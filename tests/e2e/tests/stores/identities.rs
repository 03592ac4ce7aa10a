//! Which identity an agent with the right to read Secrets shows to a provider.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use latchkey::providers::{Identities, IdentityProblem, OwnIdentity};
use latchkey::stores::{CertificateSource, Usable};
use latchkey_e2e::tls::{Usage, pem};
use latchkey_transport::Identity;
use serde_json::json;

/// Upstream's name of the Secret beside its providers (provider-protocol.md 8.2).
const SHARED: &str = "external-secrets-provider-tls";

fn usable(namespace: &str, secret: Option<(&str, &str)>) -> Result<Usable> {
    Ok(Usable {
        address: format!("provider.{namespace}.svc:8080").parse()?,
        certificate: secret.map(|(namespace, name)| CertificateSource {
            namespace: namespace.into(),
            name: name.into(),
            ca_key: None,
            cert_key: None,
            key_key: None,
        }),
        server_name: None,
        token: None,
        retry: None,
        caller: latchkey_engine::source::CallerNeeds::default(),
    })
}

#[test]
fn stores_show_the_identity_that_they_name_or_the_one_beside_the_address() -> Result<()> {
    // provider-protocol.md 8.2, SB-21, SB-22
    latchkey_cluster::test(async |cx| {
        let here = cx.namespace().to_owned();
        let there = cx.new_namespace("there").await?;
        let material = || pem(Usage::ClientAuth);
        let identity = |[authority, certificate, key]: &[String; 3]| {
            Identity::from_pem(authority.as_bytes(), certificate.as_bytes(), key.as_bytes())
        };
        let put = async |namespace: &str,
                         name: &str,
                         [authority, certificate, key]: &[String; 3]| {
            let secrets: Api<Secret> = Api::namespaced(cx.client(), namespace);
            let secret = json!({
                "metadata": { "name": name },
                "stringData": { "ca.crt": authority, "client.crt": certificate, "client.key": key },
            });
            let secret = serde_json::from_value(secret)?;
            secrets.create(&PostParams::default(), &secret).await?;
            anyhow::Ok(())
        };
        let (own, shared, named) = (material()?, material()?, material()?);
        put(&here, SHARED, &shared).await?;
        put(&here, "named", &named).await?;
        let [authority, certificate, _] = material()?;
        put(
            &here,
            "unpaired",
            &[authority, certificate, material()?[2].clone()],
        )
        .await?;
        let [_, certificate, key] = material()?;
        put(&here, "untrusting", &["none".to_owned(), certificate, key]).await?;
        let [authority, _, key] = material()?;
        put(&here, "halved", &[authority, String::new(), key]).await?;

        let origin = OwnIdentity::new("the test");
        origin.set(identity(&own)?);
        let identities = Identities::through_api(origin, cx.client());
        // The Secret beside the address, and none of another namespace.
        for (namespace, secret, expected) in [
            (&here, None, &shared),
            (&there, None, &own),
            (&there, Some((&*here, "named")), &named),
            (&here, Some((&*here, "named")), &named),
        ] {
            let found = identities.resolve(&usable(namespace, secret)?).await?;
            ensure!(
                found.fingerprint() == identity(expected)?.fingerprint(),
                "{namespace} {secret:?}"
            );
        }
        for (name, text) in [
            (
                "absent",
                format!("the client certificate Secret {here}/absent does not exist"),
            ),
            (
                "halved",
                format!("tls.crt not found or empty in secret {here}/halved"),
            ),
            (
                "unpaired",
                format!(
                    "the private key does not belong to the certificate in secret {here}/unpaired"
                ),
            ),
            (
                "untrusting",
                format!(
                    "the certificate authority (ca.crt) is missing or cannot be parsed in secret {here}/untrusting"
                ),
            ),
        ] {
            let usable = usable(&there, Some((&here, name)))?;
            let found = identities.resolve(&usable).await;
            let problem = found.err().context("it is accepted")?;
            ensure!(problem == IdentityProblem::Wrong(text), "{problem}");
        }
        cx.kubectl(&["delete", "namespace", &there, "--wait=false"])
            .await?;
        Ok(())
    })
}
