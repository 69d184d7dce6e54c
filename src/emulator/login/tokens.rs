//! Issued tokens, and the permissions and audience that each API call requires (docs/service.md,
//! sections 1 and 4).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use foldhash::HashMap;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::emulator::clock::Tick;
use crate::emulator::control::switches::{MissingRoleText, ReadPermission, Switches};
use crate::emulator::login::audiences;
use crate::emulator::wire::reply::ApiError;
use crate::emulator::wire::routes::Route;

/// Every application permission that a call of docs/service.md, section 1, accepts.
pub const ROLES: [&str; 11] = [
    "Machine.LiveResponse",
    "Machine.Read.All",
    "Machine.ReadWrite.All",
    "Library.Manage",
    "Machine.CollectForensics",
    "Machine.Isolate",
    "Machine.RestrictExecution",
    "Machine.Scan",
    "Machine.Offboard",
    "Machine.StopAndQuarantine",
    "Machine.Read",
];

/// An application registered in the tenant.
#[derive(Clone, Debug)]
pub struct Application {
    pub client_id: String,
    pub name: String,
    pub secret: String,
    pub roles: Vec<String>,
    /// The certificates that may sign its assertions, in DER form.
    pub certificates: Vec<Vec<u8>>,
}

/// What a token allows at an audience, until it expires.
#[derive(Clone, Debug)]
pub struct Grant {
    pub application: u32,
    pub holder: Holder,
    pub audience: String,
    pub expires: Tick,
}

/// Whose permissions a token has.
#[derive(Clone, Debug)]
pub enum Holder {
    /// The application's own.
    Roles(Vec<String>),
    /// Those of a person who signed in.
    Person(Person),
}

/// A person, and what the application may do for them.
#[derive(Clone, Debug)]
pub struct Person {
    pub name: String,
    pub scopes: Vec<String>,
}

