//! The intrinsic functions, `States.Format` and the rest.
//!
//! Limits and rounding are AWS's: the documentation names the limits, recordings
//! show the rounding (each argument to the nearest integer, halves upward) and how
//! `States.Format` writes an object (`{name=value}`, the way Java does).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::Digest as _;

use super::{Cursor, Expression, NoValue, Scope, same};
use crate::chance::seeded_integer;

/// The most functions in one expression.
const NESTED_MAX: usize = 10;

/// The most characters `Hash`, `Base64Encode` and `Base64Decode` take.
const TEXT_CHARS_MAX: usize = 10_000;

/// The most items `ArrayRange` makes.
const RANGE_ITEMS_MAX: usize = 1_000;

/// A call of an intrinsic function.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    function: Function,
    arguments: Vec<Argument>,
}

#[derive(Debug, Clone, PartialEq)]
enum Argument {
    /// A text as written, escapes and all: `States.Format` reads them itself.
    Text(String),
    /// A number, true, false or null.
    Literal(Value),
    Path(Expression),
    Call(Call),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Format,
    StringToJson,
    JsonToString,
    Array,
    ArrayPartition,
    ArrayContains,
    ArrayRange,
    ArrayGetItem,
    ArrayLength,
    ArrayUnique,
    Base64Encode,
    Base64Decode,
    Hash,
    JsonMerge,
    MathRandom,
    MathAdd,
    StringSplit,
    Uuid,
}

/// Every function, with the fewest and the most arguments it takes.
const FUNCTIONS: [(&str, Function, usize, usize); 18] = [
    ("Format", Function::Format, 1, usize::MAX),
    ("StringToJson", Function::StringToJson, 1, 1),
    ("JsonToString", Function::JsonToString, 1, 1),
    ("Array", Function::Array, 0, usize::MAX),
    ("ArrayPartition", Function::ArrayPartition, 2, 2),
    ("ArrayContains", Function::ArrayContains, 2, 2),
    ("ArrayRange", Function::ArrayRange, 3, 3),
    ("ArrayGetItem", Function::ArrayGetItem, 2, 2),
    ("ArrayLength", Function::ArrayLength, 1, 1),
    ("ArrayUnique", Function::ArrayUnique, 1, 1),
    ("Base64Encode", Function::Base64Encode, 1, 1),
    ("Base64Decode", Function::Base64Decode, 1, 1),
    ("Hash", Function::Hash, 2, 2),
    ("JsonMerge", Function::JsonMerge, 3, 3),
    ("MathRandom", Function::MathRandom, 2, 3),
    ("MathAdd", Function::MathAdd, 2, 2),
    ("StringSplit", Function::StringSplit, 2, 2),
    ("UUID", Function::Uuid, 0, 0),
];

impl Call {
    /// Reads `States.Name(arguments)`.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, String> {
        if !cursor.eat_text("States.") {
            return Err("an intrinsic function starts with `States.`".to_owned());
        }
        let name = cursor.take_while(|c| c.is_ascii_alphanumeric());
        let (_, function, fewest, most) = FUNCTIONS
            .into_iter()
            .find(|(known, ..)| *known == name)
            .ok_or_else(|| format!("there is no intrinsic function `States.{name}`"))?;
        cursor.skip_blanks();
        cursor.expect('(')?;
        let arguments = read_arguments(cursor)?;
        if !(fewest..=most).contains(&arguments.len()) {
            return Err(format!(
                "`States.{name}` does not take {} arguments",
                arguments.len()
            ));
        }
        Ok(Self {
            function,
            arguments,
        })
    }

    /// Refuses more functions in one expression than AWS allows.
    pub(super) fn check_nesting(&self) -> Result<(), String> {
        if self.count() > NESTED_MAX {
            return Err(format!(
                "more than {NESTED_MAX} intrinsic functions in one expression; use several states"
            ));
        }
        Ok(())
    }

    fn count(&self) -> usize {
        let nested = |argument: &Argument| {
            if let Argument::Call(call) = argument {
                call.count()
            } else {
                0
            }
        };
        1 + self.arguments.iter().map(nested).sum::<usize>()
    }

    /// The function's value. `text` is the whole expression, for the error.
    pub(super) fn evaluate(&self, scope: Scope<'_>, text: &str) -> Result<Value, String> {
        self.value(scope)
            .map_err(|fault| format!("The function '{text}' had the following error: {fault}"))
    }

    fn value(&self, scope: Scope<'_>) -> Result<Value, String> {
        let values = self
            .arguments
            .iter()
            .map(|argument| argument.value(scope))
            .collect::<Result<Vec<_>, _>>()?;
        let first = values.first().unwrap_or(&Value::Null);
        let second = values.get(1).unwrap_or(&Value::Null);
        let third = values.get(2);
        match self.function {
            Function::Format => self.format(&values),
            Function::StringToJson => string_to_json(text_of(first)?),
            Function::JsonToString => Ok(Value::String(first.to_string())),
            Function::Array => Ok(Value::Array(values)),
            Function::ArrayPartition => partition(array_of(first)?, integer_of(second)?),
            Function::ArrayContains => Ok(array_of(first)?
                .iter()
                .any(|item| same(item, second))
                .into()),
            Function::ArrayRange => range(
                integer_of(first)?,
                integer_of(second)?,
                integer_of(third.unwrap_or(&Value::Null))?,
            ),
            Function::ArrayGetItem => get_item(array_of(first)?, integer_of(second)?),
            Function::ArrayLength => Ok(array_of(first)?.len().into()),
            Function::ArrayUnique => Ok(unique(array_of(first)?)),
            Function::Base64Encode => Ok(STANDARD.encode(short_text_of(first)?).into()),
            Function::Base64Decode => base64_decode(short_text_of(first)?),
            Function::Hash => hash(first, text_of(second)?),
            Function::JsonMerge => merge(first, second, third.unwrap_or(&Value::Null)),
            Function::MathRandom => random(scope, integer_of(first)?, integer_of(second)?, third),
            Function::MathAdd => add(integer_of(first)?, integer_of(second)?),
            Function::StringSplit => Ok(split(text_of(first)?, text_of(second)?)),
            Function::Uuid => Ok(scope.chance.uuid().to_string().into()),
        }
    }

    /// Fills `{}` in the first argument with the others, one after another.
    fn format(&self, values: &[Value]) -> Result<Value, String> {
        let template = match (self.arguments.first(), values.first()) {
            (Some(Argument::Text(raw)), _) => raw.as_str(),
            (_, Some(Value::String(text))) => text,
            _ => return Err("the template must be a text".to_owned()),
        };
        let mut arguments = values.iter().skip(1);
        let mut filled = String::new();
        let mut cursor = Cursor::new(template);
        while let Some(c) = cursor.next() {
            match c {
                '\\' => filled.extend(cursor.next()),
                '{' if cursor.eat('}') => {
                    let value = arguments
                        .next()
                        .ok_or("there are more `{}` than arguments")?;
                    filled.push_str(&plain(value));
                }
                '{' | '}' => {
                    return Err(format!(
                        "`{c}` must be part of `{{}}` or escaped with a backslash"
                    ));
                }
                c => filled.push(c),
            }
        }
        match arguments.next() {
            None => Ok(filled.into()),
            Some(_) => Err("there are more arguments than `{}`".to_owned()),
        }
    }
}

