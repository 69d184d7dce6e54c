//! Checks that the token has the permissions of a session's calls: an application's, or a person's.

use super::Check;
use super::commands::needs_upload;
use crate::auth::TokenClaims;
use crate::model::Command;
use crate::operation::Operation;
use crate::pipeline::Pipeline;

/// The scope of a token that has whatever the person may do, as that of the Azure CLI.
const EVERYTHING: &str = "user_impersonation";

pub(super) async fn check_permissions(
    pipeline: &Pipeline,
    commands: Option<&[Command]>,
    check: &mut Check,
) {
    let Ok(token) = pipeline.tokens().get_token().await else { return };
    let library = LibraryUse::of(commands.unwrap_or_default());
    check_claims(&token.claims, library, check);
}

/// What the commands need the library for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LibraryUse {
    None,
    /// The submit itself does not need the permission for the library.
    Files,
    Upload,
}

impl LibraryUse {
    fn of(commands: &[Command]) -> Self {
        if needs_upload(commands) {
            return Self::Upload;
        }
        let has_file = commands.iter().any(|command| command.library_name().is_some());
        if has_file { Self::Files } else { Self::None }
    }
}

fn check_claims(claims: &TokenClaims, library_use: LibraryUse, check: &mut Check) {
    // A token without roles and scopes proves nothing: its format may be one that is not readable.
    let proves_nothing = claims.roles.is_empty() && claims.scp.is_empty();
    if proves_nothing || has(&claims.scp, EVERYTHING) {
        return;
    }
    for operation in
        [Operation::RunLiveResponse, Operation::GetResultLink, Operation::ListLibraryFiles]
    {
        let library = operation == Operation::ListLibraryFiles;
        if is_granted(claims, operation) || (library && library_use == LibraryUse::None) {
            continue;
        }
        let is_weak = library && library_use != LibraryUse::Upload;
        let level = if is_weak { "warning" } else { "error" };
        let is_person = is_person(claims);
        let wanted =
            if is_person { operation.delegated_permissions() } else { operation.permissions() };
        let wanted = wanted.join(" or ");
        let message = format!(
            "the token lacks the permission {wanted}, without which the client cannot {}",
            operation.description()
        );
        let hint = if is_person {
            format!(
                "the token is a person's: grant the application the delegated permission {wanted} \
                 of WindowsDefenderATP in Entra ID and sign in again; the person needs the role \
                 for live response in the Defender portal and access to the device group, too"
            )
        } else {
            format!(
                "grant the application {wanted} of WindowsDefenderATP in Entra ID, with admin \
                 consent"
            )
        };
        check.add(level, "permission", message, hint);
    }
}

/// Returns whether the token is a person's: an application's has no scopes.
fn is_person(claims: &TokenClaims) -> bool {
    !claims.scp.is_empty()
}

fn is_granted(claims: &TokenClaims, operation: Operation) -> bool {
    let of = |granted: &[String], wanted: &[&str]| wanted.iter().any(|name| has(granted, name));
    of(&claims.roles, operation.permissions())
        || of(&claims.scp, operation.permissions())
        || of(&claims.scp, operation.delegated_permissions())
}

fn has(granted: &[String], name: &str) -> bool {
    granted.iter().any(|granted| granted.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(roles: &[&str], scp: &[&str]) -> Vec<String> {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let claims = TokenClaims { roles: list(roles), scp: list(scp), ..TokenClaims::default() };
        let mut check = Check::default();
        check_claims(&claims, LibraryUse::Files, &mut check);
        check.findings.into_iter().map(|it| format!("{} {}", it.message, it.hint)).collect()
    }

    #[test]
    fn a_persons_token_has_delegated_permissions() {
        let whole = ["Machine.LiveResponse", "Machine.Read", "Library.Manage"];
        for scp in [&whole[..], &["Machine.LiveResponse", "machine.readwrite", "Library.Manage"]] {
            assert!(findings(&[], scp).is_empty(), "{scp:?}");
        }
        assert!(findings(&[], &["user_impersonation"]).is_empty());
        let lacking = findings(&[], &["Machine.LiveResponse"]);
        assert_eq!(lacking.len(), 2, "{lacking:?}");
        assert!(
            lacking[0].contains("the permission Machine.Read or Machine.ReadWrite,")
                && lacking[0].contains("sign in again"),
            "{lacking:?}"
        );
    }

    #[test]
    fn an_applications_token_needs_application_permissions() {
        let roles = ["Machine.LiveResponse", "Machine.Read.All", "Library.Manage"];
        assert!(findings(&roles, &[]).is_empty() && findings(&[], &[]).is_empty());
        let lacking = findings(&["Machine.Read"], &[]);
        assert_eq!(lacking.len(), 3, "{lacking:?}");
        assert!(lacking[1].contains("Machine.Read.All or Machine.ReadWrite.All"), "{lacking:?}");
    }
}
