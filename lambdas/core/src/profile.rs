//! Profiles: named requests in Parameter Store.
//!
//! A profile is a whole request and a list of the fields that an execution's input may
//! override. Whatever else the input names is refused, so that who starts a restore
//! by its profile's name gets the restore that was agreed on.

use schemars::schema_for;
use serde_json::{Value, json};

use crate::errors::{AR0001, AR0002, AR0003, StepError};
use crate::request::{self, Request};
use crate::settings::Consent;

/// A request that has a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// What is asked for when nothing is overridden.
    pub request: Request,
    /// The paths that the input may override, such as `target.readers`; `target` for all below it.
    pub overrides: Vec<String>,
    /// Whether its restores may go into production.
    pub production: bool,
    whole: Value,
}

impl Profile {
    /// Reads a profile's text and checks it.
    ///
    /// # Errors
    /// Every problem, each with its path, the value and what was expected.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut whole: Value = request::parse(text)?;
        let mut own = |name: &str| whole.as_object_mut()?.shift_remove(name);
        let overrides = own("overrides").unwrap_or_else(|| json!([]));
        let production = own("production").unwrap_or(Value::Bool(false));
        let production = request::from_value(production)
            .map_err(|problem| format!("at `production`: {problem}, expected true or false"))?;
        let overrides: Vec<String> = request::from_value(overrides)
            .map_err(|problem| format!("at `overrides`: {problem}, expected a list of paths"))?;
        if let Some(unknown) = overrides.iter().find(|path| !is_field(path)) {
            return Err(format!(
                "at `overrides`: `{unknown}`, expected the path of a request's field, such as `target.readers`"
            ));
        }
        Ok(Self {
            request: request::read(whole.clone())?,
            overrides,
            production,
            whole,
        })
    }

    fn allows(&self, path: &str) -> bool {
        self.overrides.iter().any(|allowed| {
            path.strip_prefix(allowed.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// The fields that the input names and that may not be overridden, as one line.
    fn refusal(&self, name: &str, input: &Value) -> Option<String> {
        let refused = paths(input)
            .into_iter()
            .filter(|path| !self.allows(path))
            .map(|path| format!("`{path}`"));
        let refused: Vec<String> = refused.collect();
        if refused.is_empty() {
            return None;
        }
        let allowed = match self.overrides.as_slice() {
            [] => "nothing".to_owned(),
            overrides => format!("only `{}`", overrides.join("`, `")),
        };
        Some(format!(
            "at {}: profile `{name}` lets {allowed} be overridden",
            refused.join(", ")
        ))
    }
}

/// The JSON Schema of profiles: that of a request, `overrides` and `production`.
///
/// A request has the same one without them. Rules that join fields are not in it; [`Profile::read`] has all.
#[must_use]
pub fn schema() -> Value {
    let mut schema = request_schema();
    schema["title"] = "Profile".into();
    schema["description"] =
        "A restore with a name: a request, and what an execution's input may override.".into();
    schema["properties"]["overrides"] = json!({
        "description": "Paths that an execution's input may override, such as `target.readers`; `target` for all below it. None when absent.",
        "type": "array",
        "items": { "type": "string" },
        "default": [],
    });
    schema["properties"]["production"] = json!({
        "description": "Whether restores of this profile may go into targets that are deployed as production. No input says so.",
        "type": "boolean",
        "default": false,
    });
    schema
}

fn request_schema() -> Value {
    schema_for!(Request).to_value()
}

/// The name of the profile that an execution's input asks for, if it asks for one.
///
/// # Errors
/// AR0001 when the input is not an object or `profile` is not a profile's name.
pub fn name(input: &Value) -> Result<Option<&str>, StepError> {
    let Some(fields) = input.as_object() else {
        return Err(StepError::new(
            &AR0001,
            format!("the input is {input}, expected a JSON object"),
        ));
    };
    match fields.get("profile") {
        None => Ok(None),
        Some(Value::String(name)) if is_name(name) => Ok(Some(name)),
        Some(other) => Err(StepError::new(
            &AR0001,
            format!("at `profile`: {other}, expected {NAMES}"),
        )),
    }
}

/// What a profile may be called.
pub const NAMES: &str = "1 to 64 letters, digits, hyphens, dots or underscores";

/// Whether a profile may be called so. A name cannot climb out of its path in Parameter Store.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

/// A request, and what its profile consented to.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved<'a> {
    /// The request, whole.
    pub request: Request,
    /// Whether it may go into production.
    pub production: Consent<'a>,
}

/// The request of an execution's input: the input itself, or a profile with the input laid over it.
///
/// `profile` is the profile's name and its text, `None` for the text when it does not exist.
///
/// # Errors
/// AR0002 for a missing profile, AR0003 for a malformed one, AR0001 for a malformed input and for one that overrides
/// what the profile does not let it.
pub fn resolve<'a>(
    input: &Value,
    profile: Option<(&'a str, Option<String>)>,
) -> Result<Resolved<'a>, StepError> {
    let malformed = |problem: String| StepError::new(&AR0001, problem);
    let Some((name, text)) = profile else {
        return Ok(Resolved {
            request: request::read(input.clone()).map_err(malformed)?,
            production: Consent::NoProfile,
        });
    };
    let text =
        text.ok_or_else(|| StepError::new(&AR0002, format!("there is no profile `{name}`")))?;
    let profile = Profile::read(&text)
        .map_err(|problem| StepError::new(&AR0003, format!("profile `{name}`: {problem}")))?;
    let mut over = input.clone();
    if let Some(fields) = over.as_object_mut() {
        fields.shift_remove("profile");
    }
    if let Some(refusal) = profile.refusal(name, &over) {
        return Err(malformed(refusal));
    }
    let production = match profile.production {
        true => Consent::Given,
        false => Consent::NotInProfile(name),
    };
    let mut whole = profile.whole;
    overlay(&mut whole, over);
    Ok(Resolved {
        request: request::read(whole).map_err(malformed)?,
        production,
    })
}

/// Lays one document over another: objects member by member, everything else as a whole.
pub fn overlay(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                overlay(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// The path of every field that is given, as deep as objects go.
fn paths(value: &Value) -> Vec<String> {
    let Some(fields) = value.as_object() else {
        return Vec::new();
    };
    let below = |(name, value): (&String, &Value)| {
        let deeper = paths(value);
        if deeper.is_empty() {
            vec![name.clone()]
        } else {
            deeper
                .into_iter()
                .map(|path| format!("{name}.{path}"))
                .collect()
        }
    };
    fields.iter().flat_map(below).collect()
}

/// Whether a request has a field of this path.
fn is_field(path: &str) -> bool {
    let root = request_schema();
    path.split('.')
        .try_fold(&root, |schema, name| member(&root, schema, name))
        .is_some()
}

/// The schema of an object's member.
fn member<'a>(root: &'a Value, schema: &'a Value, name: &str) -> Option<&'a Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        return member(root, root.pointer(reference.strip_prefix('#')?)?, name);
    }
    let own = schema["properties"].get(name);
    own.or_else(|| {
        schema
            .get("additionalProperties")
            .filter(|any| any.is_object())
    })
    .or_else(|| {
        let variants = schema["anyOf"].as_array().into_iter().flatten();
        variants
            .into_iter()
            .find_map(|variant| member(root, variant, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nightly(overrides: &Value) -> Value {
        json!({
            "source": {"clusterIdentifier": "orders-prod"},
            "target": {"clusterIdentifier": "orders-staging", "instanceClass": "db.r7g.large", "securityGroupIds": ["sg-1"]},
            "overrides": overrides,
        })
    }

    fn resolved(input: &Value, profile: &Value) -> Result<Request, StepError> {
        let resolved = resolve(input, Some(("nightly", Some(profile.to_string()))));
        resolved.map(|resolved| resolved.request)
    }

    #[test]
    fn only_a_profile_itself_consents_to_production() {
        let input = json!({"profile": "nightly"});
        let mut profile = nightly(&json!(["target", "checks"]));
        let consent = |input: &Value, profile: &Value| {
            let resolved = resolve(input, Some(("nightly", Some(profile.to_string()))));
            resolved.map(|resolved| resolved.production)
        };
        let without = consent(&input, &profile).unwrap();
        assert_eq!(without, Consent::NotInProfile("nightly"));
        profile["production"] = json!(true);
        assert_eq!(consent(&input, &profile).unwrap(), Consent::Given);
        for said in [true, false] {
            let input = json!({"profile": "nightly", "production": said});
            let refused = consent(&input, &profile).unwrap_err();
            assert!(refused.message().contains("`production`"), "{refused}");
        }
        let mut whole = nightly(&json!([]));
        whole.as_object_mut().unwrap().shift_remove("overrides");
        assert_eq!(
            resolve(&whole, None).unwrap().production,
            Consent::NoProfile
        );
        whole["production"] = json!(true);
        let refused = resolve(&whole, None).unwrap_err();
        assert!(refused.message().contains("`production`"), "{refused}");
        profile["overrides"] = json!(["production"]);
        assert!(Profile::read(&profile.to_string()).is_err());
        profile["production"] = json!("yes");
        let refused = Profile::read(&profile.to_string()).unwrap_err();
        assert!(refused.contains("at `production`"), "{refused}");
    }

    #[test]
    fn the_input_overrides_the_profile_field_by_field() {
        let input = json!({"profile": "nightly", "target": {"readers": 2}});
        let request = resolved(&input, &nightly(&json!(["target"]))).unwrap();
        assert_eq!(request.target.readers, Some(2));
        assert_eq!(request.target.cluster_identifier, "orders-staging");
    }

    #[test]
    fn nothing_is_overridden_that_the_profile_does_not_allow() {
        let input = json!({
            "profile": "nightly", "source": {}, "target": {"readers": 2, "tags": {"team": "data"}}, "expiresAfterHours": 1,
        });
        for (overrides, said) in [
            (
                json!(["target.tags", "expiresAfterHours"]),
                "at `source`, `target.readers`: profile `nightly` lets only `target.tags`, `expiresAfterHours` be overridden",
            ),
            (
                json!([]),
                "at `source`, `target.readers`, `target.tags.team`, `expiresAfterHours`: profile `nightly` lets nothing be overridden",
            ),
        ] {
            let refused = resolved(&input, &nightly(&overrides)).unwrap_err();
            assert_eq!((refused.code().id, refused.message()), ("AR0001", said));
        }
        // The beginning of a name is not its path.
        let input = json!({"profile": "nightly", "target": {"readers": 2}});
        let refused = resolved(&input, &nightly(&json!(["target.tags"]))).unwrap_err();
        assert!(refused.message().contains("`target.readers`"), "{refused}");
    }

    #[test]
    fn overrides_are_paths_of_a_requests_fields() {
        for path in [
            "target.tags",
            "target.tags.team",
            "target.serverlessScaling.minCapacity",
            "waits",
            "checks",
        ] {
            assert!(
                Profile::read(&nightly(&json!([path])).to_string()).is_ok(),
                "{path}"
            );
        }
        for path in [
            "target.reader",
            "",
            "target.",
            "profile",
            "overrides",
            "checks.0",
            "target.readers.x",
        ] {
            let refused = Profile::read(&nightly(&json!([path])).to_string()).unwrap_err();
            assert!(
                refused.contains(&format!("`overrides`: `{path}`")),
                "{refused}"
            );
        }
        let refused = Profile::read(&nightly(&json!("target")).to_string()).unwrap_err();
        assert!(refused.contains("a list of paths"), "{refused}");
    }

    #[test]
    fn a_malformed_profile_is_told_from_a_malformed_input() {
        let input = json!({"profile": "nightly"});
        let code = |text: Option<&str>| {
            let refused = resolve(&input, Some(("nightly", text.map(str::to_owned)))).unwrap_err();
            assert!(refused.message().contains("nightly"), "{refused}");
            refused.code().id
        };
        assert_eq!(code(Some("{\"source\": 3}")), "AR0003");
        assert_eq!(code(Some("{\"source\"")), "AR0003");
        assert_eq!(code(Some("[]")), "AR0003");
        assert_eq!(code(None), "AR0002");
        let input = json!({"profile": "nightly", "target": {"readers": "two"}});
        let blamed = resolved(&input, &nightly(&json!(["target"]))).unwrap_err();
        assert_eq!(blamed.code().id, "AR0001");
    }

    /// There is no field for one, and what is not a field is refused; the refusal does not repeat it.
    #[test]
    fn a_secret_has_no_place_in_a_profile() {
        for path in [
            "/masterPassword",
            "/source/masterUserPassword",
            "/target/masterUserPassword",
            "/credentials/password",
            "/credentials/masterUserPassword",
            "/switch/password",
        ] {
            let mut profile = nightly(&json!([]));
            let (parent, field) = path.rsplit_once('/').unwrap();
            let key = parent.trim_start_matches('/');
            if !key.is_empty() && profile[key].is_null() {
                profile[key] = json!({});
            }
            profile.pointer_mut(parent).unwrap()[field] = json!("canary-in-a-profile");
            let refused = Profile::read(&profile.to_string()).unwrap_err();
            assert!(refused.contains(field), "{path}: {refused}");
            assert!(!refused.contains("canary"), "{path}: {refused}");
        }
    }

    #[test]
    fn a_profile_name_cannot_climb_out_of_its_path() {
        let error = name(&json!({"profile": "../secrets"})).unwrap_err();
        assert_eq!(error.code().id, "AR0001");
    }

    #[test]
    fn the_schema_knows_every_field_of_a_profile() {
        let schema = schema();
        assert_eq!(schema["additionalProperties"], false);
        let known = schema["properties"].as_object().unwrap();
        let profile = Profile::read(&nightly(&json!([])).to_string()).unwrap();
        let fields = serde_json::to_value(profile.request).unwrap();
        assert!(
            fields
                .as_object()
                .unwrap()
                .keys()
                .all(|field| known.contains_key(field))
        );
        assert!(known.contains_key("overrides") && known.contains_key("production"));
    }
}
