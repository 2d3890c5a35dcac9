//! SLSA provenance: v1 written and read, v0.2 read into the same view.
//!
//! Reading follows the monotonic principle of in-toto: fields that are not known are passed over. What is known must
//! be there once, in its own spelling and of its own type.

mod resource;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::class::{Class, Classified};
use crate::json::{self, JsonError, Obj, Shape};

pub use super::predicate_types::{SLSA_V1, SLSA_V02};
pub use resource::ResourceDescriptor;

/// Size of one predicate, in bytes. Ours have 300 KB for 400 inputs; BuildKit's with sources stay below 3 MB.
pub const PREDICATE: u64 = 8 << 20;
/// Entries of one list of a predicate. Templates have some hundred inputs.
pub const ENTRIES: usize = 20_000;

/// Why a provenance predicate was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProvenanceError {
    /// Not JSON, or not unambiguous JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Not a provenance predicate type, or not one that is understood.
    #[error("{0:?} is not the predicate type of a provenance that is understood ({SLSA_V1}, {SLSA_V02})")]
    PredicateType(String),
    /// JSON that breaks a rule of SLSA.
    #[error("the provenance is not acceptable: {0}")]
    Malformed(String),
    /// Larger, or with more entries, than is taken.
    #[error("the provenance has more than the limit of {limit} {unit}")]
    Limit {
        /// The bound.
        limit: u64,
        /// What is counted.
        unit: &'static str,
    },
}

impl Classified for ProvenanceError {
    fn class(&self) -> Class {
        match self {
            Self::Json(error) => error.class(),
            Self::PredicateType(_) => Class::Predicate,
            Self::Malformed(_) => Class::Provenance,
            Self::Limit { .. } => Class::Limit,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Json(error) => error.code(),
            Self::PredicateType(_) => "not-provenance",
            Self::Malformed(_) => "malformed-provenance",
            Self::Limit { .. } => "provenance-too-large",
        }
    }
}

/// Where a SLSA v0.2 build took its configuration from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigSource {
    /// `git+https://…@ref`.
    pub uri: Option<String>,
    /// Digests by algorithm; a commit stands under `sha1`.
    pub digest: BTreeMap<String, String>,
    /// The workflow or build file within it.
    pub entry_point: Option<String>,
}

/// What a build says about itself. Every claim in it is as good as its signer, and no better.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// URI of the kind of build, which gives the parameters their meaning.
    pub build_type: String,
    /// What the caller chose. For v0.2: `invocation.parameters`.
    pub external_parameters: Map<String, Value>,
    /// What the builder chose. For v0.2: `invocation.environment`.
    pub internal_parameters: Map<String, Value>,
    /// What went in. For v0.2: `materials`.
    pub resolved_dependencies: Vec<ResourceDescriptor>,
    /// URI of the party that is accountable for the build; never empty.
    pub builder_id: String,
    /// Versions of the builder's parts, by name.
    pub builder_version: BTreeMap<String, String>,
    /// Names this run of the builder.
    pub invocation_id: Option<String>,
    /// RFC 3339, as it stands: the builder's own clock.
    pub started_on: Option<String>,
    /// RFC 3339, as it stands: the builder's own clock.
    pub finished_on: Option<String>,
    /// What else came out. v0.2 has none.
    pub byproducts: Vec<ResourceDescriptor>,
    /// Only in v0.2.
    pub config_source: Option<ConfigSource>,
}

impl Provenance {
    /// The v1 predicate, with a newline at its end. The same value gives the same bytes; `config_source` has no place
    /// in v1 and is not written.
    pub fn write(&self) -> Vec<u8> {
        let predicate = OutPredicate {
            build_definition: OutDefinition {
                build_type: &self.build_type,
                external_parameters: &self.external_parameters,
                internal_parameters: &self.internal_parameters,
                resolved_dependencies: &self.resolved_dependencies,
            },
            run_details: OutRun {
                builder: OutBuilder { id: &self.builder_id, version: &self.builder_version },
                metadata: OutMetadata {
                    invocation_id: self.invocation_id.as_deref(),
                    started_on: self.started_on.as_deref(),
                    finished_on: self.finished_on.as_deref(),
                },
                byproducts: &self.byproducts,
            },
        };
        json::pretty(&predicate)
    }

    /// Reads a predicate of this type, v1 or v0.2, that says who built and how.
    pub fn parse(predicate_type: &str, predicate: &[u8]) -> Result<Self, ProvenanceError> {
        let provenance = Self::read(predicate_type, predicate)?;
        for (value, what) in [(&provenance.builder_id, "builder.id"), (&provenance.build_type, "buildType")] {
            if value.is_empty() {
                return Err(ProvenanceError::Malformed(format!("its {what} is empty")));
            }
        }
        Ok(provenance)
    }

