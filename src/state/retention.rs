//! How long a store keeps records that nobody deletes.

/// Seconds for which a status is kept. A caller never accepts one that is an hour old, and a poller
/// writes many.
pub const STATUSES: f64 = 3600.0;

/// Seconds for which an intent is kept after it was created.
///
/// Twice the 90 days for which the list of actions is known to be queried (docs/service.md, section
/// 6.4). How long the service lists an action is not documented. An intent that is open or in doubt
/// is kept longer.
pub const INTENTS: f64 = 180.0 * 86_400.0;

/// Seconds for which an action is kept that the service's list showed and the store did not know.
/// No check looks further back.
pub const LISTED_ACTIONS: f64 = 86_400.0;

/// Seconds between two sweeps of the memory store.
pub const SWEEP: f64 = 60.0;

/// The maximum number of old intents deleted with each new one.
pub const SWEEP_BATCH: usize = 10;
