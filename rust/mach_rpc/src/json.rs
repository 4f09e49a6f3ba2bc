//! A total reader of JSON that strangers sent: one pass validates, then values are borrowed slices of the text.
//!
//! [`parse`] accepts RFC 8259 documents of at most [`MAX_DEPTH`] levels and never allocates. A [`Json`] is a valid
//! value without surrounding white space; looking into it cannot fail for another reason than its kind.

use std::borrow::Cow;

use thiserror::Error;

/// Far more levels than any JSON-RPC message needs.
pub const MAX_DEPTH: usize = 64;

/// The bytes are no JSON document, or nest too deeply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not JSON at byte {at}")]
pub struct JsonError {
    /// Where reading stopped.
    pub at: usize,
}

/// One valid JSON value, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<'a> {
    text: &'a str,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number, of any size and precision.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// The document's one value, all of it validated.
///
/// # Errors
/// The place of the first byte that no JSON document has there.
pub fn parse(document: &[u8]) -> Result<Json<'_>, JsonError> {
    let text = std::str::from_utf8(document).map_err(|error| JsonError {
        at: error.valid_up_to(),
    })?;
    let mut scan = Scan {
        bytes: document,
        at: 0,
    };
    scan.white_space();
    let start = scan.at;
    scan.value()?;
    let end = scan.at;
    scan.white_space();
    if scan.at == document.len() {
        Ok(Json {
            text: &text[start..end],
        })
    } else {
        Err(JsonError { at: scan.at })
    }
}

impl<'a> Json<'a> {
    /// `null`
    pub const NULL: Self = Self { text: "null" };

    /// The value as it was written.
    pub fn text(self) -> &'a str {
        self.text
    }

    /// What the value is.
    pub fn kind(self) -> Kind {
        match self.text.as_bytes().first() {
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'"') => Kind::String,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            _ => Kind::Number,
        }
    }

    /// A string's characters; borrowed where it holds no escapes. `None` for another kind.
    pub fn string(self) -> Option<Cow<'a, str>> {
        let inner = self.text.strip_prefix('"')?.strip_suffix('"')?;
        Some(if inner.as_bytes().contains(&b'\\') {
            Cow::Owned(unescape(inner))
        } else {
            Cow::Borrowed(inner)
        })
    }

    /// A non-negative integer below 2^64 without fraction and exponent; `None` for anything else.
    pub fn unsigned(self) -> Option<u64> {
        let digits = self.text;
        let numeric = digits.as_bytes().first().is_some_and(u8::is_ascii_digit);
        if numeric { digits.parse().ok() } else { None }
    }

    /// An array's values; `None` for another kind.
    pub fn elements(self) -> Option<Elements<'a>> {
        (self.kind() == Kind::Array).then(|| Elements {
            rest: Cells::inside(self.text),
        })
    }

    /// An object's names and values, in their order and with repetitions; `None` for another kind.
    pub fn members(self) -> Option<Members<'a>> {
        (self.kind() == Kind::Object).then(|| Members {
            rest: Cells::inside(self.text),
        })
    }
}

/// Iterates over an array's values.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: Cells<'a>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Json<'a>> {
        self.rest.next_value()
    }
}

/// Iterates over an object's names and values.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    rest: Cells<'a>,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Json<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.rest.next_value()?.string()?;
        Some((name, self.rest.next_value()?))
    }
}

/// Values between the brackets of a valid array or object, one after the other.
#[derive(Debug, Clone)]
struct Cells<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cells<'a> {
    fn inside(container: &'a str) -> Self {
        Self {
            text: container.get(1..container.len() - 1).unwrap_or(""),
            at: 0,
        }
    }

    fn next_value(&mut self) -> Option<Json<'a>> {
        let bytes = self.text.as_bytes();
        while matches!(
            bytes.get(self.at),
            Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':')
        ) {
            self.at += 1;
        }
        let start = self.at;
        self.at = end_of_valid(bytes, start)?;
        self.text.get(start..self.at).map(|text| Json { text })
    }
}