    /// The same, though it may not say who built: BuildKit names nobody where it was not told. To show, not to judge.
    pub fn read(predicate_type: &str, predicate: &[u8]) -> Result<Self, ProvenanceError> {
        if predicate.len() as u64 > PREDICATE {
            return Err(ProvenanceError::Limit { limit: PREDICATE, unit: "bytes" });
        }
        match predicate_type {
            SLSA_V1 => Ok(Self::from(wire::<InPredicate>(predicate, &SHAPE_V1)?)),
            SLSA_V02 => Ok(Self::from(wire::<InPredicateV02>(predicate, &SHAPE_V02)?)),
            other => Err(ProvenanceError::PredicateType(other.chars().take(200).collect())),
        }
    }

    /// Every repository that it names as what was built.
    pub fn sources(&self) -> Vec<&str> {
        let parameter = |name: &str, member: &str| match self.external_parameters.get(name) {
            Some(Value::Object(object)) => object.get(member).and_then(Value::as_str),
            _ => None,
        };
        let config = self.config_source.as_ref().and_then(|source| source.uri.as_deref());
        [parameter("source", "uri"), parameter("workflow", "repository"), config].into_iter().flatten().collect()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutPredicate<'a> {
    build_definition: OutDefinition<'a>,
    run_details: OutRun<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutDefinition<'a> {
    build_type: &'a str,
    external_parameters: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    internal_parameters: &'a Map<String, Value>,
    resolved_dependencies: &'a [ResourceDescriptor],
}

#[derive(Serialize)]
struct OutRun<'a> {
    builder: OutBuilder<'a>,
    metadata: OutMetadata<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    byproducts: &'a [ResourceDescriptor],
}

#[derive(Serialize)]
struct OutBuilder<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    version: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutMetadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    invocation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_on: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_on: Option<&'a str>,
}

