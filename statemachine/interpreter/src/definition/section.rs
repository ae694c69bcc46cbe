//! Reading an object of the definition, field by field, noting what is wrong.

use serde_json::{Map, Value};

use super::error::Problem;
use super::states::{Amount, InputOutputPath, ResultPath};
use crate::query::{Expression, Path, Template};

/// The most characters of a value that a problem repeats.
const VALUE_CHARS_MAX: usize = 120;

/// Everything found wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    /// Notes a problem with a field of a section; an empty field means the section.
    pub(crate) fn add(&mut self, section: &Section<'_>, field: &str, remedy: &str) {
        self.0.push(Problem {
            state: section.state.map(str::to_owned),
            field: section.place(field),
            value: section.get(field).map(shown).unwrap_or_default(),
            remedy: remedy.to_owned(),
        });
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// An object in the definition: the machine, a state, or something inside one.
#[derive(Debug, Clone)]
pub(crate) struct Section<'d> {
    /// The state it belongs to.
    pub(super) state: Option<&'d str>,
    /// Where it is below the state, such as `Retry[0]`.
    at: String,
    fields: &'d Map<String, Value>,
}

impl<'d> Section<'d> {
    pub(super) fn root(fields: &'d Map<String, Value>) -> Self {
        Self {
            state: None,
            at: String::new(),
            fields,
        }
    }

    pub(super) fn of_state(name: &'d str, fields: &'d Map<String, Value>) -> Self {
        Self {
            state: Some(name),
            at: String::new(),
            fields,
        }
    }

    fn place(&self, field: &str) -> String {
        match (self.at.as_str(), field) {
            ("", field) => field.to_owned(),
            (at, "") => at.to_owned(),
            (at, field) => format!("{at}.{field}"),
        }
    }

    pub(crate) fn get(&self, field: &str) -> Option<&'d Value> {
        self.fields.get(field)
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'d str> + use<'d> {
        self.fields.keys().map(String::as_str)
    }

    /// Refuses fields that are not in one of the lists.
    pub(crate) fn allow(&self, problems: &mut Problems, lists: &[&[&str]]) {
        for name in self.names() {
            if !lists.iter().any(|list| list.contains(&name)) {
                problems.add(self, name, &unknown_field(name));
            }
        }
    }

