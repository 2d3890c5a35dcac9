//! `hostile::ours::template`, whatever the bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bulla_fuzz::hostile::ours::template(data));
