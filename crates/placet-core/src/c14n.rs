//! The canonical form `placet-c14n/1`: strict JSON in, one spelling out.
//!
//! Two different values never share bytes, and one value has one spelling: object keys sorted by their UTF-8 bytes, no
//! white space, minimal escapes, **number tokens kept as they were written** (`1`, `1.0` and `1e0` are three values),
//! no Unicode normalisation. What could be read in two ways is an error: duplicate keys at any depth, lone surrogates,
//! invalid UTF-8. So is what is too large: depth over 64, size over 1 MiB.
//!
//! `vectors/c14n.json` has examples of all of this for other implementations; `vectors/check.py` is one.

use std::collections::BTreeMap;
use std::fmt;

/// How deep arrays and objects may nest.
pub const DEPTH_MAX: usize = 64;
/// How many bytes a text may have, before and after.
pub const SIZE_MAX: usize = 1024 * 1024;

/// What a text may have at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How many bytes.
    pub size: usize,
    /// How deep its arrays and objects nest.
    pub depth: usize,
    /// How many values stand in it, itself and those in others included: each takes some fifty bytes of memory, also
    /// where it is written with two.
    pub values: usize,
}

impl Bounds {
    /// Those of the canonical form. A text of this size cannot have too many values.
    pub const CANONICAL: Bounds = Bounds { size: SIZE_MAX, depth: DEPTH_MAX, values: SIZE_MAX };
}

/// A JSON value whose numbers are the tokens that were written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// The number as it was written.
    Number(Number),
    /// A string, unescaped.
    String(String),
    /// A list.
    Array(Vec<Value>),
    /// An object; the map's order is the canonical order.
    Object(BTreeMap<String, Value>),
}

/// A number token of JSON's grammar, kept as it was written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Number(String);

/// Why a text has no canonical form, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read JSON at byte {at}: {reason}")]
pub struct C14nError {
    /// Offset of the byte where reading stopped.
    pub at: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// More than [`SIZE_MAX`] bytes.
    #[error("larger than 1 MiB")]
    TooLarge,
    /// More values than its reader takes.
    #[error("more values than this takes")]
    TooMany,
    /// More than [`DEPTH_MAX`] levels.
    #[error("nested deeper than 64 levels")]
    TooDeep,
    /// A key stands twice in one object.
    #[error("an object has the same key twice")]
    DuplicateKey,
    /// An escape names half of a surrogate pair.
    #[error("a \\u escape is half of a surrogate pair")]
    LoneSurrogate,
    /// The bytes are not UTF-8.
    #[error("not valid UTF-8")]
    NotUtf8,
    /// JSON's grammar does not allow this here.
    #[error("not valid JSON")]
    Syntax,
}

impl Value {
    /// Reads one value, and nothing after it.
    pub fn parse(bytes: &[u8]) -> Result<Value, C14nError> {
        Value::parse_within(bytes, Bounds::CANONICAL)
    }

    /// Reads one value under other bounds: for what wraps a value that was bounded before.
    pub fn parse_within(bytes: &[u8], bounds: Bounds) -> Result<Value, C14nError> {
        if bytes.len() > bounds.size {
            return Err(C14nError { at: bounds.size, reason: Reason::TooLarge });
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| C14nError { at: error.valid_up_to(), reason: Reason::NotUtf8 })?;
        let mut reader = Reader { text, at: 0, depth_max: bounds.depth, values_left: bounds.values };
        reader.skip_space();
        let value = reader.value(0)?;
        reader.skip_space();
        if reader.at < text.len() {
            return Err(reader.refuse(Reason::Syntax));
        }
        Ok(value)
    }

