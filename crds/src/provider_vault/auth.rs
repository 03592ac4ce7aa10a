//! `spec.auth` of HashicorpVault: the ways to log in (`providers.md` 8.1, 8.2).

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::selectors::{SecretKeySelector, ServiceAccountSelector};

/// How to log in; exactly one method is set.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.tokenSecretRef), has(self.appRole), has(self.kubernetes), has(self.ldap), has(self.userPass), has(self.jwt), has(self.cert), has(self.iam), has(self.gcp)].filter(set, set).size() == 1",
    "exactly one of tokenSecretRef, appRole, kubernetes, ldap, userPass, jwt, cert, iam or gcp must be set"
))]
pub struct VaultAuth {
    /// Namespace in Vault for the login. Default: `spec.namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// A token that is used as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeySelector>,
    /// Login by AppRole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_role: Option<VaultAppRole>,
    /// Login by a Kubernetes ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<VaultKubernetes>,
    /// Login by an LDAP user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ldap: Option<VaultLdap>,
    /// Login by user name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_pass: Option<VaultUserPass>,
    /// Login by a JSON Web Token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<VaultJwt>,
    /// Login by a client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<VaultCert>,
    /// Login by an AWS identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam: Option<VaultIam>,
    /// Login by a Google Cloud identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcp: Option<VaultGcp>,
}

/// Login by AppRole.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.roleId) || has(self.roleRef)", "roleId or roleRef must be set"))]
pub struct VaultAppRole {
    /// Mount path of the method. Default `approle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Identifier of the role. Wins over `roleRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_id: Option<String>,
    /// Secret that holds the identifier of the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_ref: Option<SecretKeySelector>,
    /// Secret that holds the role's secret identifier.
    pub secret_ref: SecretKeySelector,
}

/// Login by a Kubernetes ServiceAccount.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.useCallerToken) || !self.useCallerToken || !(has(self.serviceAccountRef) || has(self.secretRef))",
    "useCallerToken excludes serviceAccountRef and secretRef"
))]
pub struct VaultKubernetes {
    /// Mount path of the method. Default `kubernetes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// Role in Vault.
    pub role: String,
    /// Log in with the token of the pod that mounts the value. For volumes only, through stores with annotation
    /// `latchkey.dev/caller-identity`; excludes `serviceAccountRef` and `secretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_caller_token: Option<bool>,
    /// ServiceAccount whose token logs in. Wins over `secretRef`. With neither, the provider's own token does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<ServiceAccountSelector>,
    /// Secret that holds a token; its default key is `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
}

/// Login by an LDAP user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultLdap {
    /// Mount path of the method. Default `ldap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Name of the user.
    pub username: String,
    /// Secret that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
}

/// Login by user name and password.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultUserPass {
    /// Mount path of the method. Default `userpass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Name of the user.
    pub username: String,
    /// Secret that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
}

/// Login by a JSON Web Token.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "(has(self.useCallerToken) && self.useCallerToken) || has(self.secretRef) != has(self.kubernetesServiceAccountToken)",
    "exactly one of secretRef and kubernetesServiceAccountToken must be set"
))]
#[x_kube(validation = (
    "!has(self.useCallerToken) || !self.useCallerToken || !(has(self.secretRef) || has(self.kubernetesServiceAccountToken))",
    "useCallerToken excludes secretRef and kubernetesServiceAccountToken"
))]
pub struct VaultJwt {
    /// Mount path of the method. Default `jwt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Role in Vault. Default: the method's default role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Log in with the token of the pod that mounts the value. For volumes only, through stores with annotation
    /// `latchkey.dev/caller-identity`; excludes `secretRef` and `kubernetesServiceAccountToken`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_caller_token: Option<bool>,
    /// Secret that holds a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
    /// ServiceAccount whose token is requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_service_account_token: Option<VaultKubernetesServiceAccountToken>,
}

/// A requested ServiceAccount token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultKubernetesServiceAccountToken {
    /// The ServiceAccount.
    pub service_account_ref: ServiceAccountSelector,
    /// Audiences of the token. Default `vault`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audiences: Option<Vec<String>>,
    /// Life of the token in seconds. Default 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub expiration_seconds: Option<i64>,
}

/// Login by a client certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultCert {
    /// Mount path of the method. Default `cert`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Role in Vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault_role: Option<String>,
    /// Secret that holds the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<SecretKeySelector>,
    /// Secret that holds the private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
}

/// Login by an AWS identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultIam {
    /// Mount path of the method. Default `aws`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// AWS region. Default `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// AWS role to assume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Role in Vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault_role: Option<String>,
    /// External identifier for assuming the AWS role.
    #[serde(
        default,
        rename = "externalID",
        skip_serializing_if = "Option::is_none"
    )]
    pub external_id: Option<String>,
    /// Value of the header `X-Vault-AWS-IAM-Server-ID`.
    #[serde(
        default,
        rename = "vaultAwsIamServerID",
        skip_serializing_if = "Option::is_none"
    )]
    pub vault_aws_iam_server_id: Option<String>,
    /// Static AWS credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<VaultAwsCredentials>,
    /// AWS identity of a ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<VaultIamJwt>,
}

/// Static AWS credentials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultAwsCredentials {
    /// Secret that holds the access key's identifier.
    #[serde(
        default,
        rename = "accessKeyIDSecretRef",
        skip_serializing_if = "Option::is_none"
    )]
    pub access_key_id_secret_ref: Option<SecretKeySelector>,
    /// Secret that holds the secret access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key_secret_ref: Option<SecretKeySelector>,
    /// Secret that holds a session token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token_secret_ref: Option<SecretKeySelector>,
}

/// AWS identity of a ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultIamJwt {
    /// The ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<ServiceAccountSelector>,
}

/// Login by a Google Cloud identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultGcp {
    /// Mount path of the method. Default `gcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Role in Vault.
    pub role: String,
    /// Project of the identity.
    #[serde(default, rename = "projectID", skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Location of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Static credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<VaultGcpSecretRef>,
    /// Identity of a ServiceAccount through workload identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<VaultGcpWorkloadIdentity>,
    /// ServiceAccount whose identity logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<ServiceAccountSelector>,
}

/// Static Google Cloud credentials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultGcpSecretRef {
    /// Secret that holds the key of a service account, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key_secret_ref: Option<SecretKeySelector>,
}

/// Identity of a ServiceAccount through workload identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultGcpWorkloadIdentity {
    /// The ServiceAccount.
    pub service_account_ref: ServiceAccountSelector,
    /// Location of the cluster. Default: found by metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_location: Option<String>,
    /// Name of the cluster. Default: found by metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Project of the cluster. Default: found by metadata.
    #[serde(
        default,
        rename = "clusterProjectID",
        skip_serializing_if = "Option::is_none"
    )]
    pub cluster_project_id: Option<String>,
}
