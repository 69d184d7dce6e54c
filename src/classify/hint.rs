//! Hints for error responses: what the caller can do.

use http::StatusCode;

use super::cause::Cause;
use super::error_body::ErrorBody;
use super::throttle::Throttle;
use crate::error::Kind;
use crate::operation::Operation;

const GATEWAY: &str =
    "a gateway or proxy may be answering instead of the service: check endpoint and proxy";

/// Returns the hint for an error of `kind`.
pub(super) fn hint_for_error(
    kind: Kind,
    operation: Operation,
    status: StatusCode,
    error_body: &ErrorBody,
    throttle: Option<Throttle>,
) -> Option<String> {
    // What the message says is more exact than the code.
    let is_refusal = matches!(
        kind,
        Kind::Authentication | Kind::PermissionDenied | Kind::InvalidRequest | Kind::Service
    );
    if let Some(cause) = Cause::of(error_body).filter(|_| is_refusal && status.is_client_error()) {
        return Some(cause_hint(cause, operation, error_body));
    }
    match kind {
        Kind::Authentication => Some(AUTHENTICATION.to_owned()),
        Kind::PermissionDenied => Some(permission_hint(operation, error_body)),
        Kind::InvalidRequest => invalid_request_hint(operation, error_body).map(str::to_owned),
        Kind::NotFound => Some(operation.not_found_hint().to_owned()),
        Kind::MachineBusy => Some(BUSY.to_owned()),
        Kind::AlreadyExists => {
            Some("give overwrite=True to replace it, or another name".to_owned())
        }
        Kind::Throttled => Some(throttled_hint(operation, throttle).to_owned()),
        _ => Some(service_hint(operation, status, error_body).to_owned()),
    }
}

const AUTHENTICATION: &str = "the service refused the token: give a fresh one, for the audience \
    of this cloud (in the public cloud https://api.securitycenter.microsoft.com)";
const BUSY: &str = "a machine runs one live response session at a time, and queued sessions and \
    sessions of the portal count: wait for it to end (on_busy=\"wait\"), or cancel it";
const DISABLED: &str = "turn on live response in the Defender portal: Settings > Endpoints > \
    Advanced features > Live Response; for a server, Live Response for Servers too";
const INACTIVE: &str = "Defender for Endpoint is not active in the token's tenant for this API host: \
    check that the tenant has a licence and was set up (open the Defender portal once), that the \
    token is for the right tenant, and try the API host of the tenant's region in endpoint; no other \
    token helps";
const SUSPENDED: &str = "Defender for Endpoint is suspended in the token's tenant, as when its \
    licence has ended: renew the licence, or give a credential of the right tenant; no other token \
    helps";
const NO_LICENCE: &str = "the token's tenant has no licence for this API: assign a licence of Defender \
    for Endpoint (Plan 2) or Vulnerability Management in the tenant, or give a credential of the \
    right tenant; no other token helps";
const REMEDIATION: &str = "set a remediation level for the machine's device group: Settings > \
    Endpoints > Permissions > Device groups; the machine must be in such a group";

fn cause_hint(cause: Cause, operation: Operation, error_body: &ErrorBody) -> String {
    match cause {
        Cause::Disabled => DISABLED.to_owned(),
        Cause::NoRemediationLevel => REMEDIATION.to_owned(),
        Cause::NoLicence => NO_LICENCE.to_owned(),
        Cause::AccountSuspended => SUSPENDED.to_owned(),
        Cause::AccountInactive => INACTIVE.to_owned(),
        Cause::MissingRoles => permission_hint(operation, error_body),
    }
}

fn permission_hint(operation: Operation, error_body: &ErrorBody) -> String {
    let named = named_permissions(error_body.message.as_deref().unwrap_or_default());
    // The message of the service is a better source for the accepted permissions.
    let needed = if named.is_empty() { operation.permissions().to_vec() } else { named };
    let needed = match needed.as_slice() {
        [one] => format!("the permission {one}"),
        several => format!("one of the permissions {}", several.join(", ")),
    };
    format!(
        "grant the application {needed} (Entra ID > App registrations > API permissions > \
         WindowsDefenderATP), give admin consent and get a new token; a user also needs access to \
         the machine's device group; a token for another audience than that of the cloud (in the \
         public cloud https://api.securitycenter.microsoft.com) is Forbidden too"
    )
}

