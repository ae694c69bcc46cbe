//! `JSONPath`, in the dialect Step Functions speaks.
//!
//! That is Jayway's: a path that can only name one value (a *definite* path)
//! must find it, while one with a wildcard, slice, filter or `..` answers with a
//! list, empty when there is nothing. Recordings of AWS agree, down to a slice of
//! a field that does not exist. Jayway's functions (`length()`, `min()`, …) and
//! its rarer filter operators are refused when a definition is loaded.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use super::cursor::Cursor;

/// A parsed path below a root. The root itself (`$`, `$$`, `$name`) is the caller's.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Path {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq)]
enum Segment {
    /// `.name`, `['name']`, `['a','b']`
    Names(Vec<String>),
    /// `[0]`, `[-1]`, `[0,2]`
    Indices(Vec<i64>),
    /// `[1:3]`, `[:2]`, `[-1:]`
    Slice(Option<i64>, Option<i64>, Option<i64>),
    /// `.*`, `[*]`
    Wildcard,
    /// `..`, before any of the others
    Descend,
    /// `[?(…)]`
    Filter(Condition),
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    Exists(Operand),
    Compare(Operand, Comparison, Operand),
    Not(Box<Condition>),
    And(Vec<Condition>),
    Or(Vec<Condition>),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    /// `@.path`
    Item(Path),
    /// `$.path`
    Root(Path),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

/// A definite path that found nothing, in the words Jayway has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Path {
    /// Parses what follows the root, to the end of the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut cursor = Cursor::new(text);
        let path = Self::read(&mut cursor)?;
        if cursor.at_end() {
            Ok(path)
        } else {
            Err(format!("unexpected `{}`", cursor.rest()))
        }
    }

    /// Reads as many segments as there are and leaves the cursor after them.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, String> {
        let mut segments = Vec::new();
        loop {
            match cursor.peek() {
                Some('.') => {
                    cursor.next();
                    if cursor.eat('.') {
                        segments.push(Segment::Descend);
                        if cursor.peek() == Some('[') {
                            continue;
                        }
                    }
                    segments.push(read_dotted(cursor)?);
                }
                Some('[') => {
                    cursor.next();
                    segments.push(read_bracketed(cursor)?);
                }
                _ => return Ok(Self { segments }),
            }
        }
    }

    /// Whether the path can name at most one value.
    pub(crate) fn is_definite(&self) -> bool {
        self.segments.iter().all(|segment| match segment {
            Segment::Names(names) => names.len() == 1,
            Segment::Indices(indices) => indices.len() == 1,
            _ => false,
        })
    }

    /// Whether the path is the root itself.
    pub(crate) fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    /// Evaluates the path.
    ///
    /// A definite path answers with its value or with [`Missing`]; any other
    /// answers with the list of what it found.
    pub(crate) fn find(&self, root: &Value) -> Result<Value, Missing> {
        if self.is_definite() {
            return self.find_one(root).cloned();
        }
        Ok(Value::Array(
            self.select(root, root).into_iter().cloned().collect(),
        ))
    }

    fn find_one<'v>(&self, root: &'v Value) -> Result<&'v Value, Missing> {
        let mut value = root;
        let mut walked = String::from("$");
        for (at, segment) in self.segments.iter().enumerate() {
            let (found, step) = match segment {
                Segment::Names(names) => {
                    let name = &names[0];
                    (value.get(name), format!("['{name}']"))
                }
                Segment::Indices(indices) => (
                    value
                        .as_array()
                        .and_then(|items| item_at(items, indices[0])),
                    format!("[{}]", indices[0]),
                ),
                _ => (None, String::new()),
            };
            walked.push_str(&step);
            value = found.ok_or_else(|| {
                let last = at + 1 == self.segments.len();
                Missing(if last {
                    format!("No results for path: {walked}")
                } else {
                    format!("Missing property in path {walked}")
                })
            })?;
        }
        Ok(value)
    }

    /// Everything the path names, starting at `start`; filters may look at `root`.
    fn select<'v>(&self, start: &'v Value, root: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![start];
        for segment in &self.segments {
            found = found
                .into_iter()
                .flat_map(|value| segment.select(value, root))
                .collect();
        }
        found
    }

    /// Puts `result` where this (definite) path points in `target`, making objects on the way.
    ///
    /// Answers `false` when something on the way is neither an object nor a long enough array.
    pub(crate) fn place(&self, target: &mut Value, result: Value) -> bool {
        let mut place = target;
        for segment in &self.segments {
            match segment {
                Segment::Names(names) => {
                    if !place.is_object() {
                        return false;
                    }
                    let empty = || Value::Object(serde_json::Map::new());
                    let Some(fields) = place.as_object_mut() else {
                        return false;
                    };
                    place = fields.entry(names[0].clone()).or_insert_with(empty);
                }
                Segment::Indices(indices) => {
                    let Some(items) = place.as_array_mut() else {
                        return false;
                    };
                    let Some(item) = usize::try_from(indices[0])
                        .ok()
                        .and_then(|index| items.get_mut(index))
                    else {
                        return false;
                    };
                    place = item;
                }
                _ => return false,
            }
        }
        *place = result;
        true
    }
}

