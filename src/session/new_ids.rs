//! Correlation ids that this process has generated and not used yet. A caller knows such an id before
//! the submit, and still nobody can have submitted with it: no earlier session is looked for.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

static UNUSED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
/// Ids that are never used must not fill the memory. One that is forgotten costs a lookup.
const MAX_UNUSED: usize = 1000;

/// Returns an id that nobody has used.
pub(super) fn generate() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Returns a new correlation id.
pub fn new_correlation_id() -> String {
    let id = generate();
    let mut unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner);
    if unused.len() < MAX_UNUSED {
        unused.insert(id.clone());
    }
    id
}

/// Returns whether `id` is new. After that it is not: a second submit with it looks for the first.
pub(super) fn use_id(id: &str) -> bool {
    UNUSED.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_new_once() {
        let id = new_correlation_id();
        assert_ne!(id, new_correlation_id());
        assert!(!use_id("case-1"));
        assert!(use_id(&id));
        assert!(!use_id(&id));
    }
}
