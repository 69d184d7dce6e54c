//! Chooses an identity from the environment variables of azure-identity.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::managed_identity::{IMDS, Platform};
use super::{Certificate, ClientCredential, Identity, ManagedIdentity};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Reads environment variables; an empty variable counts as unset.
pub struct Environment<'a>(pub &'a dyn Fn(&str) -> Option<String>);

/// The credential that the environment selects.
pub enum ResolvedCredential {
    Identity(Identity),
    /// The user who is signed in to `az`, in this tenant if one is given.
    AzureCli(Option<String>),
}

const CREDENTIAL_NAMES: &str = "EnvironmentCredential, WorkloadIdentityCredential, \
    ManagedIdentityCredential, AzureCliCredential";
const SET_VARIABLES_HINT: &str = "set them, or pass a credential to the client";

impl Environment<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// Returns the credential that AZURE_TOKEN_CREDENTIALS names, or else the first that is
    /// configured: client secret, certificate, federated token, App Service.
    pub fn resolve_credential(&self) -> Result<ResolvedCredential> {
        // IMDS and `az` are used only if named: IMDS may take a minute to answer, and `az` may be
        // signed in to another account.
        let Some(choice) = self.get("AZURE_TOKEN_CREDENTIALS") else {
            return self.first_configured().map(ResolvedCredential::Identity);
        };
        match choice.to_ascii_lowercase().as_str() {
            "environmentcredential" => {
                self.application_identity().map(ResolvedCredential::Identity)
            }
            "workloadidentitycredential" => {
                workload_identity(self, None, None, None, None).map(ResolvedCredential::Identity)
            }
            "managedidentitycredential" => {
                managed_identity(self, None).map(ResolvedCredential::Identity)
            }
            "azureclicredential" | "dev" => {
                Ok(ResolvedCredential::AzureCli(self.get("AZURE_TENANT_ID")))
            }
            "prod" => self
                .first_configured()
                .or_else(|_| managed_identity(self, None))
                .map(ResolvedCredential::Identity),
            _ => {
                let message = "no credential was given, and AZURE_TOKEN_CREDENTIALS names one \
                 that is not supported";
                Err(Error::invalid(message).with_hint(format!(
                    "set it to one of {CREDENTIAL_NAMES}, dev, prod; or pass a credential to the \
                     client"
                )))
            }
        }
    }

    fn first_configured(&self) -> Result<Identity> {
        // The user sets a secret or certificate, and the platform sets the other variables. So the
        // application comes first.
        let application =
            ["AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH"].map(|name| self.get(name));
        if application.iter().all(Option::is_none) {
            if self.get("AZURE_FEDERATED_TOKEN_FILE").is_some() {
                return workload_identity(self, None, None, None, None);
            }
            if self.get("IDENTITY_ENDPOINT").is_some() && self.get("IDENTITY_HEADER").is_some() {
                return managed_identity(self, None);
            }
        }
        self.application_identity()
    }

    /// Returns the application with its secret, or else with its certificate.
    fn application_identity(&self) -> Result<Identity> {
        let credential =
            match (self.get("AZURE_CLIENT_SECRET"), self.path("AZURE_CLIENT_CERTIFICATE_PATH")) {
                (Some(secret), _) => Some(ClientCredential::Secret(Secret::new(secret))),
                (None, Some(path)) => Some(self.certificate(&path)?),
                (None, None) => None,
            };
        match (self.get("AZURE_TENANT_ID"), self.get("AZURE_CLIENT_ID"), credential) {
            (Some(tenant_id), Some(client_id), Some(credential)) => {
                let authority = self.get("AZURE_AUTHORITY_HOST");
                Ok(Identity::Application { tenant_id, client_id, credential, authority })
            }
            (tenant_id, client_id, credential) => Err(missing_variables_error(&[
                ("AZURE_TENANT_ID", tenant_id.is_none()),
                ("AZURE_CLIENT_ID", client_id.is_none()),
                ("AZURE_CLIENT_SECRET (or AZURE_CLIENT_CERTIFICATE_PATH)", credential.is_none()),
            ])),
        }
    }

    fn certificate(&self, path: &Path) -> Result<ClientCredential> {
        let password = self.get("AZURE_CLIENT_CERTIFICATE_PASSWORD").map(Secret::new);
        Ok(ClientCredential::Certificate(Arc::new(Certificate::from_file(
            path,
            password.as_ref(),
        )?)))
    }
}

