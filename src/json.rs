//! JSON from strangers: scanned strictly, then read by serde.
//!
//! serde alone is not a safe reader of hostile documents: it takes unknown keys twice, takes an array for a struct,
//! and sees nothing of a key that differs from a known one only in case, which readers written in Go prefer. The scan
//! refuses all of that, so that every reader of the same bytes sees the same document.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::class::{Class, Classified};
use crate::content::limits;

/// What a kind of document looks like to the scan.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// What the document is called in errors.
    pub name: &'static str,
    /// The keys that mean something. A key that folds to one of them without being it is refused.
    pub known: &'static [&'static str],
    /// Keys below which names are somebody's own (annotations, predicates): only exact duplicates are refused there.
    pub opaque: &'static [&'static str],
}

/// A document that is malformed, or that two readers could read differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {name} is not acceptable JSON: {message}")]
pub struct JsonError {
    name: &'static str,
    message: String,
    limit: Option<&'static str>,
}

impl Classified for JsonError {
    fn class(&self) -> Class {
        if self.limit.is_some() { Class::Limit } else { Class::Format }
    }
    fn code(&self) -> &'static str {
        self.limit.unwrap_or("malformed-json")
    }
}

/// Reads one JSON object and nothing after it.
///
/// Refused: what is not UTF-8, a byte order mark, duplicate keys, case variants of known keys, depth beyond
/// [`limits::JSON_DEPTH`], objects of more than [`limits::JSON_MEMBERS`] members, trailing bytes, a document that is
/// not an object.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], shape: &Shape) -> Result<T, JsonError> {
    let text = text(bytes, shape)?;
    scan_text(text, shape)?;
    let Obj(value) = serde_json::from_str(text).map_err(|error| shape.error(&error))?;
    Ok(value)
}

/// The scan alone, for documents that another crate will read.
pub fn scan(bytes: &[u8], shape: &Shape) -> Result<(), JsonError> {
    scan_text(text(bytes, shape)?, shape)
}

/// Once for the whole document: the readers below need not look at each string again.
fn text<'a>(bytes: &'a [u8], shape: &Shape) -> Result<&'a str, JsonError> {
    std::str::from_utf8(bytes).map_err(|error| JsonError { name: shape.name, message: error.to_string(), limit: None })
}

fn scan_text(text: &str, shape: &Shape) -> Result<(), JsonError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let top = Scan { shape, depth: 0, opaque: false };
    let read = top.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    read.map_err(|error| shape.error(&error))?;
    if text.trim_ascii_start().starts_with('{') {
        return Ok(());
    }
    Err(JsonError { name: shape.name, message: "it is not an object".to_owned(), limit: None })
}

const TOO_DEEP: &str = "nested too deeply";
const TOO_WIDE: &str = "an object has too many members";

impl Shape {
    fn error(&self, error: &serde_json::Error) -> JsonError {
        let message = error.to_string();
        let limit = if message.starts_with(TOO_DEEP) || message.starts_with("recursion limit") {
            Some("json-too-deep")
        } else {
            message.starts_with(TOO_WIDE).then_some("json-too-wide")
        };
        JsonError { name: self.name, message, limit }
    }

    /// The known key that `key` is a case variant of.
    fn variant_of(&self, key: &str) -> Option<&'static str> {
        let is_ascii = key.is_ascii();
        self.known.iter().copied().find(|known| *known != key && fold_eq(known, key, is_ascii))
    }
}

/// Equality under the folding that Go's JSON decoder uses: ASCII case, the Kelvin sign and the long s. Known keys are
/// ASCII, so that nearly every key is done with by its length.
fn fold_eq(known: &str, key: &str, is_ascii: bool) -> bool {
    if is_ascii {
        return known.eq_ignore_ascii_case(key);
    }
    let fold = |character: char| match character {
        '\u{212A}' => 'k',
        '\u{017F}' => 's',
        other => other.to_ascii_lowercase(),
    };
    known.chars().map(fold).eq(key.chars().map(fold))
}

#[derive(Clone, Copy)]
struct Scan<'a> {
    shape: &'a Shape,
    depth: usize,
    opaque: bool,
}

impl<'de> DeserializeSeed<'de> for Scan<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Scan<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= limits::JSON_DEPTH {
            return Err(E::custom(TOO_DEEP));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> Visitor<'de> for Scan<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let below = self.deeper()?;
        while items.next_element_seed(below)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let below = self.deeper()?;
        let mut seen = Keys::default();
        while let Some(Key(key)) = members.next_key()? {
            if !self.opaque
                && let Some(known) = self.shape.variant_of(&key)
            {
                return Err(A::Error::custom(format!("the key {key:?} differs from {known:?} only in case")));
            }
            let opaque = self.opaque || self.shape.opaque.contains(&&*key);
            if seen.contains(&key) {
                return Err(A::Error::custom(format!("the key {key:?} appears twice")));
            }
            if seen.len() >= limits::JSON_MEMBERS {
                return Err(A::Error::custom(TOO_WIDE));
            }
            seen.insert(key);
            members.next_value_seed(Scan { opaque, ..below })?;
        }
        Ok(())
    }
}

