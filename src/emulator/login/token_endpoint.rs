//! The token endpoint: OAuth2 client credentials with a secret or a certificate (docs/service.md,
//! section 4), and what it shares with the tokens of a person.

use std::collections::HashMap;

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::emulator::clock::{Tick, format_time, seconds, ticks};
use crate::emulator::login::audiences::AUDIENCE;
use crate::emulator::login::client_assertion::{self, AssertionError, AssertionPolicy};
use crate::emulator::login::hosts::ANY_TENANT;
use crate::emulator::login::tokens::{Grant, Holder, TokenClaims};
use crate::emulator::state::State;
use crate::emulator::wire::reply::Reply;

/// An error of the token endpoint. Unlike an API error, its `error` is a string, and
/// `error_description` begins with an AADSTS code.
pub struct OAuthError {
    status: StatusCode,
    error: &'static str,
    code: u32,
    message: String,
}

pub fn oauth_error(
    status: u16,
    error: &'static str,
    code: u32,
    message: impl Into<String>,
) -> OAuthError {
    OAuthError {
        status: crate::emulator::wire::reply::status(status),
        error,
        code,
        message: message.into(),
    }
}

/// A request to the token endpoint. The v1 endpoint takes `resource` in place of `scope`, and
/// returns numbers as strings.
pub struct TokenForm<'a> {
    tenant: &'a str,
    form: HashMap<String, String>,
    pub v1: bool,
}

impl<'a> TokenForm<'a> {
    pub fn parse(tenant: &'a str, body: &[u8], v1: bool) -> Self {
        Self { tenant, form: url::form_urlencoded::parse(body).into_owned().collect(), v1 }
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.form.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn required(&self, name: &str) -> Result<&str, OAuthError> {
        let message = format!("The request body must contain the following parameter: '{name}'.");
        self.field(name).ok_or_else(|| oauth_error(400, "invalid_request", 900_144, message))
    }
}

impl State {
    /// Answers a token request.
    pub fn grant_token(
        &mut self,
        request: &TokenForm<'_>,
        now: Tick,
        wall_now: f64,
    ) -> Result<Value, OAuthError> {
        match request.required("grant_type") {
            Ok("client_credentials") => {}
            Ok(
                "password"
                | "refresh_token"
                | "device_code"
                | "urn:ietf:params:oauth:grant-type:device_code",
            ) => {
                self.check_tenant(request, true)?;
                return self.grant_to_person(request, now, wall_now);
            }
            other => {
                self.check_tenant(request, false)?;
                other?;
                let message = "The app requested an unsupported grant type.";
                return Err(oauth_error(400, "unsupported_grant_type", 70_003, message));
            }
        }
        self.check_tenant(request, false)?;
        request.required("client_id")?;
        let audience = if request.v1 {
            request.required("resource")?.to_owned()
        } else {
            audience_from_scope(request.required("scope")?)?
        };
        let application = self.find_application(request)?;
        match (request.field("client_secret"), request.field("client_assertion")) {
            (Some(secret), _) => self.check_secret(application, secret)?,
            (None, Some(assertion)) => {
                let kind = request.required("client_assertion_type")?;
                self.check_assertion(application, kind, assertion, wall_now)?;
            }
            (None, None) => return Err(missing_credential()),
        }
        let lifetime = self.switches.token_life;
        let roles = self.roles_of(application);
        let token = self.issue_token(application, roles, audience, lifetime, now, wall_now);
        Ok(Value::Object(self.token_body(request, &token, lifetime)))
    }

    /// Checks that the request names the tenant, or `any` one.
    pub fn check_tenant(&self, request: &TokenForm<'_>, any: bool) -> Result<(), OAuthError> {
        let tenant = request.tenant;
        if tenant == self.tenant_id || (any && ANY_TENANT.contains(&tenant)) {
            return Ok(());
        }
        Err(oauth_error(400, "invalid_request", 90_002, format!("Tenant '{tenant}' not found.")))
    }

    /// Returns the position of the application that asks.
    pub fn find_application(&self, request: &TokenForm<'_>) -> Result<usize, OAuthError> {
        let client_id = request.required("client_id")?;
        let found = self.applications.iter().position(|known| known.client_id == client_id);
        found.ok_or_else(|| {
            let message = format!(
                "Application with identifier '{client_id}' was not found in the directory."
            );
            oauth_error(400, "unauthorized_client", 700_016, message)
        })
    }

