//! The cluster's certificate authority and the certificates and kubeconfigs of its components.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use crate::layout::{API_SERVER, FIRST_NODE_ADDRESS, Layout, NodeLayout};

/// Makes the authority, the service account key and the identity of every component that is not a node.
pub(crate) fn make(layout: &Layout) -> Result<()> {
    fs::create_dir_all(layout.file("pki"))?;
    let key = KeyPair::generate()?;
    fs::write(layout.pki("ca.crt"), authority()?.self_signed(&key)?.pem())?;
    write_private(&layout.pki("ca.key"), &key.serialize_pem())?;

    // The API server signs service account tokens with this key (ES256) and checks them with its public half.
    let accounts = KeyPair::generate()?;
    write_private(
        &layout.pki("service-accounts.key"),
        &accounts.serialize_pem(),
    )?;
    fs::write(
        layout.pki("service-accounts.pub"),
        accounts.public_key_pem(),
    )?;

    let hosts = [
        "127.0.0.1",
        FIRST_NODE_ADDRESS,
        "10.96.0.1",
        "localhost",
        "kubernetes.default.svc",
    ];
    issue(layout, "apiserver", None, "kube-apiserver", &hosts)?;
    for (file, organization, user) in [
        ("admin", Some("system:masters"), "admin"),
        ("dns", Some("system:masters"), "dns"),
        ("controller-manager", None, "system:kube-controller-manager"),
        ("scheduler", None, "system:kube-scheduler"),
        ("proxy", None, "system:kube-proxy"),
    ] {
        issue(layout, file, organization, user, &[])?;
        kubeconfig(layout, file)?;
    }
    Ok(())
}

/// Makes the identity of a node's kubelet: client towards the API server, server towards `kubectl exec` and `logs`.
pub(crate) fn make_node(layout: &Layout, node: &NodeLayout) -> Result<()> {
    let name = node.name();
    issue(
        layout,
        &name,
        Some("system:nodes"),
        &format!("system:node:{name}"),
        &["127.0.0.1", &node.address(), &name],
    )?;
    kubeconfig(layout, &name)
}

fn issue(
    layout: &Layout,
    file: &str,
    organization: Option<&str>,
    user: &str,
    hosts: &[&str],
) -> Result<()> {
    let key = fs::read_to_string(layout.pki("ca.key"))
        .context("failed to read the cluster's authority")?;
    let issuer = Issuer::new(authority()?, KeyPair::from_pem(&key)?);
    let key = KeyPair::generate()?;
    let mut params =
        CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    params.distinguished_name = name(organization, user);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    fs::write(
        layout.pki(&format!("{file}.crt")),
        params.signed_by(&key, &issuer)?.pem(),
    )?;
    write_private(&layout.pki(&format!("{file}.key")), &key.serialize_pem())
}

/// What the authority's certificate says, but for its key.
fn authority() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = name(None, "latchkey test cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn name(organization: Option<&str>, common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

/// Writes `<user>.kubeconfig`, as JSON (which is YAML).
fn kubeconfig(layout: &Layout, user: &str) -> Result<()> {
    let document = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "latchkey", "cluster": {"server": API_SERVER, "certificate-authority": layout.pki("ca.crt")}}],
        "users": [{"name": user, "user": {
            "client-certificate": layout.pki(&format!("{user}.crt")),
            "client-key": layout.pki(&format!("{user}.key")),
        }}],
        "contexts": [{"name": "latchkey", "context": {"cluster": "latchkey", "user": user}}],
        "current-context": "latchkey",
    });
    write_private(
        &layout.kubeconfig_of(user),
        &serde_json::to_string_pretty(&document)?,
    )
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("failed to write {}", path.display()))
}