impl Segment {
    fn select<'v>(&self, value: &'v Value, root: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Names(names) => names.iter().filter_map(|name| value.get(name)).collect(),
            Self::Indices(indices) => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                indices
                    .iter()
                    .filter_map(|index| item_at(items, *index))
                    .collect()
            }
            Self::Slice(from, to, step) => slice(
                value.as_array().map(Vec::as_slice).unwrap_or_default(),
                *from,
                *to,
                *step,
            ),
            Self::Wildcard => children(value),
            Self::Descend => {
                let mut found = vec![value];
                for child in children(value) {
                    found.extend(self.select(child, root));
                }
                found
            }
            Self::Filter(condition) => {
                let candidates = if value.is_object() {
                    vec![value]
                } else {
                    children(value)
                };
                candidates
                    .into_iter()
                    .filter(|item| condition.holds(item, root))
                    .collect()
            }
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

/// The item at an index; a negative one counts from the end.
fn item_at(items: &[Value], index: i64) -> Option<&Value> {
    let index = if index < 0 {
        i64::try_from(items.len()).ok()? + index
    } else {
        index
    };
    items.get(usize::try_from(index).ok()?)
}

fn slice(items: &[Value], from: Option<i64>, to: Option<i64>, step: Option<i64>) -> Vec<&Value> {
    let length = items.len();
    let bound = |index: i64| {
        let offset = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        if index < 0 {
            length.saturating_sub(offset)
        } else {
            offset.min(length)
        }
    };
    let (from, to) = (from.map_or(0, bound), to.map_or(length, bound));
    let step = step
        .and_then(|step| usize::try_from(step).ok())
        .filter(|step| *step > 0)
        .unwrap_or(1);
    items
        .get(from..to)
        .unwrap_or_default()
        .iter()
        .step_by(step)
        .collect()
}

impl Condition {
    fn holds(&self, item: &Value, root: &Value) -> bool {
        match self {
            Self::Exists(operand) => operand.value(item, root).is_some(),
            Self::Compare(left, comparison, right) => {
                match (left.value(item, root), right.value(item, root)) {
                    (Some(left), Some(right)) => comparison.holds(&left, &right),
                    _ => *comparison == Comparison::NotEqual, // Jayway: something differs from nothing
                }
            }
            Self::Not(inner) => !inner.holds(item, root),
            Self::And(all) => all.iter().all(|condition| condition.holds(item, root)),
            Self::Or(any) => any.iter().any(|condition| condition.holds(item, root)),
        }
    }
}