    /// Returns the answer with a token.
    pub fn token_body(
        &self,
        request: &TokenForm<'_>,
        token: &str,
        lifetime: f64,
    ) -> Map<String, Value> {
        // Clients schedule the renewal with their own clock, so `expires_in` is in wall time.
        let seconds = (lifetime / self.speed).floor().max(1.0) as u64;
        let expires_in = if request.v1 { json!(seconds.to_string()) } else { json!(seconds) };
        let pairs = [
            ("token_type", json!("Bearer")),
            ("expires_in", expires_in.clone()),
            ("ext_expires_in", expires_in),
            ("access_token", json!(token)),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn check_secret(&self, application: usize, secret: &str) -> Result<(), OAuthError> {
        if self.applications.get(application).is_some_and(|known| known.secret == secret) {
            return Ok(());
        }
        Err(oauth_error(401, "invalid_client", 7_000_215, "Invalid client secret provided."))
    }

    fn check_assertion(
        &self,
        application: usize,
        kind: &str,
        assertion: &str,
        wall_now: f64,
    ) -> Result<(), OAuthError> {
        let invalid =
            |(code, message): AssertionError| oauth_error(401, "invalid_client", code, message);
        if kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
            return Err(invalid((50_027, "The client assertion's type is not supported.")));
        }
        let Some(known) = self.applications.get(application) else { return Ok(()) };
        let (tenant, client_id, certificates) =
            (&self.tenant_id, &known.client_id, &known.certificates);
        let policy = AssertionPolicy { tenant, client_id, certificates, wall_now };
        client_assertion::check(assertion, &policy).map_err(invalid)
    }

    fn roles_of(&self, application: usize) -> Holder {
        Holder::Roles(
            self.applications.get(application).map_or_else(Vec::new, |known| known.roles.clone()),
        )
    }

    /// Issues a token for an application.
    pub fn issue_token(
        &mut self,
        application: usize,
        holder: Holder,
        audience: String,
        lifetime: f64,
        now: Tick,
        wall_now: f64,
    ) -> String {
        let Some(known) = self.applications.get(application) else { return String::new() };
        let grant = Grant {
            application: u32::try_from(application).unwrap_or(0),
            holder,
            audience,
            expires: now + ticks(lifetime),
        };
        let claims = TokenClaims {
            tenant: &self.tenant_id,
            client_id: &known.client_id,
            issued: wall_now,
            expires: wall_now + seconds(ticks(lifetime)) / self.speed,
        };
        self.tokens.issue(grant, &claims, now)
    }

    /// Returns a token of the first application that is valid for a year.
    pub fn long_lived_token(
        &mut self,
        roles: Option<Vec<String>>,
        now: Tick,
        wall_now: f64,
    ) -> String {
        const YEAR: f64 = 365.0 * 86_400.0;
        let audience = self.switches.audiences.as_deref().and_then(<[String]>::first);
        let audience = audience.map_or_else(|| AUDIENCE.to_owned(), String::clone);
        let holder = roles.map_or_else(|| self.roles_of(0), Holder::Roles);
        self.issue_token(0, holder, audience, YEAR, now, wall_now)
    }

    pub fn oauth_error_reply(&mut self, oauth_error: &OAuthError, now: Tick) -> Reply {
        let (trace, correlation) = (self.new_uuid(), self.new_uuid());
        // Entra writes the timestamp in whole seconds with a space: `2026-03-10 14:36:51Z`.
        let time =
            format_time(now - now.rem_euclid(crate::emulator::clock::SECOND)).replace('T', " ");
        let description = format!(
            "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {time}",
            oauth_error.code, oauth_error.message
        );
        let body = json!({
            "error": oauth_error.error,
            "error_description": description,
            "error_codes": [oauth_error.code],
            "timestamp": time,
            "trace_id": trace.to_string(),
            "correlation_id": correlation.to_string(),
        });
        Reply::json(oauth_error.status, body.to_string())
    }
}

fn missing_credential() -> OAuthError {
    let message = "The request body must contain the following parameter: 'client_assertion' or \
                   'client_secret'.";
    oauth_error(401, "invalid_client", 7_000_218, message)
}

/// Returns the audience that a v2 scope requests.
fn audience_from_scope(scope: &str) -> Result<String, OAuthError> {
    let audience = scope
        .strip_suffix("/.default")
        .filter(|audience| !audience.contains(' ') && !audience.is_empty());
    audience.map(str::to_owned).ok_or_else(|| {
        let message = format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have \
             a scope value with /.default suffixed to the resource identifier."
        );
        oauth_error(400, "invalid_scope", 1_002_012, message)
    })
}
