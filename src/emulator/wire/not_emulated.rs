//! Answers to requests for what the emulator does not have.

use http::{Method, StatusCode};

use crate::emulator::state::State;
use crate::emulator::wire::reply::ApiError;

/// The calls that the emulator has.
pub const EMULATED: [&str; 15] = [
    "POST /api/machines/{id}/runliveresponse",
    "GET /api/machines/{id}",
    "GET /api/machines",
    "GET /api/machines/findbyip(ip='...',timestamp=...)",
    "GET /api/machines/findbytag?tag=...",
    "GET /api/machineactions/{id}",
    "GET /api/machineactions",
    "GET /api/machineactions/{id}/GetLiveResponseResultDownloadLink(index=0)",
    "POST /api/machineactions/{id}/cancel",
    "GET /api/libraryfiles",
    "POST /api/libraryfiles",
    "DELETE /api/libraryfiles/{name}",
    "POST /{tenant}/oauth2/v2.0/token",
    "GET /{tenant}/v2.0/.well-known/openid-configuration",
    "GET /healthz",
];

/// How much of an unknown path an answer repeats.
const MAX_SHOWN: usize = 200;

/// Returns whether `path` is one of the API. All others need no token to be refused.
pub fn is_api_path(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next();
    first.is_some_and(|first| first.eq_ignore_ascii_case("api"))
}

/// Returns the 404 of a path that the emulator does not have.
pub fn not_emulated(method: &Method, path: &str) -> ApiError {
    let shown: String = path.chars().take(MAX_SHOWN).collect();
    let message =
        format!("{method} {shown} is not emulated. The emulator has {}.", EMULATED.join(", "));
    ApiError::new(StatusCode::NOT_FOUND, "NotFound", message)
}

impl State {
    /// Returns the 404 of an unknown path of the API. An unknown machine comes first.
    pub fn unknown_path(&self, method: &Method, path: &str) -> ApiError {
        let lower = path.to_ascii_lowercase();
        let mut segments = lower.split('/').skip_while(|segment| *segment != "machines").skip(1);
        match (segments.next(), segments.next()) {
            (Some(machine), Some(_)) if self.machines.find(machine).is_none() => {
                machine_not_found(machine)
            }
            _ => not_emulated(method, path),
        }
    }
}

/// Returns the 404 of an unknown machine.
pub fn machine_not_found(key: &str) -> ApiError {
    ApiError::not_found(format!("Machine {key} was not found"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::login::endpoints::is_login_path;
    use crate::emulator::wire::routes::{Route, RouteMatch};

    #[test]
    fn each_call_that_is_named_is_there() {
        let mut routes = std::collections::BTreeSet::new();
        for call in EMULATED {
            let (method, path) = call.split_once(' ').unwrap();
            let path = path.split('?').next().unwrap();
            if is_login_path(path) || path == crate::emulator::wire::exchange::HEALTH_PATH {
                continue;
            }
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert!(routes.insert(RouteMatch::from_path(&method, path).route()), "{call}");
        }
        let others = [Route::Token, Route::Blob, Route::Other];
        assert!(Route::ALL.iter().all(|it| routes.contains(it) != others.contains(it)));
    }
}