impl Person {
    /// Returns the person's id in the directory.
    pub fn object_id(&self) -> String {
        let digest = Sha256::digest(self.name.to_lowercase());
        let bytes = digest.first_chunk::<16>().copied().unwrap_or_default();
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

impl Grant {
    /// Returns the person who signed in, if it is not the application's own.
    pub fn person(&self) -> Option<&Person> {
        match &self.holder {
            Holder::Person(person) => Some(person),
            Holder::Roles(_) => None,
        }
    }
}

/// The issued tokens that have not expired.
#[derive(Debug)]
pub struct TokenStore {
    grants: HashMap<String, Grant>,
    key: [u8; 16],
    serial: u64,
}

impl TokenStore {
    pub fn new(key: [u8; 16]) -> Self {
        Self { grants: HashMap::default(), key, serial: 0 }
    }

    /// Issues a token. It is a JWT because clients read its `claims`. `authorize` does not decode it,
    /// but finds its grant by the whole text.
    pub fn issue(&mut self, grant: Grant, claims: &TokenClaims<'_>, now: Tick) -> String {
        // Long runs issue many tokens; without this the map would grow without bound.
        self.grants.retain(|_, old| old.expires > now);
        self.serial += 1;
        let header = json!({"typ": "JWT", "alg": "HS256"}).to_string();
        let id = Uuid::from_u128(u128::from_le_bytes(self.key) ^ u128::from(self.serial));
        let mut payload = json!({
            "aud": grant.audience,
            "iss": format!("https://sts.windows.net/{}/", claims.tenant),
            "tid": claims.tenant,
            "appid": claims.client_id,
            "ver": "1.0",
            "uti": id.to_string(),
            "iat": claims.issued as i64,
            "nbf": claims.issued as i64,
            "exp": claims.expires as i64,
        });
        if let Some(payload) = payload.as_object_mut() {
            payload.extend(grant.holder.claims());
        }
        let signed =
            [header, payload.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = Sha256::new().chain_update(self.key).chain_update(&signed).finalize();
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        self.grants.insert(token.clone(), grant);
        token
    }

    /// Revokes the token in the Authorization header.
    pub fn revoke(&mut self, headers: &HeaderMap) {
        if let Some(token) = bearer_token(headers) {
            self.grants.remove(token);
        }
    }

    /// Returns the grant of the call's token, or the 401 or 403 that `route` answers.
    pub fn authorize(
        &self,
        headers: &HeaderMap,
        route: Route,
        switches: &Switches,
        now: Tick,
    ) -> Result<&Grant, ApiError> {
        let unauthorized =
            |message: &str| ApiError::new(StatusCode::UNAUTHORIZED, "Unauthorized", message);
        let token = bearer_token(headers)
            .ok_or_else(|| unauthorized("Authorization header is missing or invalid."))?;
        let grant =
            self.grants.get(token).ok_or_else(|| unauthorized("The token is not valid."))?;
        if grant.expires <= now {
            return Err(unauthorized("The token has expired."));
        }
        if !audiences::is_accepted(&grant.audience, switches.audiences.as_deref()) {
            let status = crate::emulator::wire::reply::status(switches.wrong_audience_status);
            let code = if status == StatusCode::FORBIDDEN { "Forbidden" } else { "Unauthorized" };
            return Err(ApiError::new(
                status,
                code,
                "The token's audience is not valid for this resource.",
            ));
        }
        let required = match &grant.holder {
            Holder::Roles(_) => required_permissions(route, switches),
            Holder::Person(_) => required_scopes(route, switches),
        };
        let granted = match &grant.holder {
            Holder::Roles(granted) => granted,
            Holder::Person(person) => &person.scopes,
        };
        if required.is_empty() || granted.iter().any(|name| required.contains(&name.as_str())) {
            return Ok(grant);
        }
        // The messages captured in microsoft-365-docs issues 6053 and 12426.
        let wanted = required.join(", ");
        let message = match switches.missing_role_text {
            MissingRoleText::Permissions => format!(
                "The application does not have any of the required application permissions \
                 ({wanted}) to access the resource."
            ),
            MissingRoleText::Roles => format!(
                "Missing application roles. API required roles: {wanted}, application roles: {}.",
                granted.join(", ")
            ),
        };
        Err(ApiError::forbidden("Forbidden", message))
    }
}

impl Holder {
    /// Returns the claims that say what the token allows.
    fn claims(&self) -> serde_json::Map<String, Value> {
        let pairs = match self {
            Self::Roles(roles) => vec![("roles", json!(roles))],
            Self::Person(person) => vec![
                ("scp", json!(person.scopes.join(" "))),
                ("upn", json!(person.name)),
                ("unique_name", json!(person.name)),
                ("oid", json!(person.object_id())),
            ],
        };
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The claims of a token that depend on its application. Times are wall clock Unix seconds.
pub struct TokenClaims<'a> {
    pub tenant: &'a str,
    pub client_id: &'a str,
    pub issued: f64,
    pub expires: f64,
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) =
        std::str::from_utf8(headers.get(AUTHORIZATION)?.as_bytes()).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Returns the application permissions of `route`: one of them is enough. The 403 message lists
/// them in this order.
fn required_permissions(route: Route, switches: &Switches) -> &'static [&'static str] {
    match route {
        Route::RunLiveResponse => &["Machine.LiveResponse"],
        Route::GetMachineAction
        | Route::ListMachineActions
        | Route::GetResultLink
        | Route::GetMachine
        | Route::ListMachines
        | Route::FindMachinesByIp
        | Route::FindMachinesByTag => match switches.read_permission {
            ReadPermission::Any => &["Machine.Read.All", "Machine.ReadWrite.All"],
            ReadPermission::ReadWrite => &["Machine.ReadWrite.All"],
        },
        Route::CancelMachineAction => &[
            "Machine.CollectForensics",
            "Machine.Isolate",
            "Machine.RestrictExecution",
            "Machine.Scan",
            "Machine.Offboard",
            "Machine.StopAndQuarantine",
            "Machine.LiveResponse",
        ],
        Route::ListLibraryFiles | Route::UploadLibraryFile | Route::DeleteLibraryFile => {
            &["Library.Manage"]
        }
        Route::Token | Route::Blob | Route::Other => &[],
    }
}

/// Returns the delegated permissions of `route`: one of them is enough.
fn required_scopes(route: Route, switches: &Switches) -> &'static [&'static str] {
    match route {
        Route::GetResultLink => &["Machine.LiveResponse"],
        Route::GetMachineAction
        | Route::ListMachineActions
        | Route::GetMachine
        | Route::ListMachines
        | Route::FindMachinesByIp
        | Route::FindMachinesByTag => match switches.read_permission {
            ReadPermission::Any => &["Machine.Read", "Machine.ReadWrite"],
            ReadPermission::ReadWrite => &["Machine.ReadWrite"],
        },
        // The names of all others are those of the application permissions.
        _ => required_permissions(route, switches),
    }
}
