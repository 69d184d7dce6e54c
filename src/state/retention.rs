//! How long a store keeps what nobody removes.

/// Seconds. Nobody who asks for a fresher look is served by one of an hour ago, and a poller makes many.
pub const STATUSES: f64 = 3600.0;

/// Seconds, from when the intent was made: twice as long as the list is known to be asked for (facts, section 6.4).
/// How long the service lists an action is not documented. An intent that is open or in doubt is kept longer.
pub const INTENTS: f64 = 180.0 * 86_400.0;

/// Seconds between two sweeps of the store in memory.
pub const SWEEP: f64 = 60.0;

/// Old intents that go with each new one, at the most.
pub const SWEEP_BATCH: usize = 10;
