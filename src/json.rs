//! JSON from strangers: scanned strictly, then read by serde.
//!
//! serde alone is not a safe reader of hostile documents: it takes unknown keys twice, takes an array for a struct,
//! and sees nothing of a key that differs from a known one only in case, which readers written in Go prefer. The scan
//! refuses all of that, so that every reader of the same bytes sees the same document.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

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

/// A document of our own as people can read it, with a newline at its end: text, numbers, lists and maps with text for
/// keys always serialise. Invisible characters of strangers' names are escaped here, so that the same bytes are fit for
/// a terminal, a file and a signature.
pub(crate) fn pretty(document: &impl Serialize) -> Vec<u8> {
    let plain = serde_json::to_string_pretty(document).unwrap_or_default();
    let mut safe = String::with_capacity(plain.len() + 1);
    for character in plain.chars() {
        if character != '\n' && is_invisible(character) {
            push_escaped(&mut safe, character);
        } else {
            safe.push(character);
        }
    }
    safe.push('\n');
    safe.into_bytes()
}

/// The same of a document that other crates read too, into trees of everything in it: also refused is one of which
/// such a tree, or the scan's own memory, would be larger than [`limits::JSON_TREE`], before anything is built.
pub fn parse_small<T: DeserializeOwned>(bytes: &[u8], shape: &Shape) -> Result<T, JsonError> {
    let text = text(bytes, shape)?;
    scan_within(text, shape, limits::JSON_TREE)?;
    parse_again(text.as_bytes(), shape)
}

/// Reads what one of the others has read before, without the scan.
pub(crate) fn parse_again<T: DeserializeOwned>(bytes: &[u8], shape: &Shape) -> Result<T, JsonError> {
    let Obj(value) = serde_json::from_slice(bytes).map_err(|error| shape.error(&error))?;
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
    scan_within(text, shape, usize::MAX)
}

fn scan_within(text: &str, shape: &Shape, room: usize) -> Result<(), JsonError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let room = Cell::new(room);
    let top = Scan { shape, depth: 0, opaque: false, room: &room };
    let read = top.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    read.map_err(|error| shape.error(&error))?;
    if text.trim_ascii_start().starts_with('{') {
        return Ok(());
    }
    Err(JsonError { name: shape.name, message: "it is not an object".to_owned(), limit: None })
}

const TOO_DEEP: &str = "nested too deeply";
const TOO_WIDE: &str = "an object has too many members";
const TOO_LONG: &str = "a list has too many items";
const TOO_LARGE: &str = "there is too much in it";

/// What a tree needs in memory, roughly and rather too much.
mod cost {
    /// A place in a list, half of which may be empty.
    pub(super) const ITEM: usize = 64;
    /// A list with anything in it.
    pub(super) const LIST: usize = 96;
    /// An object with anything in it: a node of a B-tree, for [`NODE`] members.
    pub(super) const OBJECT: usize = 640;
    /// How many members are in the first node.
    pub(super) const NODE: usize = 11;
    /// One member more than that, in nodes of which half may be empty.
    pub(super) const MEMBER: usize = 128;
    /// A text or a key, beside its characters.
    pub(super) const TEXT: usize = 24;
}

