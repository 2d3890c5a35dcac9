//! `hostile::documents::provenance`, whatever the bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bulla_fuzz::hostile::documents::provenance(data));
