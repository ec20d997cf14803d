#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proteinflex_fuzz::topology(data));