impl Operand {
    fn value(&self, item: &Value, root: &Value) -> Option<Value> {
        match self {
            Self::Item(path) => path.find(item).ok(),
            Self::Root(path) => path.find(root).ok(),
            Self::Literal(value) => Some(value.clone()),
        }
    }
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let ordered = |wanted: fn(Ordering) -> bool| order(left, right).is_some_and(wanted);
        match self {
            Self::Equal => same(left, right),
            Self::NotEqual => !same(left, right),
            Self::Less => ordered(Ordering::is_lt),
            Self::LessOrEqual => ordered(Ordering::is_le),
            Self::Greater => ordered(Ordering::is_gt),
            Self::GreaterOrEqual => ordered(Ordering::is_ge),
            Self::In => right
                .as_array()
                .is_some_and(|items| items.iter().any(|item| same(left, item))),
            Self::NotIn => right
                .as_array()
                .is_some_and(|items| !items.iter().any(|item| same(left, item))),
        }
    }
}

/// Equality of JSON values in which 1 and 1.0 are the same number.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left.partial_cmp(&right) == Some(Ordering::Equal),
        _ => left == right,
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// What follows a dot: a name or `*`.
fn read_dotted(cursor: &mut Cursor<'_>) -> Result<Segment, String> {
    if cursor.eat('*') {
        return Ok(Segment::Wildcard);
    }
    let name = cursor.take_while(|c| {
        !matches!(
            c,
            '.' | '['
                | ']'
                | ' '
                | ','
                | '('
                | ')'
                | '\''
                | '"'
                | '?'
                | '@'
                | '*'
                | ':'
                | '='
                | '!'
                | '<'
                | '>'
                | '&'
                | '|'
                | '\n'
                | '\t'
        )
    });
    if name.is_empty() {
        return Err("a name or `*` must follow a dot".to_owned());
    }
    if cursor.peek() == Some('(') {
        return Err(format!(
            "the path function `{name}()` is not implemented; compute it in a task or with an intrinsic function"
        ));
    }
    Ok(Segment::Names(vec![name.to_owned()]))
}

/// What follows an opening bracket, up to and with the closing one.
fn read_bracketed(cursor: &mut Cursor<'_>) -> Result<Segment, String> {
    cursor.skip_blanks();
    let segment = match cursor.peek() {
        Some('*') => {
            cursor.next();
            Segment::Wildcard
        }
        Some('?') => {
            cursor.next();
            cursor.skip_blanks();
            cursor.expect('(')?;
            let condition = read_any(cursor)?;
            cursor.skip_blanks();
            cursor.expect(')')?;
            Segment::Filter(condition)
        }
        Some('\'' | '"') => Segment::Names(read_names(cursor)?),
        Some('-' | ':' | '0'..='9') => read_numbers(cursor)?,
        _ => {
            return Err(
                "expected a quoted name, an index, a slice, `*` or `?(…)` in brackets".to_owned(),
            );
        }
    };
    cursor.skip_blanks();
    cursor.expect(']')?;
    Ok(segment)
}

fn read_names(cursor: &mut Cursor<'_>) -> Result<Vec<String>, String> {
    let mut names = vec![read_quoted(cursor)?];
    loop {
        cursor.skip_blanks();
        if !cursor.eat(',') {
            return Ok(names);
        }
        cursor.skip_blanks();
        names.push(read_quoted(cursor)?);
    }
}

/// A name or string in quotes; a backslash takes the next character as it is.
fn read_quoted(cursor: &mut Cursor<'_>) -> Result<String, String> {
    let quote = cursor
        .next()
        .filter(|c| matches!(c, '\'' | '"'))
        .ok_or("expected a quote")?;
    let mut text = String::new();
    loop {
        match cursor.next() {
            Some(c) if c == quote => return Ok(text),
            Some('\\') => match cursor.next() {
                Some(c) if c == quote || c == '\\' => text.push(c),
                Some(c) => text.extend(['\\', c]),
                None => return Err("the text ends in a backslash".to_owned()),
            },
            Some(c) => text.push(c),
            None => return Err("a quote is not closed".to_owned()),
        }
    }
}

