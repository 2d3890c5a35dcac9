//! What is said about an image that was built again here and came out the same: docs/rebuild.md.

use serde_json::json;

use super::BuildRecord;

/// The predicate of such a statement; its subject is the image, whose digest the record has. It is no provenance: it
/// does not say where the published image came from, only that these inputs give the same bytes again.
pub fn predicate(record: &BuildRecord) -> Vec<u8> {
    let template = &record.template;
    let value = json!({
        "rebuilder": { "id": record.builder_id, "version": { "bulla": record.tool.version } },
        "template": {
            "name": template.name,
            "release": template.release,
            "bundled": template.bundled,
            "digest": { "sha256": template.digest.hex() },
            "lock": { "sha256": template.lock.hex() },
        },
        "platform": record.platform.to_string(),
        "sourceDateEpoch": record.source_date_epoch,
        "engine": { "name": record.engine.name, "version": record.engine.version },
        "network": record.engine.network,
        "canonicalImage": { "rules": record.image.rules, "compression": record.image.compression },
        "inputs": record.inputs.count,
        "builds": record.builds,
    });
    crate::json::pretty(&value)
}
