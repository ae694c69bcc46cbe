//! The expressions of a definition: paths, variables, the context object,
//! intrinsic functions and the templates they stand in.
//!
//! All of a query language is behind [`Expression`] and [`Template`]: another one
//! (`JSONata`) would be read into its own forms of the two, chosen by the state's
//! `QueryLanguage`, and evaluated against the same [`Scope`].

mod cursor;
mod intrinsics;
mod path;
mod template;

use serde_json::Value;

use crate::chance::Chance;
use crate::execution::variables::Variables;

pub(crate) use cursor::Cursor;
use intrinsics::Call;
pub(crate) use path::{Path, same};
pub(crate) use template::{Template, explain};

/// What an expression can see.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'s> {
    /// What `$` is.
    pub(crate) input: &'s Value,
    /// What `$$` is.
    pub(crate) context: &'s Value,
    /// What `$name` is.
    pub(crate) variables: &'s Variables,
    /// Where `States.UUID` and `States.MathRandom` draw from.
    pub(crate) chance: &'s Chance,
}

/// Something that has a value at run time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expression {
    /// The expression as it was written.
    pub(crate) text: String,
    form: Form,
}

#[derive(Debug, Clone, PartialEq)]
enum Form {
    /// `$…`
    Input(Path),
    /// `$$…`
    Context(Path),
    /// `$name…`
    Variable(String, Path),
    /// `States.…(…)`
    Call(Call),
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoValue {
    /// A path found nothing; what the path library says.
    Missing(String),
    /// A function refused its arguments; the whole sentence.
    Function(String),
}

impl NoValue {
    /// What is wrong, when nothing more is known about where.
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Missing(text) | Self::Function(text) => text,
        }
    }
}

impl Expression {
    /// Reads a path, a context path, a variable or an intrinsic function.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut cursor = Cursor::new(text);
        let form = if text.starts_with("States.") {
            let call = Call::read(&mut cursor)?;
            call.check_nesting()?;
            Form::Call(call)
        } else {
            Self::read_path(&mut cursor)?
        };
        cursor.skip_blanks();
        if !cursor.at_end() {
            return Err(format!("unexpected `{}`", cursor.rest()));
        }
        Ok(Self {
            text: text.to_owned(),
            form,
        })
    }

    /// `$`.
    pub(crate) fn whole_input() -> Self {
        Self {
            text: "$".to_owned(),
            form: Form::Input(Path::default()),
        }
    }

    /// Reads a path of any root; an intrinsic function is refused.
    pub(crate) fn parse_path(text: &str) -> Result<Self, String> {
        if text.starts_with("States.") {
            return Err("an intrinsic function is not allowed here; use a path".to_owned());
        }
        Self::parse(text)
    }

    /// Reads a path at the cursor: an argument of an intrinsic function.
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, String> {
        let before = cursor.rest();
        let form = Self::read_path(cursor)?;
        let text = before[..before.len() - cursor.rest().len()].to_owned();
        Ok(Self { text, form })
    }

    fn read_path(cursor: &mut Cursor<'_>) -> Result<Form, String> {
        if !cursor.eat('$') {
            return Err(
                "a path starts with `$`, and an intrinsic function with `States.`".to_owned(),
            );
        }
        if cursor.eat('$') {
            return Ok(Form::Context(Path::read(cursor)?));
        }
        let name = cursor.take_while(is_name_char);
        let path = Path::read(cursor)?;
        Ok(if name.is_empty() {
            Form::Input(path)
        } else {
            Form::Variable(name.to_owned(), path)
        })
    }

    /// Whether the expression is a reference path: it names one value.
    pub(crate) fn is_reference(&self) -> bool {
        match &self.form {
            Form::Input(path) | Form::Context(path) | Form::Variable(_, path) => path.is_definite(),
            Form::Call(_) => false,
        }
    }

    /// The value, or why there is none.
    pub(crate) fn evaluate(&self, scope: Scope<'_>) -> Result<Value, NoValue> {
        let missing = |missing: path::Missing| NoValue::Missing(missing.to_string());
        match &self.form {
            Form::Input(path) => path.find(scope.input).map_err(missing),
            Form::Context(path) => path.find(scope.context).map_err(missing),
            Form::Variable(name, path) => match scope.variables.get(name) {
                Some(value) => path.find(value).map_err(missing),
                None => Err(NoValue::Missing(format!(
                    "the variable `${name}` has not been assigned"
                ))),
            },
            Form::Call(call) => call.evaluate(scope, &self.text).map_err(NoValue::Function),
        }
    }
}

/// Characters of a variable's name: Unicode identifiers, as the documentation says.
pub(crate) fn is_name_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