/// Where the valid value at `start` ends; `None` at the end of the text.
fn end_of_valid(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    match bytes.get(at)? {
        b'"' => Some(end_of_string(bytes, at)),
        b'[' | b'{' => {
            let mut depth = 0_usize;
            loop {
                match bytes.get(at)? {
                    b'"' => {
                        at = end_of_string(bytes, at);
                        continue;
                    }
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let end = |byte: &u8| matches!(byte, b',' | b' ' | b'\t' | b'\n' | b'\r');
            Some(
                bytes[start..]
                    .iter()
                    .position(end)
                    .map_or(bytes.len(), |length| start + length),
            )
        }
    }
}

/// The first place from `at` on whose byte ends a string, starts an escape or may not stand in a string, or a few before
/// it. Looks at eight bytes at once: hashes and points are long.
fn skip_plain(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let below = |word: u64, limit: u64| word.wrapping_sub(limit * ONES) & !word & HIGH;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let quote = below(word ^ (u64::from(b'"') * ONES), 1);
        let backslash = below(word ^ (u64::from(b'\\') * ONES), 1);
        if quote | backslash | below(word, 0x20) != 0 {
            break;
        }
        at += chunk.len();
    }
    at
}

/// One past the closing quote of the valid string that opens at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = skip_plain(bytes, start + 1);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The characters of a valid string's inside.
fn unescape(inner: &str) -> String {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(place) = rest.find('\\') {
        text.push_str(&rest[..place]);
        let escape = &rest[place + 1..];
        let (character, length) = match escape.as_bytes().first() {
            Some(b'b') => ('\u{8}', 1),
            Some(b'f') => ('\u{c}', 1),
            Some(b'n') => ('\n', 1),
            Some(b'r') => ('\r', 1),
            Some(b't') => ('\t', 1),
            Some(b'u') => unicode_escape(escape.as_bytes()),
            Some(plain) => (char::from(*plain), 1),
            None => break,
        };
        text.push(character);
        rest = &escape[length..];
    }
    text.push_str(rest);
    text
}

/// The character of `uXXXX` or `uXXXX\uXXXX`, and how many bytes name it.
fn unicode_escape(escape: &[u8]) -> (char, usize) {
    let first = four_digits(escape, 1).unwrap_or(0xfffd);
    if let 0xd800..0xdc00 = first {
        let second = four_digits(escape, 7).unwrap_or(0xdc00);
        let code = 0x10000 + ((first - 0xd800) << 10) + second.wrapping_sub(0xdc00);
        return (char::from_u32(code).unwrap_or('\u{fffd}'), 11);
    }
    (char::from_u32(first).unwrap_or('\u{fffd}'), 5)
}

/// The number that four hexadecimal digits from `at` on make.
fn four_digits(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |number, digit| {
        Some(number << 4 | char::from(*digit).to_digit(16)?)
    })
}

/// Appends `text` as a JSON string with its quotes.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut written = 0;
    for (place, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[written..place]);
        out.extend_from_slice(escape);
        if escape.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        }
        written = place + 1;
    }
    out.extend_from_slice(&text.as_bytes()[written..]);
    out.push(b'"');
}

