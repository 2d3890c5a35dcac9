//! What the flow tests share: fakes that are real.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "every test binary uses a part of this, and a fake that cannot be made is a failed test"
)]

pub mod sigstore;