/// Returns the permissions that a message of the service names, such as `Machine.Read.All`.
fn named_permissions(message: &str) -> Vec<&str> {
    // "API required roles: A, B, application roles: C." names first what is needed, then what the
    // token has.
    let message = ["required roles:", "required scopes:"]
        .iter()
        .find_map(|words| message.split_once(words))
        .map_or(message, |(_, after)| after.split(':').next().unwrap_or_default());
    let words = message
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .map(|word| word.trim_matches('.'));
    let mut named = Vec::new();
    for word in words.filter(|word| word.starts_with("Machine.") || word.starts_with("Library.")) {
        if !named.contains(&word) {
            named.push(word);
        }
    }
    named
}

fn invalid_request_hint(operation: Operation, error_body: &ErrorBody) -> Option<&'static str> {
    match (error_body.code.as_deref().unwrap_or_default(), operation) {
        ("OsPlatformNotSupported", _) => {
            Some("live response is not supported on this machine's operating system")
        }
        ("ClientVersionNotSupported", _) => Some("update the Defender sensor on the machine"),
        ("MaximumBatchSizeExceeded", _) => Some("request fewer items in one call"),
        ("ODataError", _) => {
            Some("check the filter: it must use the property names and values of the service")
        }
        (_, Operation::UploadLibraryFile) => Some(LIBRARY),
        (_, Operation::RunLiveResponse) => {
            Some("commands must have the order PutFile, RunScript, GetFile, and a comment")
        }
        (_, Operation::CancelMachineAction) => Some("a finished action cannot be cancelled"),
        (_, Operation::GetResultLink) => {
            Some("a result is available some seconds after its command ended; PutFile has none")
        }
        _ => Some("the service refused the request: correct what the message names"),
    }
}

const LIBRARY: &str =
    "a library file has at most 20 MB, and its name has letters, digits, '-', '_' and '.' only";

fn throttled_hint(operation: Operation, throttle: Option<Throttle>) -> &'static str {
    match (operation, throttle) {
        (_, Some(Throttle::SessionCap)) => {
            "the service allows 50 open sessions in a tenant, including queued ones: wait until \
             some end, or cancel them"
        }
        (Operation::RunLiveResponse, _) => {
            "the service allows 10 submits a minute for one application in one tenant, in all \
             processes together: share a state store between them"
        }
        _ => {
            "the service allows 100 of these calls a minute and 1,500 an hour for one application \
             in one tenant, in all processes together: share a state store between them"
        }
    }
}

fn service_hint(operation: Operation, status: StatusCode, error_body: &ErrorBody) -> &'static str {
    match status.as_u16() {
        300..=399 => {
            "the service does not redirect: check endpoint; a sign-in page or proxy may be \
             answering"
        }
        407 => "the proxy requires a user and a password: give them in proxy or HTTPS_PROXY",
        403 => {
            "the response names no permission, so a gateway or firewall may be answering: check \
             endpoint and proxy"
        }
        // The service answers errors with JSON, a gateway with HTML.
        500..=599 if error_body.not_json => GATEWAY,
        500 if operation == Operation::RunLiveResponse => {
            "try again; if the error persists, an action may be stuck on this machine: list its \
             actions"
        }
        500..=599 => "try again; if the error persists, give the request id to Microsoft support",
        _ if error_body.not_json || error_body.format_error.is_some() => GATEWAY,
        _ => {
            "the service does not document this response; give the request id to Microsoft support"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_read_from_the_services_words() {
        let message = "The application does not have any of the required application permissions (Machine.Read.All, \
                       Machine.ReadWrite.All) to access the resource. Machine. Machine.Read.All.";
        assert_eq!(named_permissions(message), ["Machine.Read.All", "Machine.ReadWrite.All"]);
        assert!(named_permissions("The machine. Library").is_empty());
        let message = "Missing application roles. API required roles: Machine.LiveResponse, \
                       application roles: Machine.Read.All.";
        assert_eq!(named_permissions(message), ["Machine.LiveResponse"]);
    }
}