    /// The one spelling of this value.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// The members, if this is an object.
    pub fn as_object(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Value::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if this is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// A string value.
    pub fn string(text: impl Into<String>) -> Value {
        Value::String(text.into())
    }

    /// A whole number.
    pub fn integer(number: i64) -> Value {
        Value::Number(Number(number.to_string()))
    }

    /// An object of these members; of two with one key the later stands.
    pub fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Value)>) -> Value {
        Value::Object(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// Appends the one spelling of this value.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Number(Number(token)) => out.push_str(token),
            Value::String(text) => write_string(text, out),
            Value::Array(items) => {
                out.push('[');
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                for (position, (key, value)) in members.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    write_string(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    // What needs no escape is copied whole.
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' ')) {
        let (plain, escaped) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = escaped.chars();
        match characters.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\t') => out.push_str("\\t"),
            Some('\n') => out.push_str("\\n"),
            Some('\u{c}') => out.push_str("\\f"),
            Some('\r') => out.push_str("\\r"),
            Some(control) => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            None => {}
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

impl Number {
    /// The token as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number as a whole one, if it is written as `-?(0|[1-9][0-9]*)` and fits 64 bits. `-0` is not: it has a
    /// twin.
    pub fn as_integer(&self) -> Option<i64> {
        let digits = self.0.strip_prefix('-').unwrap_or(&self.0);
        let whole = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        if whole && self.0 != "-0" { self.0.parse().ok() } else { None }
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Walks the text once. `at` is always on a character's border.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth_max: usize,
    values_left: usize,
}

impl Reader<'_> {
    fn refuse(&self, reason: Reason) -> C14nError {
        C14nError { at: self.at, reason }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Consumes this byte, which must be next.
    fn expect(&mut self, byte: u8) -> Result<(), C14nError> {
        if self.peek() != Some(byte) {
            return Err(self.refuse(Reason::Syntax));
        }
        self.at += 1;
        Ok(())
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, C14nError> {
        self.values_left = self.values_left.checked_sub(1).ok_or_else(|| self.refuse(Reason::TooMany))?;
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.refuse(Reason::Syntax)),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, C14nError> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.refuse(Reason::Syntax))
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, C14nError> {
        self.enter(depth, b'{')?;
        let mut members = BTreeMap::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            let key_at = self.at;
            let key = self.string()?;
            self.skip_space();
            self.expect(b':')?;
            self.skip_space();
            let value = self.value(depth)?;
            if members.insert(key, value).is_some() {
                return Err(C14nError { at: key_at, reason: Reason::DuplicateKey });
            }
            if self.next_item(b'}')? {
                return Ok(Value::Object(members));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, C14nError> {
        self.enter(depth, b'[')?;
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            if self.next_item(b']')? {
                return Ok(Value::Array(items));
            }
        }
    }

    fn enter(&mut self, depth: usize, bracket: u8) -> Result<(), C14nError> {
        if depth > self.depth_max {
            return Err(self.refuse(Reason::TooDeep));
        }
        self.expect(bracket)?;
        self.skip_space();
        Ok(())
    }

    /// After an item: true at the closing bracket, false after a comma.
    fn next_item(&mut self, close: u8) -> Result<bool, C14nError> {
        self.skip_space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(true);
        }
        self.expect(b',')?;
        self.skip_space();
        Ok(false)
    }

    fn number(&mut self) -> Result<Value, C14nError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.refuse(Reason::Syntax)),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let token = self.text.get(start..self.at).unwrap_or_default();
        Ok(Value::Number(Number(token.to_owned())))
    }

    fn digits(&mut self) -> Result<(), C14nError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.refuse(Reason::Syntax)) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<String, C14nError> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let plain = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            out.push_str(self.text.get(plain..self.at).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                _ => return Err(self.refuse(Reason::Syntax)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, C14nError> {
        let start = self.at;
        self.at += 1;
        let letter = self.peek();
        self.at += 1;
        let plain = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(start),
            _ => return Err(C14nError { at: start, reason: Reason::Syntax }),
        };
        Ok(plain)
    }

    fn unicode_escape(&mut self, start: usize) -> Result<char, C14nError> {
        let lone = C14nError { at: start, reason: Reason::LoneSurrogate };
        let first = self.four_digits(start)?;
        let code = match first {
            0xd800..=0xdbff => {
                if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with("\\u")) {
                    return Err(lone);
                }
                self.at += 2;
                let second = self.four_digits(start)?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(lone);
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            other => other,
        };
        char::from_u32(code).ok_or(lone)
    }

    fn four_digits(&mut self, start: usize) -> Result<u32, C14nError> {
        let refused = C14nError { at: start, reason: Reason::Syntax };
        let digits = self.text.get(self.at..self.at + 4).ok_or_else(|| refused.clone())?;
        // `from_str_radix` would accept a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(refused);
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| refused)
    }
}
