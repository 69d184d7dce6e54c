//! Reads the federated token of a workload identity from the file that the platform maintains.

use std::path::Path;

use zeroize::Zeroizing;

use super::validate_token;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

const WORKLOAD_IDENTITY_HINT: &str = "check that the pod's service account is set up for workload \
    identity, and that AZURE_FEDERATED_TOKEN_FILE names the file";

/// Reads the token. Callers read it for every request: the platform replaces the file before its
/// token expires.
pub async fn read_token(path: &Path) -> Result<Secret> {
    let unusable = |why: String| {
        let message = format!("the federated token file {} {why}", path.display());
        Error::new(Kind::Authentication, message).with_hint(WORKLOAD_IDENTITY_HINT)
    };
    let text = tokio::fs::read_to_string(path).await.map(Zeroizing::new);
    let text =
        text.map_err(|error| unusable(format!("can't be read: {error}")).with_source(error))?;
    // The file may end in a line break.
    let token = Secret::new(text.trim());
    validate_token(&token).map_err(|_| unusable("does not hold a token".to_owned()))?;
    Ok(token)
}
