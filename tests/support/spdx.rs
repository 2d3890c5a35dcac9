//! An SBOM as small as one can be.

#![allow(unreachable_pub, reason = "some tests hand it on, some do not")]

use bulla::content::Digest;
use serde_json::{Value, json};

/// An SPDX document of these packages beside its root.
pub fn spdx(purls: &[&str]) -> Value {
    let package = |purl: &&str| {
        json!({
            "SPDXID": format!("SPDXRef-{}", Digest::of(purl.as_bytes()).hex()), "name": purl, "versionInfo": "1",
            "downloadLocation": "NOASSERTION",
            "externalRefs": [
                { "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl },
            ],
        })
    };
    let mut packages = vec![json!({ "SPDXID": "SPDXRef-root", "name": "base", "downloadLocation": "NOASSERTION" })];
    packages.extend(purls.iter().map(package));
    json!({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "base",
        "documentNamespace": "https://example.test/base",
        "creationInfo": { "created": "2026-11-21T08:00:00Z", "creators": ["Tool: test"] },
        "packages": packages,
        "relationships": [{
            "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-root",
        }],
    })
}
