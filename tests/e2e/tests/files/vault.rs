//! Beside `provider-vault` and a real OpenBao: the same programs and objects that `examples/files` installs.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use latchkey_e2e::Bao;
use serde_json::json;

use crate::rig::{Machine, Provider};

/// What the token of this machine may do, and nothing else.
const POLICY: &str = r#"path "secret/data/app/*" { capabilities = ["read"] }"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vault_values_arrive_with_a_token_from_a_file_and_follow_it_and_the_store() -> Result<()> {
    let bao = Bao::start("127.0.0.1").await?;
    bao.run(&["policy", "write", "files", "-"], Some(POLICY))?;
    put(&bao, "value-first")?;
    let token = token(&bao)?;
    let machine = Machine::new()?;
    let vault = json!({
        "apiVersion": "provider.secretstore.external-secrets.io/v2alpha1",
        "kind": "HashicorpVault",
        "metadata": {"name": "vault"},
        "spec": {
            "server": bao.address(), "path": "secret", "version": "v2",
            "auth": {"tokenSecretRef": {"name": "vault-token", "key": "token"}},
        },
    });
    machine.write("objects/vault.json", &vault.to_string())?;
    login_with(&machine, &token)?;
    let provider = Provider::start(&machine, "provider-vault").await?;
    let pick =
        |name: &str| json!({"secretKey": name, "remoteRef": {"key": "app/db", "property": name}});
    let mut single = machine.entry("single", "app/db");
    single["spec"] = json!({
        "refreshInterval": "1s", "secretStoreRef": {"name": "store"}, "data": [pick("a"), pick("b")],
    });
    let refused = machine.entry("refused", "other/db");
    let mut config = machine.config(&provider, &[machine.entry("db", "app/db"), single, refused]);
    config["providers"][0]["providerRef"] = json!({"kind": "HashicorpVault", "name": "vault"});
    machine.configure(&config)?;

    let files = machine.start().await?;
    for entry in ["db", "single"] {
        let shown = machine.shows(entry, "value-first").await;
        shown.with_context(|| files.log().unwrap_or_default())?;
    }
    // The policy does not admit that path. It is told, and the others do not suffer.
    files.answers(503).await?;
    let (_, text) = files.get("/readyz").await?;
    ensure!(text.contains("refused") && !text.contains("db,"), "{text}");

    // A change at the store.
    put(&bao, "value-second")?;
    for entry in ["db", "single"] {
        machine.shows(entry, "value-second").await?;
    }

    // Another token in the file, after which the one before is worth nothing.
    let next = self::token(&bao)?;
    login_with(&machine, &next)?;
    bao.run(&["token", "revoke", &token], None)?;
    put(&bao, "value-third")?;
    for entry in ["db", "single"] {
        machine.shows(entry, "value-third").await?;
    }

    let logs = [
        files.log()?,
        std::fs::read_to_string(machine.path("server/log"))?,
    ];
    for log in &logs {
        let is_clean = !log.contains("value-")
            && ![&token, &next]
                .iter()
                .any(|token| log.contains(token.as_str()));
        ensure!(is_clean, "a value or a token in the log");
    }
    ensure!(logs[0].contains("other/db"), "{}", logs[0]);
    ensure!(files.stop().await? == Some(0));
    Ok(())
}

/// The objects of the example are what the provider reads, but for the address and the token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vault_objects_of_the_example_are_read_as_they_stand() -> Result<()> {
    let bao = Bao::start("127.0.0.1").await?;
    put(&bao, "value")?;
    let machine = Machine::new()?;
    let example = latchkey_e2e::root().join("examples/files/objects/vault.yaml");
    let text = std::fs::read_to_string(Path::new(&example))?
        .replace("https://vault.example.com:8200", bao.address())
        .replace("replace-me", latchkey_e2e::ROOT_TOKEN);
    machine.write("objects/vault.yaml", &text)?;
    let provider = Provider::start(&machine, "provider-vault").await?;
    let mut config = machine.config(&provider, &[machine.entry("db", "app/db")]);
    config["providers"][0]["providerRef"] = json!({"kind": "HashicorpVault", "name": "vault"});
    machine.configure(&config)?;
    let run = machine.run(&["--once"]).await?;
    let log = String::from_utf8_lossy(&run.stderr).into_owned();
    ensure!(run.status.code() == Some(0), "{log}");
    machine.shows("db", "value").await
}

fn put(bao: &Bao, value: &str) -> Result<()> {
    let pair = ["a", "b"].map(|name| format!("{name}={value}"));
    bao.run(&["kv", "put", "secret/app/db", &pair[0], &pair[1]], None)?;
    Ok(())
}

/// A new token of the policy.
fn token(bao: &Bao) -> Result<String> {
    let made = bao.run(&["token", "create", "-policy=files", "-field=token"], None)?;
    let token = made.trim();
    (!token.is_empty())
        .then(|| token.to_owned())
        .context("no token was made")
}

fn login_with(machine: &Machine, token: &str) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "vault-token"}, "stringData": {"token": token},
    });
    machine.write("objects/token.json", &secret.to_string())?;
    Ok(())
}