/// Validates; each method starts at the first byte of its thing and ends one past the last.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fail<T>(&self) -> Result<T, JsonError> {
        Err(JsonError { at: self.at })
    }

    fn white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            self.fail()
        }
    }

    /// A value of any kind; nesting is kept in one word, a bit a level, so that no input can exhaust the stack.
    fn value(&mut self) -> Result<(), JsonError> {
        let mut objects = 0_u64;
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(open @ (b'[' | b'{')) => {
                    if depth == MAX_DEPTH {
                        return self.fail();
                    }
                    self.at += 1;
                    self.white_space();
                    let is_object = open == b'{';
                    if self.peek() == Some(if is_object { b'}' } else { b']' }) {
                        self.at += 1;
                    } else {
                        objects = objects << 1 | u64::from(is_object);
                        depth += 1;
                        if is_object {
                            self.name()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => self.string()?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.expect(b"true")?,
                Some(b'f') => self.expect(b"false")?,
                Some(b'n') => self.expect(b"null")?,
                _ => return self.fail(),
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                self.white_space();
                let in_object = objects & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.white_space();
                        if in_object {
                            self.name()?;
                        }
                        break;
                    }
                    Some(b'}') if in_object => {}
                    Some(b']') if !in_object => {}
                    _ => return self.fail(),
                }
                self.at += 1;
                objects >>= 1;
                depth -= 1;
            }
        }
    }

    /// A member's name, its colon, and the white space around.
    fn name(&mut self) -> Result<(), JsonError> {
        if self.peek() != Some(b'"') {
            return self.fail();
        }
        self.string()?;
        self.white_space();
        self.expect(b":")?;
        self.white_space();
        Ok(())
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.at = skip_plain(self.bytes, self.at + 1);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0x20..) => self.at += 1,
                _ => return self.fail(),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => match four_digits(self.bytes, self.at + 1) {
                Some(0xd800..0xdc00) => {
                    let pair = self.bytes.get(self.at + 5..self.at + 7) == Some(b"\\u");
                    match four_digits(self.bytes, self.at + 7) {
                        Some(0xdc00..0xe000) if pair => self.at += 11,
                        _ => return self.fail(),
                    }
                }
                Some(0xdc00..0xe000) | None => return self.fail(),
                Some(_) => self.at += 5,
            },
            _ => return self.fail(),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            self.fail()
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// The same value by way of `elements`, `members` and `string`; numbers by serde_json.
    fn rebuilt(json: Json<'_>) -> Value {
        match json.kind() {
            Kind::Array => json.elements().unwrap().map(rebuilt).collect(),
            Kind::Object => Value::Object(
                json.members()
                    .unwrap()
                    .map(|(name, value)| (name.into_owned(), rebuilt(value)))
                    .collect(),
            ),
            Kind::String => Value::String(json.string().unwrap().into_owned()),
            _ => serde_json::from_str(json.text()).unwrap(),
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_document_reads_as_serde_json_reads_it(value in any_json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert_eq!(rebuilt(parse(text.as_bytes()).unwrap()), serde_json::from_str::<Value>(&text).unwrap());
        }

        #[test]
        fn damaged_documents_are_accepted_exactly_when_serde_json_accepts_them(
            value in any_json(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut text = serde_json::to_vec(&value).unwrap();
            let place = place.index(text.len());
            text[place] = byte;
            let oracle = serde_json::from_slice::<Value>(&text);
            // serde_json refuses numbers beyond the range of a float; here they are text
            let out_of_range = oracle.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
            prop_assert!(parse(&text).is_ok() == oracle.is_ok() || out_of_range);
        }

        #[test]
        fn a_written_string_reads_back(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            let back = parse(&out).unwrap().string().unwrap();
            prop_assert_eq!(&*back, &*text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn escapes_and_surrogates() {
        let text = br#""\u0041\ud83d\ude00\/\\\"\b\f\n\r\t\u00e9""#;
        assert_eq!(
            parse(text).unwrap().string().unwrap(),
            serde_json::from_slice::<String>(text).unwrap()
        );
        for bad in [
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\u0041""#,
            r#""\u12""#,
            r#""\x""#,
            "\"\u{1}\"",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(parse(&nested(MAX_DEPTH + 1)).is_err());
        assert!(parse(&vec![b'['; 1_000_000]).is_err());
    }

    #[test]
    fn unsigned_takes_plain_integers_only() {
        let read = |text: &str| parse(text.as_bytes()).unwrap().unsigned();
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("18446744073709551615"), Some(u64::MAX));
        for other in [
            "18446744073709551616",
            "-1",
            "1.0",
            "1e3",
            "true",
            "\"1\"",
            "-0",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