fn missing_variables_error(needed: &[(&str, bool)]) -> Error {
    let missing: Vec<_> =
        needed.iter().filter(|(_, missing)| *missing).map(|(name, _)| *name).collect();
    let message =
        format!("no credential was given, and the environment lacks {}", missing.join(", "));
    Error::invalid(message).with_hint(SET_VARIABLES_HINT)
}

/// Returns a workload identity. Arguments that are `None` come from the environment.
pub fn workload_identity(
    variables: &Environment<'_>,
    tenant_id: Option<String>,
    client_id: Option<String>,
    token_file: Option<PathBuf>,
    authority: Option<String>,
) -> Result<Identity> {
    let tenant_id = tenant_id.or_else(|| variables.get("AZURE_TENANT_ID"));
    let client_id = client_id.or_else(|| variables.get("AZURE_CLIENT_ID"));
    match (
        tenant_id,
        client_id,
        token_file.or_else(|| variables.path("AZURE_FEDERATED_TOKEN_FILE")),
    ) {
        (Some(tenant_id), Some(client_id), Some(path)) => {
            let authority = authority.or_else(|| variables.get("AZURE_AUTHORITY_HOST"));
            Ok(Identity::Application {
                tenant_id,
                client_id,
                credential: ClientCredential::FederatedToken(path),
                authority,
            })
        }
        (tenant_id, client_id, path) => Err(missing_variables_error(&[
            ("AZURE_TENANT_ID", tenant_id.is_none()),
            ("AZURE_CLIENT_ID", client_id.is_none()),
            ("AZURE_FEDERATED_TOKEN_FILE", path.is_none()),
        ])),
    }
}

