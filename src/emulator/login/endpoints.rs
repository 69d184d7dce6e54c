//! The endpoints of the login host, and the documents with which a client discovers them.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::emulator::clock::Tick;
use crate::emulator::login::hosts::{
    ANY_TENANT, GOVERNMENT_LOGIN, GOVERNMENT_LOGIN_NAMES, PUBLIC_LOGIN_NAMES, issuing_host,
};
use crate::emulator::login::token_endpoint::{OAuthError, TokenForm, oauth_error};
use crate::emulator::state::State;
use crate::emulator::wire::reply::Reply;
use crate::emulator::wire::request::IncomingRequest;

/// Returns whether `path` belongs to the login host.
pub fn is_login_path(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.contains("/oauth2/") || path.contains("/.well-known/") || path.contains("/discovery/")
}

impl State {
    /// Answers a request to the login host.
    pub fn handle_login(&mut self, request: &IncomingRequest, now: Tick) -> Reply {
        let path = request.path.to_ascii_lowercase();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (post, body, wall_now) = (request.method == Method::POST, &request.body, self.wall_now);
        let result = match segments.as_slice() {
            [tenant, "oauth2", "v2.0", "token"] if post => {
                self.grant_token(&TokenForm::parse(tenant, body, false), now, wall_now)
            }
            [tenant, "oauth2", "token"] if post => {
                self.grant_token(&TokenForm::parse(tenant, body, true), now, wall_now)
            }
            [tenant, "oauth2", "v2.0", "devicecode"] if post => {
                self.start_device_code(&TokenForm::parse(tenant, body, false), now)
            }
            [tenant, "oauth2", "devicecode"] if post => {
                self.start_device_code(&TokenForm::parse(tenant, body, true), now)
            }
            [tenant, "v2.0", ".well-known", "openid-configuration"] => {
                self.open_id_configuration(tenant, false)
            }
            [tenant, ".well-known", "openid-configuration"] => {
                self.open_id_configuration(tenant, true)
            }
            ["common", "discovery", "instance"] => self.instance_discovery(&request.query),
            // The tokens are signed with a key that the emulator alone has.
            [_, "discovery", "v2.0", "keys"] | [_, "discovery", "keys"] => Ok(json!({"keys": []})),
            _ => Err(oauth_error(404, "invalid_request", 90_014, "The endpoint does not exist.")),
        };
        match result {
            Ok(body) => Reply::json(StatusCode::OK, body.to_string()),
            Err(oauth_error) => self.oauth_error_reply(&oauth_error, now),
        }
    }

    fn open_id_configuration(&self, tenant: &str, v1: bool) -> Result<Value, OAuthError> {
        let any = ANY_TENANT.contains(&tenant);
        if tenant != self.tenant_id && !any {
            let message = format!("Tenant '{tenant}' not found.");
            return Err(oauth_error(400, "invalid_tenant", 90_002, message));
        }
        let login = &self.addresses.login;
        let (version, oauth) = if v1 { ("", "oauth2") } else { ("/v2.0", "oauth2/v2.0") };
        let issuing_tenant = if any { "{tenantid}" } else { tenant };
        let issuer = match issuing_host(host_of(login)) {
            _ if v1 => format!("https://sts.windows.net/{issuing_tenant}/"),
            // An alias of a login host names the same issuer.
            Some(host) => format!("https://{host}/{issuing_tenant}/v2.0"),
            None => format!("{login}/{issuing_tenant}/v2.0"),
        };
        Ok(json!({
            "issuer": issuer,
            "token_endpoint": format!("{login}/{tenant}/{oauth}/token"),
            "authorization_endpoint": format!("{login}/{tenant}/{oauth}/authorize"),
            "device_authorization_endpoint": format!("{login}/{tenant}/{oauth}/devicecode"),
            "jwks_uri": format!("{login}/{tenant}/discovery{version}/keys"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "response_modes_supported": ["query", "fragment", "form_post"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }))
    }

    /// Answers instance discovery: a client asks it about the login host that it was given.
    fn instance_discovery(&self, query: &str) -> Result<Value, OAuthError> {
        let own = &self.addresses.login;
        let own_host = host_of(own);
        let asked = url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "authorization_endpoint")
            .and_then(|(_, value)| url::Url::parse(&value).ok());
        let asked_host = asked.as_ref().and_then(|url| {
            let host = url.host_str()?;
            Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
        });
        let host = asked_host.as_deref().unwrap_or(own_host);
        if issuing_host(own_host).is_some() && issuing_host(host).is_none() {
            let message = "Unknown or invalid instance.";
            return Err(oauth_error(400, "invalid_instance", 50_049, message));
        }
        let tenant = asked
            .as_ref()
            .and_then(|url| url.path_segments()?.next())
            .filter(|tenant| !tenant.is_empty())
            .unwrap_or(&self.tenant_id);
        let (scheme, host) = match issuing_host(own_host) {
            Some(_) => ("https", host),
            None => (own.split("://").next().unwrap_or("https"), own_host),
        };
        let metadata = match issuing_host(own_host) {
            Some(_) => vec![
                host_names(&PUBLIC_LOGIN_NAMES, "login.windows.net"),
                host_names(&GOVERNMENT_LOGIN_NAMES, GOVERNMENT_LOGIN),
            ],
            None => vec![host_names(&[own_host], own_host)],
        };
        Ok(json!({
            "tenant_discovery_endpoint":
                format!("{scheme}://{host}/{tenant}/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": metadata,
        }))
    }
}

/// Returns the entry of a login host in the answer to instance discovery. Its first name is the one
/// to send requests to.
fn host_names(names: &[&str], cache: &str) -> Value {
    json!({"preferred_network": names.first(), "preferred_cache": cache, "aliases": names})
}

/// Returns the host and port of a URL of the emulator.
fn host_of(url: &str) -> &str {
    url.split("://").nth(1).unwrap_or(url)
}