    /// Refuses having more than one of these fields.
    pub(crate) fn at_most_one(&self, problems: &mut Problems, names: &[&str]) {
        let given: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| self.has(name))
            .collect();
        if let [first, rest @ ..] = &given[..] {
            for name in rest {
                problems.add(
                    self,
                    name,
                    &format!("cannot stand beside `{first}`; keep one of the two"),
                );
            }
        }
    }

    pub(crate) fn text(&self, problems: &mut Problems, name: &str) -> Option<&'d str> {
        let text = self.get(name)?.as_str();
        if text.is_none() {
            problems.add(self, name, "must be a text");
        }
        text
    }

    pub(crate) fn required_text(&self, problems: &mut Problems, name: &str) -> Option<&'d str> {
        if !self.has(name) {
            problems.add(self, name, "is required");
        }
        self.text(problems, name)
    }

    pub(crate) fn boolean(&self, problems: &mut Problems, name: &str) -> Option<bool> {
        let value = self.get(name)?.as_bool();
        if value.is_none() {
            problems.add(self, name, "must be true or false");
        }
        value
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn integer(
        &self,
        problems: &mut Problems,
        name: &str,
        least: u64,
        most: u64,
    ) -> Option<u64> {
        let number = self
            .get(name)?
            .as_u64()
            .filter(|number| (least..=most).contains(number));
        if number.is_none() {
            problems.add(
                self,
                name,
                &format!("must be a whole number from {least} to {most}"),
            );
        }
        number
    }

    /// A path to any value: of the input, the context object or a variable.
    pub(crate) fn path(&self, problems: &mut Problems, name: &str) -> Option<Expression> {
        let text = self.text(problems, name)?;
        Expression::parse_path(text)
            .map_err(|fault| problems.add(self, name, &invalid_path(&fault)))
            .ok()
    }

    /// A path to exactly one value.
    pub(crate) fn reference(&self, problems: &mut Problems, name: &str) -> Option<Expression> {
        let path = self.path(problems, name)?;
        if !path.is_reference() {
            problems.add(self, name, "must be a reference path, which names one value: no wildcard, slice, filter or `..`");
            return None;
        }
        Some(path)
    }

    /// A path or an intrinsic function.
    pub(crate) fn expression(&self, problems: &mut Problems, name: &str) -> Option<Expression> {
        let text = self.text(problems, name)?;
        Expression::parse(text)
            .map_err(|fault| problems.add(self, name, &invalid_path(&fault)))
            .ok()
    }

    /// A payload template: JSON with computed fields.
    pub(crate) fn template(&self, problems: &mut Problems, name: &str) -> Option<Template> {
        let value = self.get(name)?;
        let mut faults = Vec::new();
        let template = Template::parse(value, &self.place(name), &mut faults);
        problems.0.extend(faults.into_iter().map(|fault| Problem {
            state: self.state.map(str::to_owned),
            field: fault.field,
            value: shown(&fault.value),
            remedy: fault.fault,
        }));
        Some(template)
    }

    /// A payload template that must be an object.
    pub(crate) fn object_template(&self, problems: &mut Problems, name: &str) -> Option<Template> {
        if self.get(name).is_some_and(|value| !value.is_object()) {
            problems.add(self, name, "must be an object");
            return None;
        }
        self.template(problems, name)
    }

    /// `InputPath` or `OutputPath`: `$` when absent.
    pub(crate) fn input_output_path(&self, problems: &mut Problems, name: &str) -> InputOutputPath {
        if self.get(name) == Some(&Value::Null) {
            return InputOutputPath::Nothing;
        }
        match self.path(problems, name) {
            Some(path) => InputOutputPath::Path(path),
            None => InputOutputPath::Path(Expression::whole_input()),
        }
    }

    /// `ResultPath`: `$` when absent.
    pub(crate) fn result_path(&self, problems: &mut Problems) -> ResultPath {
        const REMEDY: &str =
            "must be null or a reference path into the state's input, such as `$.restore`";
        let name = "ResultPath";
        if self.get(name) == Some(&Value::Null) {
            return ResultPath::Discard;
        }
        let text = if self.has(name) {
            self.text(problems, name).unwrap_or("$")
        } else {
            "$"
        };
        let path = text
            .strip_prefix('$')
            .and_then(|rest| Path::parse(rest).ok())
            .filter(Path::is_definite);
        let Some(path) = path else {
            problems.add(self, name, REMEDY);
            return ResultPath::Discard;
        };
        ResultPath::Place {
            path,
            text: text.to_owned(),
        }
    }

    /// A number given by `name` or read from `{name}Path`.
    pub(crate) fn amount(
        &self,
        problems: &mut Problems,
        name: &str,
        least: u64,
        most: u64,
    ) -> Option<Amount> {
        let path = format!("{name}Path");
        self.at_most_one(problems, &[name, &path]);
        if self.has(name) {
            return self.integer(problems, name, least, most).map(Amount::Fixed);
        }
        self.reference(problems, &path).map(Amount::Path)
    }

    /// The object in a field.
    pub(crate) fn section(&self, problems: &mut Problems, name: &str) -> Option<Section<'d>> {
        let fields = self.get(name)?.as_object();
        if fields.is_none() {
            problems.add(self, name, "must be an object");
        }
        Some(Section {
            state: self.state,
            at: self.place(name),
            fields: fields?,
        })
    }

    /// The objects in a field that is a list of them; empty when absent.
    pub(crate) fn sections(&self, problems: &mut Problems, name: &str) -> Vec<Section<'d>> {
        let Some(value) = self.get(name) else {
            return Vec::new();
        };
        let Some(items) = value.as_array() else {
            problems.add(self, name, "must be a list of objects");
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.as_object() {
                Some(fields) => {
                    let at = format!("{}[{index}]", self.place(name));
                    sections.push(Section {
                        state: self.state,
                        at,
                        fields,
                    });
                }
                None => problems.add(self, name, &format!("item {index} must be an object")),
            }
        }
        sections
    }
}

fn invalid_path(fault: &str) -> String {
    format!("is not a valid path: {fault}")
}

fn unknown_field(name: &str) -> String {
    match name {
        "Arguments" | "Output" | "Items" | "Condition" => {
            "belongs to JSONata, which is not implemented; use the JSONPath fields".to_owned()
        }
        "ItemReader" | "ResultWriter" | "ItemBatcher" => {
            "is not implemented: items come from the state's input, one in each child execution, and results go to \
             its output; remove it"
                .to_owned()
        }
        "Label"
        | "ToleratedFailureCount"
        | "ToleratedFailureCountPath"
        | "ToleratedFailurePercentage"
        | "ToleratedFailurePercentagePath" => {
            "belongs to Distributed Map; set ProcessorConfig.Mode to DISTRIBUTED, or remove it"
                .to_owned()
        }
        "Credentials" => {
            "is not implemented: every task runs as the state machine's role; remove it".to_owned()
        }
        _ => "is not a field of this; remove it or correct its spelling".to_owned(),
    }
}
