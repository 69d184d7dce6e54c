//! What a test sets (switches, faults, fixtures) and what it reads (log, counters, violations).

pub mod call_feed;
pub mod entries;
pub mod fault;
pub mod fault_rules;
pub mod fields;
pub mod fixtures;
pub mod followed_calls;
pub mod json_options;
pub mod raw_properties;
pub mod request_log;
pub mod reset;
pub mod settings;
pub mod snapshot;
pub mod submit_log;
pub mod switch_bounds;
pub mod switch_words;
pub mod switches;