/// Returns the managed identity of this platform. `client_id`, or else AZURE_CLIENT_ID, selects a
/// user-assigned identity.
pub fn managed_identity(
    variables: &Environment<'_>,
    client_id: Option<String>,
) -> Result<Identity> {
    let get = |name: &str| variables.get(name);
    // Azure Arc, Azure ML and Service Fabric: each has its own protocol.
    let other_platform = ["IMDS_ENDPOINT", "MSI_SECRET", "IDENTITY_SERVER_THUMBPRINT"]
        .into_iter()
        .find(|name| get(name).is_some());
    let platform = match (get("IDENTITY_ENDPOINT"), get("IDENTITY_HEADER"), other_platform) {
        (_, _, Some(name)) => {
            let message =
                format!("the managed identity of a platform that sets {name} is not supported");
            return Err(Error::invalid(message)
                .with_hint("pass ManagedIdentityCredential of azure-identity to the client"));
        }
        (Some(endpoint), Some(header), None) => {
            Platform::AppService { endpoint, header: Secret::new(header) }
        }
        _ => Platform::Imds(
            get("AZURE_POD_IDENTITY_AUTHORITY_HOST").unwrap_or_else(|| IMDS.to_owned()),
        ),
    };
    let client_id = client_id.or_else(|| variables.get("AZURE_CLIENT_ID"));
    Ok(Identity::Managed(ManagedIdentity { platform, client_id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(set: &[(&str, &str)]) -> Result<String> {
        let get = |name: &str| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Environment(&get).resolve_credential().map(|found| match found {
            ResolvedCredential::AzureCli(tenant) => format!("az {tenant:?}"),
            ResolvedCredential::Identity(Identity::Application {
                credential: ClientCredential::Secret(_),
                ..
            }) => "secret".to_owned(),
            ResolvedCredential::Identity(Identity::Application {
                credential: ClientCredential::FederatedToken(_),
                ..
            }) => "federated".to_owned(),
            ResolvedCredential::Identity(Identity::Managed(identity)) => format!("{identity:?}"),
            ResolvedCredential::Identity(_) => "another".to_owned(),
        })
    }

    const IDS: [(&str, &str); 2] = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")];
    const SECRET: (&str, &str) = ("AZURE_CLIENT_SECRET", "hush");
    const CERTIFICATE: (&str, &str) = ("AZURE_CLIENT_CERTIFICATE_PATH", "/no/such/file");
    const FILE: (&str, &str) = ("AZURE_FEDERATED_TOKEN_FILE", "/f");
    const APP_SERVICE: [(&str, &str); 2] =
        [("IDENTITY_ENDPOINT", "http://127.0.0.1/msi"), ("IDENTITY_HEADER", "hush")];

    #[test]
    fn the_first_configured_credential_is_used() {
        let all = |more: &[(&'static str, &'static str)]| found(&[&IDS[..], more].concat());
        assert_eq!(
            all(&[SECRET, CERTIFICATE, FILE, APP_SERVICE[0], APP_SERVICE[1]]).unwrap(),
            "secret"
        );
        assert!(all(&[CERTIFICATE, FILE]).unwrap_err().message.contains("/no/such/file"));
        assert_eq!(all(&[FILE, APP_SERVICE[0], APP_SERVICE[1]]).unwrap(), "federated");
        let managed = all(&APP_SERVICE).unwrap();
        assert!(
            managed.contains("AppService")
                && managed.contains("\"c\"")
                && !managed.contains("hush"),
            "{managed}"
        );
    }

    #[test]
    fn missing_variables_are_named() {
        for (set, missing) in [
            (
                vec![],
                "AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET (or AZURE_CLIENT_CERTIFICATE_PATH)",
            ),
            (vec![SECRET, IDS[0]], "lacks AZURE_CLIENT_ID"),
            (vec![FILE, IDS[1]], "lacks AZURE_TENANT_ID"),
            (vec![("AZURE_CLIENT_SECRET", ""), IDS[0], IDS[1]], "lacks AZURE_CLIENT_SECRET"),
        ] {
            let error = found(&set).unwrap_err();
            assert!(error.message.contains(missing) && error.hint.is_some(), "{error:?}");
        }
    }

    #[test]
    fn a_named_credential_is_used() {
        let choose = |name: &'static str, more: &[(&'static str, &'static str)]| {
            found(&[&[("AZURE_TOKEN_CREDENTIALS", name)], more].concat())
        };
        assert_eq!(
            choose("AzureCliCredential", &[SECRET, IDS[0], IDS[1]]).unwrap(),
            "az Some(\"t\")"
        );
        assert_eq!(choose("dev", &[]).unwrap(), "az None");
        assert!(
            choose("ManagedIdentityCredential", &[SECRET]).unwrap().contains("169.254.169.254")
        );
        assert!(choose("prod", &[]).unwrap().contains("Imds"));
        assert_eq!(choose("prod", &[SECRET, IDS[0], IDS[1]]).unwrap(), "secret");
        assert!(choose("environmentcredential", &[FILE]).is_err());
        assert!(
            choose("hush", &[SECRET, IDS[0], IDS[1]])
                .is_err_and(|error| !error.message.contains("hush"))
        );
    }

    #[test]
    fn an_unsupported_platform_is_an_error() {
        for name in ["IMDS_ENDPOINT", "MSI_SECRET", "IDENTITY_SERVER_THUMBPRINT"] {
            let set = [("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential"), (name, "hush")];
            let error = found(&set).unwrap_err();
            assert!(
                error.message.contains(name) && !format!("{error:?}").contains("hush"),
                "{error:?}"
            );
        }
    }
}
