//! `hostile::documents::trust_root`, whatever the bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bulla_fuzz::hostile::documents::trust_root(data));
