//! A bundle as it is written: protobuf JSON, read more strictly than protobuf readers do.
//!
//! They take URL-safe and unpadded base64, numbers with exponents, and fields under two names; two readers could then
//! see two documents. Here there is one spelling of everything, and an unknown member of a message is refused, as
//! Go's reader refuses it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::{CERTIFICATES, LOG_ENTRIES, PROOF_HASHES, SIGNATURES, TIMESTAMPS};
use crate::json::{Few, Obj};

/// A bundle (protobuf-specs, sigstore_bundle.proto).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Bundle {
    pub(super) media_type: String,
    pub(super) verification_material: Obj<Material>,
    #[serde(default)]
    pub(super) message_signature: Option<Obj<MessageSignature>>,
    #[serde(default)]
    pub(super) dsse_envelope: Option<Obj<Envelope>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Material {
    #[serde(default)]
    pub(super) public_key: Option<Obj<KeyHint>>,
    #[serde(default)]
    pub(super) x509_certificate_chain: Option<Obj<Chain>>,
    #[serde(default)]
    pub(super) certificate: Option<Obj<RawBytes>>,
    #[serde(default)]
    pub(super) tlog_entries: Option<Few<Obj<LogEntry>, LOG_ENTRIES>>,
    #[serde(default)]
    pub(super) timestamp_verification_data: Option<Obj<Timestamps>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyHint {
    #[serde(default)]
    pub(super) hint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chain {
    #[serde(default)]
    pub(super) certificates: Few<Obj<RawBytes>, CERTIFICATES>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawBytes {
    pub(super) raw_bytes: Base64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Timestamps {
    #[serde(default)]
    pub(super) rfc3161_timestamps: Few<Obj<Timestamp>, TIMESTAMPS>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Timestamp {
    pub(super) signed_timestamp: Base64,
}

/// A log entry. Zero and absent are one thing in protobuf, so an index may be left out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LogEntry {
    #[serde(default)]
    pub(super) log_index: Int64,
    pub(super) log_id: Obj<LogId>,
    pub(super) kind_version: Obj<KindVersion>,
    #[serde(default)]
    pub(super) integrated_time: Int64,
    #[serde(default)]
    pub(super) inclusion_promise: Option<Obj<Promise>>,
    #[serde(default)]
    pub(super) inclusion_proof: Option<Obj<Proof>>,
    pub(super) canonicalized_body: Base64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LogId {
    pub(super) key_id: Base64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KindVersion {
    pub(super) kind: String,
    pub(super) version: String,
}

impl KindVersion {
    pub(super) fn is(&self, kind: &str, version: &str) -> bool {
        self.kind == kind && self.version == version
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Promise {
    pub(super) signed_entry_timestamp: Base64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Proof {
    #[serde(default)]
    pub(super) log_index: Int64,
    pub(super) root_hash: Base64,
    pub(super) tree_size: Int64,
    #[serde(default)]
    pub(super) hashes: Few<Base64, PROOF_HASHES>,
    #[serde(default)]
    pub(super) checkpoint: Option<Obj<Checkpoint>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checkpoint {
    pub(super) envelope: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MessageSignature {
    #[serde(default)]
    pub(super) message_digest: Option<Obj<MessageDigest>>,
    pub(super) signature: Base64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageDigest {
    pub(super) algorithm: String,
    pub(super) digest: Base64,
}

/// A DSSE envelope (protobuf-specs, envelope.proto).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Envelope {
    pub(super) payload: Base64,
    pub(super) payload_type: String,
    #[serde(default)]
    pub(super) signatures: Option<Few<Obj<Signature>, SIGNATURES>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signature {
    pub(super) sig: Base64,
    #[serde(default)]
    pub(super) keyid: Option<String>,
}

/// Bytes as base64 (RFC 4648, section 4): padded, canonical, nothing between.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Base64(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Base64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Base64, E> {
                STANDARD.decode(text).map(Base64).map_err(|error| E::custom(format!("not canonical base64: {error}")))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A non-negative protobuf `int64`: a decimal string, or a plain number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Int64(pub(super) u64);

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Int64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number that is not negative")
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Int64, E> {
                match i64::try_from(value) {
                    Ok(_) => Ok(Int64(value)),
                    Err(_) => Err(E::custom(format!("{value} does not fit into 63 bits"))),
                }
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Int64, E> {
                let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
                match text.parse() {
                    Ok(value) if plain => self.visit_u64(value),
                    _ => Err(E::custom(format!("{:?} is not a plain decimal number", text.get(..40).unwrap_or(text)))),
                }
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d10_base64_has_one_spelling() {
        let read = |text: &str| serde_json::from_str::<Base64>(&format!("{text:?}"));
        assert_eq!(read("+/8=").unwrap(), Base64(vec![0xfb, 0xff]));
        for bad in ["-_8=", "+/8", "+/8==", "+/9=", " +/8=", "+/8=\n", "+ /8=", "+/8=+/8=", "="] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<Base64>("[1,2]").is_err());
        assert!(serde_json::from_str::<Base64>("5").is_err());
    }

    #[test]
    fn d07_integers_have_one_reading() {
        let read = |text: &str| serde_json::from_str::<Int64>(text).map(|Int64(value)| value);
        assert_eq!(read("5").unwrap(), 5);
        assert_eq!(read("\"5\"").unwrap(), 5);
        assert_eq!(read("\"0\"").unwrap(), 0);
        assert_eq!(read("9007199254740993").unwrap(), 9_007_199_254_740_993);
        assert_eq!(read("\"9223372036854775807\"").unwrap(), i64::MAX as u64);
        for bad in [
            "-1",
            "\"-1\"",
            "-0",
            "\"-0\"",
            "1e3",
            "\"1e3\"",
            "1.0",
            "\"+1\"",
            "\" 1\"",
            "\"01\"",
            "\"\"",
            "null",
            "true",
            "[5]",
            "9223372036854775808",
            "\"9223372036854775808\"",
            "18446744073709551616",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