impl Shape {
    fn error(&self, error: &serde_json::Error) -> JsonError {
        let message = error.to_string();
        let limits = [
            (TOO_DEEP, "json-too-deep"),
            ("recursion limit", "json-too-deep"),
            (TOO_WIDE, "json-too-wide"),
            (TOO_LONG, "json-too-long"),
            (TOO_LARGE, "json-too-large"),
        ];
        let limit = limits.into_iter().find_map(|(start, code)| message.starts_with(start).then_some(code));
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
    /// Bytes that what is still to come may need.
    room: &'a Cell<usize>,
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

    fn spend<E: serde::de::Error>(self, cost: usize) -> Result<(), E> {
        let left = self.room.get().checked_sub(cost).ok_or_else(|| E::custom(TOO_LARGE))?;
        self.room.set(left);
        Ok(())
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
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.spend(if text.is_empty() { 0 } else { cost::TEXT + text.len() })
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let below = self.deeper()?;
        let mut first = cost::LIST;
        while items.next_element_seed(below)?.is_some() {
            self.spend(cost::ITEM + std::mem::take(&mut first))?;
        }
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
            let node = match seen.len() {
                0 => cost::OBJECT,
                1..cost::NODE => 0,
                _ => cost::MEMBER,
            };
            self.spend(cost::TEXT + key.len() + node)?;
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

/// Control characters, and those that hide or turn what stands beside them.
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(u32::from(character),
            0xad | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f | 0x2028..=0x202e
            | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0xe0000..=0xe0fff)
}

/// Adds a character to JSON text as one `\u` escape or two.
pub fn push_escaped(json: &mut String, character: char) {
    use fmt::Write as _;
    for unit in character.encode_utf16(&mut [0_u16; 2]) {
        let _ = write!(json, "\\u{unit:04x}");
    }
}

/// A list of at most `MAX` items: one more, and it is refused before it is read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Few<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for Few<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: serde::Deserialize<'de>, const MAX: usize> serde::Deserialize<'de> for Few<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: serde::Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
            type Value = Few<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Few<T, MAX>, A::Error> {
                let mut few = Vec::new();
                while few.len() < MAX {
                    match items.next_element()? {
                        Some(item) => few.push(item),
                        None => return Ok(Few(few)),
                    }
                }
                match items.next_element::<IgnoredAny>()? {
                    Some(_) => Err(A::Error::custom(format_args!("{TOO_LONG}: the limit is {MAX}"))),
                    None => Ok(Few(few)),
                }
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
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

    #[test]
    fn d09_a_list_is_refused_at_its_bound_and_a_tree_at_what_it_would_need() {
        #[derive(Deserialize, Debug)]
        struct Short {
            #[serde(default)]
            layers: Few<u64, 3>,
        }
        let read = |text: &str| parse::<Short>(text.as_bytes(), &SHAPE).map(|short| short.layers.0);
        assert!(read("{}").unwrap().is_empty());
        assert_eq!(read(r#"{"layers":[1,2,3]}"#).unwrap(), [1, 2, 3]);
        for more in [r#"{"layers":[1,2,3,4]}"#, r#"{"layers":[1,2,3,"four"]}"#] {
            let error = read(more).unwrap_err();
            assert_eq!((error.class(), error.code()), (Class::Limit, "json-too-long"));
        }
        let fits = |item: &str, count: usize| {
            let text = format!("{{\"a\":[{}]}}", vec![item; count].join(","));
            match parse_small::<Doc>(text.as_bytes(), &SHAPE) {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!((error.class(), error.code()), (Class::Limit, "json-too-large"));
                    false
                }
            }
        };
        for (item, bytes) in [("0", 32), ("[0]", 160), ("{\"\":0}", 640), ("\"a\"", 64)] {
            assert!(fits(item, limits::JSON_TREE / 1_000));
            assert!(!fits(item, limits::JSON_TREE / bytes), "{item}");
        }
    }

    #[test]
    fn k07_invisible_characters_are_escaped_and_nothing_else_is_changed() {
        let hostile = "a\u{9b}31m\u{202e}b\u{200b}\u{7f}\u{e0041}\u{feff}";
        let written = String::from_utf8(pretty(&[hostile])).unwrap();
        assert_eq!(written, "[\n  \"a\\u009b31m\\u202eb\\u200b\\u007f\\udb40\\udc41\\ufeff\"\n]\n");
        assert_eq!(serde_json::from_str::<[String; 1]>(&written).unwrap(), [hostile]);
        let plain = ["Grüße \\ \"x\" \t 語", "~!@#"];
        assert_eq!(pretty(&plain), (serde_json::to_string_pretty(&plain).unwrap() + "\n").into_bytes());
    }
}