impl Argument {
    fn value(&self, scope: Scope<'_>) -> Result<Value, String> {
        match self {
            Self::Text(raw) => Ok(unescape(raw).into()),
            Self::Literal(value) => Ok(value.clone()),
            Self::Call(call) => call.value(scope),
            Self::Path(path) => path.evaluate(scope).map_err(|fault| match fault {
                NoValue::Missing(_) => format!(
                    "The JsonPath argument for the field '{}' could not be found in the input '{}'",
                    path.text, scope.input
                ),
                NoValue::Function(sentence) => sentence,
            }),
        }
    }
}

fn read_arguments(cursor: &mut Cursor<'_>) -> Result<Vec<Argument>, String> {
    let mut arguments = Vec::new();
    cursor.skip_blanks();
    if cursor.eat(')') {
        return Ok(arguments);
    }
    loop {
        cursor.skip_blanks();
        arguments.push(read_argument(cursor)?);
        cursor.skip_blanks();
        if cursor.eat(')') {
            return Ok(arguments);
        }
        cursor.expect(',')?;
    }
}

fn read_argument(cursor: &mut Cursor<'_>) -> Result<Argument, String> {
    match cursor.peek() {
        Some('\'') => read_text(cursor).map(Argument::Text),
        Some('$') => Expression::read(cursor).map(Argument::Path),
        Some('S') => Call::read(cursor).map(Argument::Call),
        _ => {
            let word =
                cursor.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
            serde_json::from_str(word).map(Argument::Literal).map_err(|_| {
                "an argument is a path, a text in single quotes, a number, true, false, null or another intrinsic function"
                    .to_owned()
            })
        }
    }
}

/// A text in single quotes, its escapes checked and kept.
fn read_text(cursor: &mut Cursor<'_>) -> Result<String, String> {
    cursor.expect('\'')?;
    let mut raw = String::new();
    loop {
        match cursor.next() {
            Some('\'') => return Ok(raw),
            Some('\\') => match cursor.next() {
                Some(c @ ('\'' | '\\' | '{' | '}')) => raw.extend(['\\', c]),
                Some(c) => {
                    return Err(format!(
                        "`\\{c}` is not an escape: only `\\'`, `\\\\`, `\\{{` and `\\}}` are"
                    ));
                }
                None => return Err("the text ends in a backslash".to_owned()),
            },
            Some(c) => raw.push(c),
            None => return Err("a text is not closed by a single quote".to_owned()),
        }
    }
}

fn unescape(raw: &str) -> String {
    let mut cursor = Cursor::new(raw);
    let mut text = String::new();
    while let Some(c) = cursor.next() {
        text.extend(if c == '\\' { cursor.next() } else { Some(c) });
    }
    text
}

fn text_of(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("expected a text but found {value}"))
}

