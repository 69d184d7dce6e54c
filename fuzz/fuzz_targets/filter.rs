#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mde_live_response::fuzz::filter(data));