/// The keys of one object. Nearly all objects have a handful, which are compared faster than hashed.
#[derive(Default)]
struct Keys<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Keys<'de> {
    const FEW: usize = 16;

    fn len(&self) -> usize {
        self.few.len() + self.many.len()
    }
    fn contains(&self, key: &str) -> bool {
        self.few.iter().any(|seen| seen == key) || (!self.many.is_empty() && self.many.contains(key))
    }
    fn insert(&mut self, key: Cow<'de, str>) {
        if self.few.len() < Self::FEW {
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
    }
}

/// A key as it stands in the text, copied only where an escape makes that necessary.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A `T` that was written as an object: derived readers would also take an array, position by position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Obj<T>(pub T);

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Obj<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: serde::Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Obj<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Obj<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Obj)
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

impl<T: serde::Serialize> serde::Serialize for Obj<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    const SHAPE: Shape = Shape { name: "test", known: &["layers", "size"], opaque: &["annotations"] };

    #[derive(Deserialize, Debug)]
    struct Doc {
        #[serde(default)]
        layers: Vec<Obj<Item>>,
    }
    #[derive(Deserialize, Debug)]
    struct Item {
        size: u64,
    }

    fn refused(text: &str) -> String {
        match parse::<Doc>(text.as_bytes(), &SHAPE) {
            Ok(doc) => panic!("accepted {text} as {doc:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn reads_a_plain_document() {
        let doc: Doc = parse(br#" {"layers":[{"size":5}],"other":{"a":1,"A":2}} "#, &SHAPE).unwrap();
        assert_eq!(doc.layers[0].0.size, 5);
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for bad in [
            r#"{"other":1,"other":2}"#,
            r#"{"Layers":[]}"#,
            r#"{"layer\u017f":[]}"#,
            r#"{"x":{"SIZE":1}}"#,
            r#"{"annotations":{"a":"1","a":"2"}}"#,
            r#"{"layers":[[5]]}"#,
            r#"[[]]"#,
            r#"{} {}"#,
            "\u{feff}{}",
            r#"{"layers":[{"size":1e3}]}"#,
            r#"{"layers":[{"size":-1}]}"#,
            r#"{"layers":[{"size":18446744073709551616}]}"#,
            r#"{"a":"\ud800"}"#,
            "",
            "null",
        ] {
            refused(bad);
        }
        assert!(parse::<Doc>(b"{\"a\":\"\xff\"}", &SHAPE).is_err());
    }

    #[test]
    fn finds_a_key_twice_however_many_there_are() {
        for count in [1, Keys::FEW - 1, Keys::FEW, Keys::FEW + 1, 3 * Keys::FEW] {
            let members: Vec<String> = (0..count).map(|key| format!("\"k{key}\":0")).collect();
            let all = members.join(",");
            assert!(parse::<Doc>(format!("{{{all}}}").as_bytes(), &SHAPE).is_ok());
            for twice in ["k0".to_owned(), format!("k{}", count - 1), format!("\\u006b{}", count - 1)] {
                assert!(refused(&format!("{{{all},\"{twice}\":0}}")).contains("twice"));
            }
        }
    }

    #[test]
    fn leaves_names_below_opaque_keys_alone() {
        assert!(parse::<Doc>(br#"{"annotations":{"Layers":"x","layers":"y"}}"#, &SHAPE).is_ok());
    }

    #[test]
    fn d05_bounds_depth_and_width_as_limits() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        let error = parse::<Doc>(deep.as_bytes(), &SHAPE).unwrap_err();
        assert_eq!(error.class(), Class::Limit);
        let wide: Vec<String> = (0..=limits::JSON_MEMBERS).map(|key| format!("\"{key}\":0")).collect();
        let error = parse::<Doc>(format!("{{{}}}", wide.join(",")).as_bytes(), &SHAPE).unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::Limit, "json-too-wide"));
        assert!(parse::<Doc>(format!("{{{}}}", wide[1..].join(",")).as_bytes(), &SHAPE).is_ok());
        let fine = format!("{{\"a\":{}{}}}", "[".repeat(60), "]".repeat(60));
        assert!(parse::<Doc>(fine.as_bytes(), &SHAPE).is_ok());
    }
}
