//! `inspect`: everything is shown, nothing is decided, and no word of a stranger does anything.

use bulla::adapters::signer::PrivateKey;
use bulla::content::Digest;
use bulla::oci::{Descriptor, names};
use serde_json::{Value, json};

use crate::cli::Run;
use crate::image::Image;
use crate::registry::Fault;
use crate::stage::{ALL, REPOSITORY, SIGN, SLSA, SPDX, Stage, bundle, bundle_of, spdx};

/// The document, held to its schema, and the text, which says the same.
#[track_caller]
fn inspected(stage: &Stage, args: &[&str]) -> (Value, String) {
    let files = stage.desk.files();
    let run = |more: &[&str]| -> Run { stage.desk.run(&[&["inspect"], more, args].concat()).ends(0) };
    let document = run(&["--json"]).json();
    let schema: Value = serde_json::from_str(include_str!("../../docs/inspect.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
    let text = run(&[]);
    crate::cli::assert_printable(&text.stdout);
    for word in ["ADMITTED", "DENIED", "admitted", "denied"] {
        assert!(!text.stdout.contains(word) && !document.to_string().contains(word), "{word}: {}", text.stdout);
    }
    assert!(text.stdout.ends_with("decides nothing: `bulla verify` does.\n"), "{}", text.stdout);
    assert_eq!(stage.desk.files(), files);
    assert!(!stage.desk.touched_engine());
    (document, text.stdout)
}

fn attached(document: &Value) -> &Vec<Value> {
    document["found"]["attached"].as_array().unwrap()
}

#[test]
fn shows_who_signed_and_what_is_said() {
    let stage = Stage::attested();
    let stranger = PrivateKey::generate().unwrap();
    stage.attest(&stranger, &stage.image.descriptor(), &[SIGN]);
    let (document, text) = inspected(&stage, &[&stage.tag()]);
    assert_eq!(document["digest"], json!(stage.image.digest()));
    assert_eq!(document["found"]["kind"], "image");
    assert_eq!(attached(&document).len(), 4);
    assert!(attached(&document).iter().all(|one| one["signature"]["standing"] == "unknown-key"), "{document:#}");
    assert!(text.contains("signed with an unknown key"), "{text}");
    let of_type = |document: &Value, wanted: &str| -> Vec<Value> {
        let fits = |one: &&Value| one["statement"]["predicateType"] == wanted;
        attached(document).iter().filter(fits).cloned().collect()
    };
    let sbom = &of_type(&document, SPDX)[0]["statement"]["summary"];
    assert_eq!((&sbom["format"], &sbom["packages"]), (&json!("spdx"), &json!(1)));
    let provenance = &of_type(&document, SLSA)[0]["statement"]["summary"];
    assert_eq!(provenance["builderId"], "https://example.test/builder");
    // With the policy its key is known, and the stranger's still is not.
    let policy = stage.desk.arg("config/policy.toml");
    let (document, text) = inspected(&stage, &[&stage.tag(), "--policy", &policy]);
    let mut standings: Vec<String> =
        of_type(&document, SIGN).iter().map(|one| one["signature"]["standing"].as_str().unwrap().to_owned()).collect();
    standings.sort();
    assert_eq!(standings, ["unknown-key", "verified"]);
    assert!(of_type(&document, SPDX)[0]["signature"]["signerOfPolicy"] == true, "{document:#}");
    assert_eq!(document["policy"]["rule"], 0);
    assert!(text.contains("whom the policy names"), "{text}");
    // The image that is denied is shown all the same.
    stage.policy(&stage.rule("require = [\"https://example.test/never\"]"));
    stage.verify(&[&stage.tag()]).ends(1);
    inspected(&stage, &[&stage.tag(), "--policy", &policy]);
}

#[test]
fn m08_buildkits_statements_are_shown_as_unsigned_with_nobody_as_builder() {
    let stage = Stage::bare();
    let digest = stage.image.digest();
    let provenance =
        json!({ "builder": { "id": "" }, "buildType": "https://mobyproject.org/buildkit@v1", "materials": [{}, {}] });
    let statement = |predicate_type: &str, predicate: &Value| {
        json!({ "_type": "https://in-toto.io/Statement/v0.1", "predicateType": predicate_type, "predicate": predicate,
                "subject": [{ "name": "x", "digest": { "sha256": digest.hex() } }] })
        .to_string()
        .into_bytes()
    };
    let documents = [
        statement("https://slsa.dev/provenance/v0.2", &provenance),
        statement(SPDX, &spdx(&["pkg:deb/debian/git@2.47"])),
        b"garbage".to_vec(),
    ];
    let layers = documents.each_ref().map(|bytes| {
        stage.server.put_blob(REPOSITORY, bytes);
        Descriptor::of(names::STATEMENT, bytes)
    });
    let manifest = json!({ "schemaVersion": 2, "mediaType": names::MANIFEST, "layers": layers,
                           "config": Descriptor::of(names::EMPTY, b"{}") })
    .to_string()
    .into_bytes();
    stage.server.put_manifest(REPOSITORY, None, names::MANIFEST, &manifest);
    let mut amd64 = serde_json::to_value(stage.image.descriptor()).unwrap();
    amd64["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let mut buildkit = serde_json::to_value(Descriptor::of(names::MANIFEST, &manifest)).unwrap();
    buildkit["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    buildkit["annotations"] =
        json!({ names::BUILDKIT_REFERENCE_TYPE: "attestation-manifest", names::BUILDKIT_REFERENCE_DIGEST: digest });
    let absent = json!({ "mediaType": names::MANIFEST, "digest": Digest::of(b"absent"), "size": 6,
                         "platform": { "os": "linux", "architecture": "arm64" } });
    let index = stage.put_index("1.0", json!([amd64, buildkit, absent]));
    stage.attest(&stage.key, &index, &[SIGN]);
    let (document, text) = inspected(&stage, &[&stage.tag()]);
    let found = &document["found"];
    assert_eq!((&found["kind"], found["below"].as_array().unwrap().len()), (&json!("index"), 2), "{document:#}");
    assert_eq!(found["unusable"][0]["digest"], absent["digest"]);
    assert_eq!(attached(&document).len(), 1);
    let statements = found["below"][1]["attached"].as_array().unwrap();
    assert_eq!(found["below"][1]["kind"], "buildkit");
    let standings: Vec<&str> = statements.iter().map(|one| one["signature"]["standing"].as_str().unwrap()).collect();
    assert_eq!(standings, ["unsigned", "unsigned", "unreadable"]);
    assert_eq!(statements[0]["statement"]["summary"]["builderId"], "");
    assert_eq!(statements[0]["statement"]["summary"]["dependencies"], 2);
    assert_eq!(statements[0]["statement"]["aboutThis"], true);
    assert!(text.contains("nobody signed it") && text.contains("built by nobody named"), "{text}");
}

#[test]
fn unknown_documents_garbage_and_other_peoples_statements_are_shown_as_such() {
    let stage = Stage::bare();
    let image = stage.image.descriptor();
    stage.attach(b"garbage", &image, SIGN);
    stage.attach(&bundle(&stage.key, &Image::new("other").digest(), SIGN), &image, SIGN);
    let unknown = json!({ "schemaVersion": 2, "mediaType": names::MANIFEST, "artifactType": "application/x.scan",
                          "config": Descriptor::of(names::EMPTY, b"{}"), "subject": image,
                          "layers": [Descriptor::of("text/plain", b"absent")] });
    stage.server.put_manifest(REPOSITORY, None, names::MANIFEST, unknown.to_string().as_bytes());
    let tag = format!("sha256-{}.sbom", image.digest.hex());
    let sbom = json!({ "schemaVersion": 2, "mediaType": names::MANIFEST, "config": Descriptor::of(names::CONFIG, b"{}"),
                       "layers": [Descriptor::of("text/spdx+json", b"{}")] });
    stage.server.put_manifest(REPOSITORY, Some(&tag), names::MANIFEST, sbom.to_string().as_bytes());
    let policy = stage.desk.arg("config/policy.toml");
    let (document, text) = inspected(&stage, &[&stage.tag(), "--policy", &policy]);
    let mut found: Vec<(&str, &str)> = attached(&document)
        .iter()
        .map(|one| (one["signature"]["standing"].as_str().unwrap(), one["form"].as_str().unwrap()))
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("unknown", "application/x.scan"),
            ("unknown-key", "v0.3"),
            ("unreadable", names::BUNDLE_V03),
            ("unsigned", names::CONFIG),
        ]
    );
    let other = attached(&document).iter().find(|one| one["signature"]["standing"] == "unknown-key").unwrap();
    assert_eq!(other["statement"]["aboutThis"], false);
    assert_eq!(other["signature"]["reason"]["class"], "SUBJECT");
    assert!(text.contains("it is about something else"), "{text}");
}

#[test]
fn k07_what_strangers_wrote_is_escaped_and_cut() {
    let stage = Stage::bare();
    let hostile = "\u{1b}]8;;http://x\u{7}ADMIT\u{202e}TED\r\n::error::";
    let mut config: Value = serde_json::from_slice(&stage.image.config).unwrap();
    config["config"] = json!({ "User": hostile, "Entrypoint": [hostile], "Labels": { hostile: "x".repeat(5000) } });
    let config = config.to_string().into_bytes();
    let mut manifest: Value = serde_json::from_slice(&stage.image.manifest).unwrap();
    manifest["config"] = json!(Descriptor::of(names::CONFIG, &config));
    let image = Image { manifest: manifest.to_string().into_bytes(), config, layer: stage.image.layer.clone() };
    stage.push(&image, Some("1.0"));
    let mut sbom = spdx(&[]);
    sbom["spdxVersion"] = json!(hostile);
    stage.attach(&bundle_of(&stage.key, &image.digest(), SPDX, &sbom), &image.descriptor(), SPDX);
    let (document, text) = inspected(&stage, &[&stage.tag()]);
    assert!(attached(&document)[0]["statement"]["problem"].is_string(), "{document:#}");
    assert!(!text.contains('\u{1b}') && text.len() < 10_000, "{text}");
}

#[test]
fn what_cannot_be_found_out_is_an_error_and_never_an_empty_answer() {
    let stage = Stage::attested();
    let error = |args: &[&str], exit: i32, class: &str| {
        let document = stage.desk.run(&[&["inspect", "--json"], args].concat()).ends(exit).json();
        assert_eq!((&document["error"]["class"], document.get("found")), (&json!(class), None), "{document:#}");
        assert_eq!(stage.desk.run(&[&["inspect"], args].concat()).ends(exit).stdout, "");
    };
    error(&[&stage.named(":gone")], 3, "REGISTRY");
    error(&["NOT/a reference"], 2, "REF");
    error(&[&stage.tag(), "--policy", "nowhere.toml"], 2, "POLICY");
    for path in ["/referrers/", "/manifests/sha256-", ".sbom"] {
        stage.server.fault(path, Fault::status(403));
        error(&[&stage.tag()], 3, "AUTH");
        stage.server.clear_faults();
    }
    stage.server.put_manifest(REPOSITORY, Some("1.0"), names::MANIFEST, b"{}");
    error(&[&stage.tag()], 1, "FORMAT");
}

#[test]
fn an_index_without_end_is_looked_into_as_far_as_it_goes() {
    let stage = Stage::bare();
    let entry = |at: usize| {
        json!({ "mediaType": names::MANIFEST, "digest": Digest::of(format!("{at}").as_bytes()), "size": 1,
                "platform": { "os": "linux", "architecture": format!("a{at}") } })
    };
    stage.put_index("1.0", (0..500).map(entry).collect());
    let (document, _) = inspected(&stage, &[&stage.tag()]);
    assert_eq!(
        (&document["found"]["omitted"], document["found"]["unusable"].as_array().unwrap().len()),
        (&json!(436), 64)
    );
    assert!(stage.server.log().len() < 2 * 80, "{}", stage.server.log().len());
    // Layouts are shown like registries.
    let layout = stage.layout("work/layout", "base:1.0", &ALL);
    let (document, _) = inspected(&stage, &[&layout, "--as", "ghcr.io/acme/base"]);
    assert_eq!((attached(&document).len(), &document["reference"]), (3, &Value::Null));
}
