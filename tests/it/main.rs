//! The one integration-test binary: linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

mod client_calls;
mod client_switches;
mod control_calls;
mod control_mistakes;
mod control_tcp;
mod emulator_actions;
mod emulator_calls;
mod emulator_certificates;
mod emulator_commands;
mod emulator_comments;
mod emulator_config;
mod emulator_data;
mod emulator_dates;
mod emulator_duplicates;
mod emulator_errors;
mod emulator_faults;
mod emulator_functions;
mod emulator_lifecycle;
mod emulator_log;
mod emulator_odata;
mod emulator_odd_records;
mod emulator_paths;
mod emulator_person;
mod emulator_properties;
mod emulator_proxy;
mod emulator_quirks;
mod emulator_refusals;
mod emulator_reports;
mod emulator_results;
mod emulator_scripts;
mod emulator_support;
mod emulator_switch_names;
mod emulator_switches;
mod emulator_tcp;
mod emulator_tokens;
mod emulator_wire;
mod fleet_outages;
mod fleet_parking;
mod fleet_properties;
mod fleet_random;
mod fleet_refetch;
mod fleet_run;
mod fleet_support;
mod fleet_until;
mod library_sync;
mod library_sync_faults;
mod local_content;
mod local_prune;
mod named_errors;
mod network;
mod odd_answers;
mod probe;
mod probe_machine;
mod probe_properties;
mod probe_support;
mod samples;
mod session_answers;
mod session_busy;
mod session_cap;
mod session_evidence;
mod session_ids;
mod session_once;
mod session_pages;
mod session_poller;
mod session_refresh;
mod session_run;
mod session_saved;
mod session_soak;
mod session_store_check;
mod session_transfers;
mod store_checks;
mod store_file;
mod store_intents;
mod store_limits;
mod store_oracle;
mod store_processes;
mod store_redis;
mod store_runs;
mod store_slots;
mod store_sqlite;
mod store_support;
mod store_tls;
mod store_unreached;
mod store_windows;
mod submit_properties;
mod submit_random;
mod support;