// `invocationId` is not among the known names: Go writers spell it `invocationID`, and serde refuses both together.
const SHAPE_V1: Shape = Shape {
    name: "SLSA v1 provenance",
    known: &[
        "buildDefinition",
        "buildType",
        "externalParameters",
        "internalParameters",
        "resolvedDependencies",
        "runDetails",
        "builder",
        "id",
        "version",
        "metadata",
        "startedOn",
        "finishedOn",
        "byproducts",
        "name",
        "uri",
        "digest",
        "mediaType",
        "annotations",
    ],
    opaque: &["externalParameters", "internalParameters", "digest", "annotations", "version"],
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InPredicate {
    build_definition: Obj<InDefinition>,
    run_details: Obj<InRun>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InDefinition {
    build_type: String,
    external_parameters: Map<String, Value>,
    #[serde(default, deserialize_with = "nullable")]
    internal_parameters: Map<String, Value>,
    #[serde(default)]
    resolved_dependencies: Entries,
}

#[derive(Deserialize)]
struct InRun {
    builder: Obj<InBuilder>,
    metadata: Option<Obj<InMetadata>>,
    #[serde(default)]
    byproducts: Entries,
}

#[derive(Deserialize)]
struct InBuilder {
    id: String,
    #[serde(default, deserialize_with = "nullable")]
    version: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct InMetadata {
    #[serde(alias = "invocationID")]
    invocation_id: Option<String>,
    started_on: Option<String>,
    finished_on: Option<String>,
}

impl From<InPredicate> for Provenance {
    fn from(wire: InPredicate) -> Self {
        let (Obj(definition), Obj(run)) = (wire.build_definition, wire.run_details);
        let Obj(builder) = run.builder;
        let Obj(metadata) = run.metadata.unwrap_or_default();
        Self {
            build_type: definition.build_type,
            external_parameters: definition.external_parameters,
            internal_parameters: definition.internal_parameters,
            resolved_dependencies: definition.resolved_dependencies.0,
            builder_id: builder.id,
            builder_version: builder.version,
            invocation_id: metadata.invocation_id,
            started_on: metadata.started_on,
            finished_on: metadata.finished_on,
            byproducts: run.byproducts.0,
            config_source: None,
        }
    }
}

const SHAPE_V02: Shape = Shape {
    name: "SLSA v0.2 provenance",
    known: &[
        "builder",
        "id",
        "buildType",
        "invocation",
        "configSource",
        "uri",
        "digest",
        "entryPoint",
        "parameters",
        "environment",
        "metadata",
        "buildStartedOn",
        "buildFinishedOn",
        "materials",
    ],
    opaque: &["parameters", "environment", "buildConfig", "digest"],
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InPredicateV02 {
    builder: Obj<InBuilder>,
    build_type: String,
    invocation: Option<Obj<InInvocation>>,
    metadata: Option<Obj<InMetadataV02>>,
    #[serde(default)]
    materials: Entries,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct InInvocation {
    config_source: Option<Obj<InConfigSource>>,
    #[serde(deserialize_with = "nullable")]
    parameters: Map<String, Value>,
    #[serde(deserialize_with = "nullable")]
    environment: Map<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct InConfigSource {
    uri: Option<String>,
    #[serde(deserialize_with = "nullable")]
    digest: BTreeMap<String, String>,
    entry_point: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct InMetadataV02 {
    #[serde(alias = "buildInvocationID")]
    build_invocation_id: Option<String>,
    build_started_on: Option<String>,
    build_finished_on: Option<String>,
}

impl From<InPredicateV02> for Provenance {
    fn from(wire: InPredicateV02) -> Self {
        let Obj(builder) = wire.builder;
        let Obj(invocation) = wire.invocation.unwrap_or_default();
        let Obj(metadata) = wire.metadata.unwrap_or_default();
        Self {
            build_type: wire.build_type,
            external_parameters: invocation.parameters,
            internal_parameters: invocation.environment,
            resolved_dependencies: wire.materials.0,
            builder_id: builder.id,
            builder_version: builder.version,
            invocation_id: metadata.build_invocation_id,
            started_on: metadata.build_started_on,
            finished_on: metadata.build_finished_on,
            byproducts: Vec::new(),
            config_source: invocation.config_source.map(|Obj(source)| ConfigSource {
                uri: source.uri,
                digest: source.digest,
                entry_point: source.entry_point,
            }),
        }
    }
}

fn wire<'de, T: Deserialize<'de>>(predicate: &'de [u8], shape: &Shape) -> Result<T, ProvenanceError> {
    json::scan(predicate, shape)?;
    match serde_json::from_slice::<Obj<T>>(predicate) {
        Ok(Obj(value)) => Ok(value),
        Err(error) if error.to_string().starts_with(TOO_MANY) => {
            Err(ProvenanceError::Limit { limit: ENTRIES as u64, unit: "entries in one list" })
        }
        Err(error) => Err(ProvenanceError::Malformed(error.to_string())),
    }
}

const TOO_MANY: &str = "too many entries";

/// A bounded list of artifacts; `null`, as Go writes an empty one, is empty.
#[derive(Default)]
struct Entries(Vec<ResourceDescriptor>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List(PhantomData<Entries>);
        impl<'de> Visitor<'de> for List {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of artifacts")
            }
            fn visit_unit<E>(self) -> Result<Entries, E> {
                Ok(Entries::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(Obj(entry)) = items.next_element()? {
                    if entries.len() == ENTRIES {
                        return Err(A::Error::custom(TOO_MANY));
                    }
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_any(List(PhantomData))
    }
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Digest;

    const LEAST: &str =
        r#"{"buildDefinition":{"buildType":"b","externalParameters":{}},"runDetails":{"builder":{"id":"i"}}}"#;
    const LEAST_V02: &str = r#"{"builder":{"id":"i"},"buildType":"b"}"#;

    fn refused(predicate_type: &str, text: &str) -> ProvenanceError {
        match Provenance::parse(predicate_type, text.as_bytes()) {
            Ok(provenance) => panic!("took {text} as {provenance:?}"),
            Err(error) => error,
        }
    }

    #[test]
    fn reads_the_least_that_there_can_be() {
        let least = Provenance { build_type: "b".into(), builder_id: "i".into(), ..Provenance::default() };
        assert_eq!(Provenance::parse(SLSA_V1, LEAST.as_bytes()).unwrap(), least);
        assert_eq!(Provenance::parse(SLSA_V02, LEAST_V02.as_bytes()).unwrap(), least);
    }

    #[test]
    fn reads_what_it_writes() {
        let digest = Digest::of(b"x");
        let provenance = Provenance {
            build_type: "https://example.org/b".into(),
            external_parameters: Map::from_iter([("template".to_owned(), "base".into())]),
            internal_parameters: Map::from_iter([("engine".to_owned(), serde_json::json!({"name": "buildah"}))]),
            resolved_dependencies: vec![
                ResourceDescriptor::commit("git+https://example.org/r", "00ff"),
                ResourceDescriptor::new("pkg:deb/debian/git@1", &digest).named("git").typed("application/x-deb"),
            ],
            builder_id: "https://example.org/builder".into(),
            builder_version: BTreeMap::from([("bulla".to_owned(), "0.1.0".to_owned())]),
            invocation_id: Some("run/1".into()),
            started_on: Some("2026-01-01T00:00:00Z".into()),
            finished_on: Some("2026-01-01T00:00:01Z".into()),
            byproducts: vec![ResourceDescriptor::new("sbom", &digest)],
            config_source: None,
        };
        let bytes = provenance.write();
        assert_eq!(Provenance::parse(SLSA_V1, &bytes).unwrap(), provenance);
        assert_eq!(provenance.resolved_dependencies[1].sha256(), Some(digest));
        assert_eq!(bytes, provenance.clone().write());
    }

    #[test]
    fn passes_over_unknown_fields_and_names_inside_parameters() {
        let text = r#"{"new":1,"buildDefinition":{"buildType":"b","extra":{"a":[]},"externalParameters":{"ID":1,"id":2}},
            "runDetails":{"builder":{"id":"i","builderDependencies":[]},"metadata":{"invocationID":"n"},"byproducts":null}}"#;
        let read = Provenance::parse(SLSA_V1, text.as_bytes()).unwrap();
        assert_eq!(read.invocation_id.as_deref(), Some("n"));
        assert_eq!(read.external_parameters.len(), 2);
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for (from, to) in [
            (r#""id":"i""#, r#""id":"i","id":"j""#),
            (r#""id":"i""#, r#""id":"i","ID":"j""#),
            (r#""buildType":"b""#, r#""buildType":"b","BuildType":"c""#),
            ("{}", r#"{"a":1,"a":2}"#),
        ] {
            assert_eq!(refused(SLSA_V1, &LEAST.replace(from, to)).class(), Class::Format, "{to}");
        }
        let both = LEAST.replace(r#"{"id":"i"}"#, r#"{"id":"i"},"metadata":{"invocationId":"a","invocationID":"b"}"#);
        assert_eq!(refused(SLSA_V1, &both).class(), Class::Provenance);
        let twice = LEAST_V02.replace(r#""id":"i""#, r#""id":"i","Id":"j""#);
        assert_eq!(refused(SLSA_V02, &twice).class(), Class::Format);
    }

    #[test]
    fn refuses_missing_empty_and_mistyped_fields() {
        for (from, to) in [
            (r#""id":"i""#, r#""id":"""#),
            (r#""id":"i""#, r#""id":5"#),
            (r#""id":"i""#, ""),
            (r#""buildType":"b""#, r#""buildType":"""#),
            (r#""buildType":"b""#, r#""buildType":null"#),
            (r#""externalParameters":{}"#, r#""externalParameters":[]"#),
            (r#""externalParameters":{}"#, r#""externalParameters":{},"resolvedDependencies":{}"#),
            (r#""externalParameters":{}"#, r#""externalParameters":{},"resolvedDependencies":[["n","u"]]"#),
            (
                r#""externalParameters":{}"#,
                r#""externalParameters":{},"resolvedDependencies":[{"digest":{"sha256":5}}]"#,
            ),
            (r#"{"id":"i"}"#, r#"["i"]"#),
        ] {
            assert_eq!(refused(SLSA_V1, &LEAST.replace(from, to)).code(), "malformed-provenance", "{to}");
        }
        assert_eq!(refused(SLSA_V02, &LEAST_V02.replace(r#""i""#, r#""""#)).code(), "malformed-provenance");
        let list = LEAST_V02.replace(r#""b""#, r#""b","invocation":{"parameters":["hidden"]}"#);
        assert_eq!(refused(SLSA_V02, &list).code(), "malformed-provenance");
        assert_eq!(refused(SLSA_V1, "").class(), Class::Format);
        // Each under the other's type.
        assert_eq!(refused(SLSA_V02, LEAST).code(), "malformed-provenance");
        assert_eq!(refused(SLSA_V1, LEAST_V02).code(), "malformed-provenance");
    }

    #[test]
    fn refuses_near_miss_predicate_types() {
        for bad in
            ["", "https://slsa.dev/provenance/v1/", "http://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v1.0"]
        {
            assert_eq!(refused(bad, LEAST).class(), Class::Predicate, "{bad}");
        }
    }

    #[test]
    fn bounds_size_and_entries() {
        let many = vec!["{}"; ENTRIES + 1].join(",");
        let text = LEAST.replace("{}}", &format!("{{}},\"resolvedDependencies\":[{many}]}}"));
        assert_eq!(refused(SLSA_V1, &text).class(), Class::Limit);
        let large = vec![b' '; usize::try_from(PREDICATE).unwrap() + 1];
        assert_eq!(Provenance::parse(SLSA_V1, &large).unwrap_err().class(), Class::Limit);
    }
}