fn read_numbers(cursor: &mut Cursor<'_>) -> Result<Segment, String> {
    let first = read_integer(cursor)?;
    cursor.skip_blanks();
    if cursor.eat(':') {
        let to = read_integer(cursor)?;
        let step = if cursor.eat(':') {
            read_integer(cursor)?
        } else {
            None
        };
        return Ok(Segment::Slice(first, to, step));
    }
    let mut indices = vec![first.ok_or("expected an index")?];
    while cursor.eat(',') {
        indices.push(read_integer(cursor)?.ok_or("expected an index after the comma")?);
        cursor.skip_blanks();
    }
    Ok(Segment::Indices(indices))
}

fn read_integer(cursor: &mut Cursor<'_>) -> Result<Option<i64>, String> {
    cursor.skip_blanks();
    let digits = cursor.take_while(|c| c == '-' || c.is_ascii_digit());
    if digits.is_empty() {
        return Ok(None);
    }
    digits
        .parse()
        .map(Some)
        .map_err(|_| format!("`{digits}` is not an index"))
}

fn read_any(cursor: &mut Cursor<'_>) -> Result<Condition, String> {
    let mut any = vec![read_all(cursor)?];
    while cursor.eat_text("||") {
        any.push(read_all(cursor)?);
    }
    Ok(if any.len() == 1 {
        any.remove(0)
    } else {
        Condition::Or(any)
    })
}

fn read_all(cursor: &mut Cursor<'_>) -> Result<Condition, String> {
    let mut all = vec![read_condition(cursor)?];
    while cursor.eat_text("&&") {
        all.push(read_condition(cursor)?);
    }
    Ok(if all.len() == 1 {
        all.remove(0)
    } else {
        Condition::And(all)
    })
}

fn read_condition(cursor: &mut Cursor<'_>) -> Result<Condition, String> {
    cursor.skip_blanks();
    if cursor.eat('(') {
        let inner = read_any(cursor)?;
        cursor.skip_blanks();
        cursor.expect(')')?;
        cursor.skip_blanks();
        return Ok(inner);
    }
    if cursor.eat('!') {
        return Ok(Condition::Not(Box::new(read_condition(cursor)?)));
    }
    let left = read_operand(cursor)?;
    cursor.skip_blanks();
    let Some(comparison) = read_comparison(cursor) else {
        return Ok(Condition::Exists(left));
    };
    cursor.skip_blanks();
    let right = read_operand(cursor)?;
    cursor.skip_blanks();
    Ok(Condition::Compare(left, comparison, right))
}

fn read_comparison(cursor: &mut Cursor<'_>) -> Option<Comparison> {
    const COMPARISONS: [(&str, Comparison); 8] = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
        ("in ", Comparison::In),
        ("nin ", Comparison::NotIn),
    ];
    COMPARISONS
        .into_iter()
        .find(|(text, _)| cursor.eat_text(text))
        .map(|(_, comparison)| comparison)
}

fn read_operand(cursor: &mut Cursor<'_>) -> Result<Operand, String> {
    match cursor.peek() {
        Some('@') => {
            cursor.next();
            Ok(Operand::Item(Path::read(cursor)?))
        }
        Some('$') => {
            cursor.next();
            Ok(Operand::Root(Path::read(cursor)?))
        }
        Some('\'' | '"') => Ok(Operand::Literal(Value::String(read_quoted(cursor)?))),
        Some('[') => {
            cursor.next();
            let inner = cursor.take_while(|c| c != ']');
            cursor.expect(']')?;
            let list = format!("[{}]", inner.replace('\'', "\""));
            let items = serde_json::from_str(&list)
                .map_err(|_| format!("`{list}` is not a list of literals"))?;
            Ok(Operand::Literal(items))
        }
        _ => {
            let word =
                cursor.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
            let literal = serde_json::from_str(word).map_err(|_| {
                "expected `@…`, `$…`, a quoted text, a number, true, false or null in a filter"
                    .to_owned()
            })?;
            Ok(Operand::Literal(literal))
        }
    }
}