fn short_text_of(value: &Value) -> Result<&str, String> {
    let text = text_of(value)?;
    if text.chars().count() > TEXT_CHARS_MAX {
        return Err(format!(
            "the text has more than {TEXT_CHARS_MAX} characters"
        ));
    }
    Ok(text)
}

fn array_of(value: &Value) -> Result<&Vec<Value>, String> {
    value
        .as_array()
        .ok_or_else(|| format!("expected an array but found {value}"))
}

/// The nearest integer, halves upward: 1.5 is 2 and -1.5 is -1, as recorded on AWS.
fn integer_of(value: &Value) -> Result<i64, String> {
    if let Some(integer) = value.as_i64() {
        return Ok(integer);
    }
    let number = value
        .as_f64()
        .ok_or_else(|| format!("expected a number but found {value}"))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and the callers bound what they take"
    )]
    Ok((number + 0.5).floor() as i64)
}

/// A value as `States.Format` writes it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}={}", plain(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            format!("[{}]", items.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// Blank text is null, as recorded on AWS.
fn string_to_json(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|fault| format!("the text is not JSON: {fault}"))
}

fn partition(items: &[Value], size: i64) -> Result<Value, String> {
    let size = usize::try_from(size)
        .ok()
        .filter(|size| *size > 0)
        .ok_or("the chunk size must be positive")?;
    Ok(items.chunks(size).map(<[Value]>::to_vec).collect())
}

fn range(from: i64, to: i64, step: i64) -> Result<Value, String> {
    if step == 0 {
        return Err("the step must not be zero".to_owned());
    }
    let mut items = Vec::new();
    let mut next = Some(from);
    while let Some(item) = next.filter(|item| if step > 0 { *item <= to } else { *item >= to }) {
        if items.len() == RANGE_ITEMS_MAX {
            return Err(format!("the range has more than {RANGE_ITEMS_MAX} items"));
        }
        items.push(Value::from(item));
        next = item.checked_add(step);
    }
    Ok(Value::Array(items))
}

fn get_item(items: &[Value], index: i64) -> Result<Value, String> {
    let item = usize::try_from(index)
        .ok()
        .and_then(|index| items.get(index))
        .cloned();
    item.ok_or_else(|| {
        format!(
            "the index {index} is outside the array, which has {} items",
            items.len()
        )
    })
}

fn unique(items: &[Value]) -> Value {
    let mut kept: Vec<Value> = Vec::new();
    for item in items {
        if !kept.contains(item) {
            kept.push(item.clone());
        }
    }
    Value::Array(kept)
}

fn base64_decode(text: &str) -> Result<Value, String> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|fault| format!("the text is not Base64: {fault}"))?;
    String::from_utf8(bytes)
        .map(Value::String)
        .map_err(|_| "the decoded bytes are not UTF-8".to_owned())
}

/// A hash in lowercase hexadecimal; what is not a text is hashed as JSON.
fn hash(data: &Value, algorithm: &str) -> Result<Value, String> {
    let data = match data {
        Value::String(_) => short_text_of(data)?.to_owned(),
        other => other.to_string(),
    };
    let digest = match algorithm {
        "MD5" => md5::Md5::digest(&data).to_vec(),
        "SHA-1" => sha1::Sha1::digest(&data).to_vec(),
        "SHA-256" => sha2::Sha256::digest(&data).to_vec(),
        "SHA-384" => sha2::Sha384::digest(&data).to_vec(),
        "SHA-512" => sha2::Sha512::digest(&data).to_vec(),
        other => {
            return Err(format!(
                "`{other}` is not one of MD5, SHA-1, SHA-256, SHA-384, SHA-512"
            ));
        }
    };
    Ok(hex::encode(digest).into())
}

/// The fields of both, the second's where both have one. Only shallow, as on AWS.
fn merge(first: &Value, second: &Value, deep: &Value) -> Result<Value, String> {
    match (first, second, deep) {
        (Value::Object(first), Value::Object(second), Value::Bool(false)) => {
            let mut merged = first.clone();
            merged.extend(second.clone());
            Ok(Value::Object(merged))
        }
        (_, _, Value::Bool(false)) => Err("both values must be objects".to_owned()),
        _ => Err("only shallow merging is supported: the third argument must be false".to_owned()),
    }
}

fn random(scope: Scope<'_>, from: i64, to: i64, seed: Option<&Value>) -> Result<Value, String> {
    if from >= to {
        return Err("the start must be less than the end".to_owned());
    }
    Ok(match seed {
        Some(seed) => seeded_integer(integer_of(seed)?.cast_unsigned(), from, to).into(),
        None => scope.chance.integer(from, to).into(),
    })
}

fn add(first: i64, second: i64) -> Result<Value, String> {
    let fits = |number: i64| {
        i32::try_from(number).map_err(|_| format!("{number} is not a 32-bit integer"))
    };
    Ok((i64::from(fits(first)?) + i64::from(fits(second)?)).into())
}

/// Splits at any of the delimiter's characters; nothing between two of them is nothing.
fn split(text: &str, delimiters: &str) -> Value {
    text.split(|c| delimiters.contains(c))
        .filter(|part| !part.is_empty())
        .map(Value::from)
        .collect()
}
