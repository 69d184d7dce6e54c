//! Matches a method and a path to a route (docs/service.md, section 1). Paths are not
//! case-sensitive (section 3.1).

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

/// A call of the API, as its quotas count calls, or one of the two other hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Route {
    RunLiveResponse,
    GetMachineAction,
    ListMachineActions,
    GetResultLink,
    CancelMachineAction,
    ListLibraryFiles,
    UploadLibraryFile,
    DeleteLibraryFile,
    GetMachine,
    ListMachines,
    FindMachinesByIp,
    FindMachinesByTag,
    Token,
    Blob,
    Other,
}

impl Route {
    pub const COUNT: usize = 15;

    pub const ALL: [Self; Self::COUNT] = [
        Self::RunLiveResponse,
        Self::GetMachineAction,
        Self::ListMachineActions,
        Self::GetResultLink,
        Self::CancelMachineAction,
        Self::ListLibraryFiles,
        Self::UploadLibraryFile,
        Self::DeleteLibraryFile,
        Self::GetMachine,
        Self::ListMachines,
        Self::FindMachinesByIp,
        Self::FindMachinesByTag,
        Self::Token,
        Self::Blob,
        Self::Other,
    ];

    /// Returns the route's name in `counters` and in a fault.
    pub fn name(self) -> &'static str {
        match self {
            Self::RunLiveResponse => "runliveresponse",
            Self::GetMachineAction => "machineaction",
            Self::ListMachineActions => "machineactions",
            Self::GetResultLink => "resultlink",
            Self::CancelMachineAction => "cancel",
            Self::ListLibraryFiles => "libraryfiles",
            Self::UploadLibraryFile => "upload",
            Self::DeleteLibraryFile => "delete",
            Self::GetMachine => "machine",
            Self::ListMachines => "machines",
            Self::FindMachinesByIp => "findbyip",
            Self::FindMachinesByTag => "findbytag",
            Self::Token => "token",
            Self::Blob => "blob",
            Self::Other => "other",
        }
    }
}

/// A route with the parameters in its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteMatch {
    RunLiveResponse {
        machine: String,
    },
    GetMachineAction {
        id: String,
    },
    ListMachineActions {
        count_only: bool,
    },
    GetResultLink {
        id: String,
        arguments: String,
    },
    CancelMachineAction {
        id: String,
    },
    ListLibraryFiles,
    UploadLibraryFile,
    DeleteLibraryFile {
        name: String,
    },
    GetMachine {
        key: String,
    },
    ListMachines {
        count_only: bool,
    },
    FindMachinesByIp {
        arguments: String,
    },
    FindMachinesByTag,
    /// The path exists, but not with this method.
    WrongMethod,
    Unknown,
}

impl RouteMatch {
    /// Returns the route that quotas and the log count.
    pub fn route(&self) -> Route {
        match self {
            Self::RunLiveResponse { .. } => Route::RunLiveResponse,
            Self::GetMachineAction { .. } => Route::GetMachineAction,
            Self::ListMachineActions { .. } => Route::ListMachineActions,
            Self::GetResultLink { .. } => Route::GetResultLink,
            Self::CancelMachineAction { .. } => Route::CancelMachineAction,
            Self::ListLibraryFiles => Route::ListLibraryFiles,
            Self::UploadLibraryFile => Route::UploadLibraryFile,
            Self::DeleteLibraryFile { .. } => Route::DeleteLibraryFile,
            Self::GetMachine { .. } => Route::GetMachine,
            Self::ListMachines { .. } => Route::ListMachines,
            Self::FindMachinesByIp { .. } => Route::FindMachinesByIp,
            Self::FindMachinesByTag => Route::FindMachinesByTag,
            Self::WrongMethod | Self::Unknown => Route::Other,
        }
    }

