//! Tokens of a person: by device code, by password, by refresh token (docs/service.md, section 4.4).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::emulator::clock::{Tick, ticks};
use crate::emulator::login::sign_ins::SignIn;
use crate::emulator::login::token_endpoint::{OAuthError, TokenForm, oauth_error};
use crate::emulator::login::tokens::{Holder, Person};
use crate::emulator::state::State;

/// Who signs in with a device code.
const DEVICE_USER: &str = "analyst@example.test";
/// How long a device code is valid, in seconds.
const DEVICE_CODE_LIFE: f64 = 900.0;

/// The delegated permissions of the calls in docs/service.md, section 1.
pub const SCOPES: [&str; 5] = [
    "Machine.LiveResponse",
    "Machine.Read",
    "Machine.ReadWrite",
    "Library.Manage",
    "Machine.CollectForensics",
];

impl State {
    /// Starts a sign-in on another device. The emulator approves it at once.
    pub fn start_device_code(
        &mut self,
        request: &TokenForm<'_>,
        now: Tick,
    ) -> Result<Value, OAuthError> {
        self.check_tenant(request, true)?;
        let sign_in = self.sign_in(request, DEVICE_USER)?;
        let code = self.new_uuid().simple().to_string();
        let user_code = code.get(..9).unwrap_or_default().to_uppercase();
        self.sign_ins.device_codes.insert(code.clone(), (sign_in, now + ticks(DEVICE_CODE_LIFE)));
        let login = &self.addresses.login;
        // The names of v1 and of v2.
        Ok(json!({
            "device_code": code,
            "user_code": user_code,
            "verification_uri": login,
            "verification_url": login,
            "expires_in": DEVICE_CODE_LIFE,
            "interval": 1,
            "message": format!("The emulator signs {DEVICE_USER} in. There is nothing to enter."),
        }))
    }

    /// Answers a token request for a person.
    pub fn grant_to_person(
        &mut self,
        request: &TokenForm<'_>,
        now: Tick,
        wall_now: f64,
    ) -> Result<Value, OAuthError> {
        let sign_in = match request.required("grant_type")? {
            "password" => {
                let user = request.required("username")?.to_owned();
                request.required("password")?;
                self.sign_in(request, &user)?
            }
            "refresh_token" => {
                let token = request.required("refresh_token")?;
                let known = self.sign_ins.refresh_tokens.get(token).cloned();
                known.ok_or_else(|| invalid_grant(70_000, "The refresh token is not valid."))?
            }
            _ => {
                // The name of v2, and that of v1.
                let code = request.field("device_code").or_else(|| request.field("code"));
                let known = code.and_then(|code| self.sign_ins.device_codes.remove(code));
                let expired = || oauth_error(400, "expired_token", 70_020, "The code has expired.");
                let (sign_in, expires) = known.ok_or_else(expired)?;
                Some(sign_in).filter(|_| expires > now).ok_or_else(expired)?
            }
        };
        let client_id = request.required("client_id")?;
        let application = self.applications.get(sign_in.application);
        if application.is_none_or(|known| known.client_id != client_id) {
            return Err(invalid_grant(70_000, "The grant is for another application."));
        }
        Ok(self.person_tokens(request, &sign_in, now, wall_now))
    }

    fn sign_in(&self, request: &TokenForm<'_>, user: &str) -> Result<SignIn, OAuthError> {
        let application = self.find_application(request)?;
        let (audience, scopes) = if request.v1 {
            let all = SCOPES.map(str::to_owned).to_vec();
            (request.required("resource")?.to_owned(), all)
        } else {
            requested_scopes(request.required("scope")?)?
        };
        Ok(SignIn { application, audience, person: Person { name: user.to_owned(), scopes } })
    }

    fn person_tokens(
        &mut self,
        request: &TokenForm<'_>,
        sign_in: &SignIn,
        now: Tick,
        wall_now: f64,
    ) -> Value {
        let SignIn { application, audience, person } = sign_in.clone();
        let lifetime = self.switches.token_life;
        let scopes: Vec<_> =
            person.scopes.iter().map(|scope| format!("{audience}/{scope}")).collect();
        let id_token = self.id_token(request, &person, wall_now);
        let client_info = json!({"uid": person.object_id(), "utid": self.tenant_id}).to_string();
        let holder = Holder::Person(person);
        let token = self.issue_token(application, holder, audience, lifetime, now, wall_now);
        let refresh_token = self.new_uuid().simple().to_string();
        self.sign_ins.refresh_tokens.insert(refresh_token.clone(), sign_in.clone());
        let mut body = self.token_body(request, &token, lifetime);
        for (name, value) in [
            ("scope", scopes.join(" ")),
            ("refresh_token", refresh_token),
            ("id_token", id_token),
            ("client_info", URL_SAFE_NO_PAD.encode(client_info)),
        ] {
            body.insert(name.to_owned(), value.into());
        }
        Value::Object(body)
    }

    /// Returns the token that says who signed in. Clients read it, and check neither signature.
    fn id_token(&self, request: &TokenForm<'_>, person: &Person, wall_now: f64) -> String {
        let header = json!({"typ": "JWT", "alg": "RS256"}).to_string();
        let login = &self.addresses.login;
        let claims = json!({
            "aud": request.field("client_id"),
            "iss": format!("{login}/{}/v2.0", self.tenant_id),
            "tid": self.tenant_id,
            "sub": person.object_id(),
            "oid": person.object_id(),
            "preferred_username": person.name,
            "iat": wall_now as i64,
            "nbf": wall_now as i64,
            "exp": wall_now as i64 + 3600,
            "ver": "2.0",
        })
        .to_string();
        [header, claims, "emulator".to_owned()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
    }
}

fn invalid_grant(code: u32, message: &str) -> OAuthError {
    oauth_error(400, "invalid_grant", code, message)
}

/// Returns the audience and the permissions that a scope asks for.
fn requested_scopes(text: &str) -> Result<(String, Vec<String>), OAuthError> {
    let invalid = || {
        let message =
            format!("The provided value for the input parameter 'scope' is not valid: {text}.");
        oauth_error(400, "invalid_scope", 70_011, message)
    };
    let (mut audience, mut scopes) = (None, Vec::new());
    for scope in text.split_whitespace() {
        if matches!(scope, "openid" | "profile" | "email" | "offline_access") {
            continue;
        }
        let (resource, name) = scope.rsplit_once('/').ok_or_else(invalid)?;
        if *audience.get_or_insert(resource) != resource {
            return Err(invalid());
        }
        match SCOPES.iter().find(|known| name.eq_ignore_ascii_case(known)) {
            Some(known) => scopes.push((*known).to_owned()),
            None if name == ".default" => scopes = SCOPES.map(str::to_owned).to_vec(),
            None => return Err(invalid()),
        }
    }
    Ok((audience.ok_or_else(invalid)?.to_owned(), scopes))
}