    /// Matches a method and a path as they were sent.
    pub fn from_path(method: &Method, path: &str) -> Self {
        let mut segments = path.trim_start_matches('/').split('/');
        if !segments.next().is_some_and(|first| first.eq_ignore_ascii_case("api")) {
            return Self::Unknown;
        }
        // Split first: an encoded slash belongs to a name, not to the path.
        let rest: Vec<Cow<'_, str>> = segments.map(decode).collect();
        let rest: Vec<&str> = rest.iter().map(AsRef::as_ref).collect();
        let rest = match rest.split_first() {
            Some((version, rest)) if is_version(version) => rest,
            _ => &rest,
        };
        let (head, tail) = match rest.split_first() {
            Some((head, tail)) => (head.to_ascii_lowercase(), tail),
            None => return Self::Unknown,
        };
        let (get, post) = (method == Method::GET, method == Method::POST);
        let (found, allowed) = match (head.as_str(), tail) {
            ("machines", []) => (Self::ListMachines { count_only: false }, get),
            ("machines", [key]) => machines(key, get),
            ("machines", [machine, action]) if action.eq_ignore_ascii_case("runliveresponse") => {
                (Self::RunLiveResponse { machine: (*machine).to_owned() }, post)
            }
            ("machineactions", []) => (Self::ListMachineActions { count_only: false }, get),
            ("machineactions", ["$count"]) => (Self::ListMachineActions { count_only: true }, get),
            ("machineactions", [id]) => (Self::GetMachineAction { id: (*id).to_owned() }, get),
            ("machineactions", [id, what]) if what.eq_ignore_ascii_case("cancel") => {
                (Self::CancelMachineAction { id: (*id).to_owned() }, post)
            }
            ("machineactions", [id, what]) => {
                match function(what, "getliveresponseresultdownloadlink") {
                    Some(arguments) => {
                        (Self::GetResultLink { id: (*id).to_owned(), arguments }, get)
                    }
                    None => return Self::Unknown,
                }
            }
            ("libraryfiles", []) if post => (Self::UploadLibraryFile, true),
            ("libraryfiles", []) => (Self::ListLibraryFiles, get),
            ("libraryfiles", [name]) => {
                (Self::DeleteLibraryFile { name: (*name).to_owned() }, method == Method::DELETE)
            }
            _ => return Self::Unknown,
        };
        if allowed { found } else { Self::WrongMethod }
    }
}

/// Matches `/api/machines/{key}`, and whether the method is allowed.
fn machines(key: &str, get: bool) -> (RouteMatch, bool) {
    if key == "$count" {
        return (RouteMatch::ListMachines { count_only: true }, get);
    }
    if key.eq_ignore_ascii_case("findbytag") {
        return (RouteMatch::FindMachinesByTag, get);
    }
    if let Some(arguments) = function(key, "findbyip") {
        return (RouteMatch::FindMachinesByIp { arguments }, get);
    }
    (RouteMatch::GetMachine { key: key.to_owned() }, get)
}

/// Returns the arguments of an OData function call, `name(arguments)`.
fn function(segment: &str, name: &str) -> Option<String> {
    let (head, rest) = segment.split_once('(')?;
    let arguments = rest.strip_suffix(')')?;
    head.eq_ignore_ascii_case(name).then(|| arguments.to_owned())
}

/// Decodes percent-encoding.
fn decode(segment: &str) -> Cow<'_, str> {
    // Most have none, and the decoder takes each byte by itself.
    if segment.contains('%') {
        percent_decode_str(segment).decode_utf8_lossy()
    } else {
        segment.into()
    }
}

/// Returns whether a segment is the API's version, which is optional (page "exposed-apis-list").
fn is_version(segment: &str) -> bool {
    segment.strip_prefix(['v', 'V']).is_some_and(|number| number == "1.0" || number == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_not_case_sensitive() {
        let id = "6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10";
        let of = |method: Method, path: &str| RouteMatch::from_path(&method, path).route();
        assert_eq!(of(Method::POST, "/API/machines/ab/runLiveResponse"), Route::RunLiveResponse);
        assert_eq!(of(Method::GET, "/api/v1.0/machineActions"), Route::ListMachineActions);
        let link = format!("/api/machineactions/{id}/getliveresponseresultdownloadlink(index=0)");
        assert_eq!(of(Method::GET, &link), Route::GetResultLink);
        assert_eq!(of(Method::DELETE, "/api/libraryfiles/a%20b.ps1"), Route::DeleteLibraryFile);
        assert_eq!(of(Method::PUT, "/api/libraryfiles"), Route::Other);
        assert_eq!(of(Method::GET, "/elsewhere"), Route::Other);
    }
}
