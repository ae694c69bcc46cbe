//! Who the members of a fleet are.

use std::collections::{BTreeMap, HashMap};

use aurora_restore_core::errors::{AR0001, AR0062, StepError};
use aurora_restore_core::fleet::{FleetId, Member};
use aurora_restore_core::settings::{matches_pattern, read_parameter};
use aurora_restore_core::{Context, profile};
use serde_json::{Value, json};

use super::Asked;

/// A request for a fleet that is wrong.
pub(crate) fn malformed(problem: impl Into<String>) -> StepError {
    StepError::new(&AR0001, problem)
}

/// Every member, resolved as its own Plan will: what is wrong with one is found before the first is started.
///
/// # Errors
/// AR0001 to AR0003 naming the member; AR0062 when two make one cluster.
pub(crate) async fn resolve(
    context: &Context,
    fleet: &FleetId,
    asked: &Asked,
) -> Result<Vec<Member>, StepError> {
    let mut profiles = Profiles::default();
    let inputs = match (asked.members.as_slice(), &asked.profiles) {
        ([], Some(pattern)) => profiles.fitting(context, pattern).await?,
        ([_, ..], None) => asked.members.clone(),
        _ => {
            return Err(malformed(
                "the input has both or neither of `members` and `profiles`, expected one of them: a list of \
                 requests, or a pattern of profiles' names",
            ));
        }
    };
    let mut members = Vec::with_capacity(inputs.len());
    let mut targets: HashMap<String, u32> = HashMap::new();
    for (number, input) in (1..).zip(inputs) {
        let member = member(context, &mut profiles, fleet, number, input).await;
        let member = member.map_err(|error| {
            let text = format!("at `members`, number {number}: {}", error.message());
            StepError::new(error.code(), text)
        })?;
        let target = member.target.to_ascii_lowercase();
        if let Some(first) = targets.insert(target, number) {
            let text = format!(
                "members {first} and {number} both make cluster `{}`",
                member.target
            );
            return Err(StepError::new(&AR0062, text));
        }
        members.push(member);
    }
    Ok(members)
}

async fn member(
    context: &Context,
    profiles: &mut Profiles,
    fleet: &FleetId,
    number: u32,
    input: Value,
) -> Result<Member, StepError> {
    let resolved = match profile::name(&input)? {
        None => profile::resolve(&input, None)?,
        Some(name) => {
            let text = profiles.text(context, name).await?;
            profile::resolve(&input, Some((name, text)))?
        }
    };
    let request = resolved.request;
    Ok(Member {
        number,
        attempt: 1,
        restore_id: fleet.member(number, 1)?,
        target: request.target.cluster_identifier,
        // How many readers the source has is its own Plan's to look up.
        instances: 1 + u32::from(request.target.readers.unwrap_or(0)),
        removed_when_proved: request.expires_after_hours == Some(0),
        input,
    })
}

/// Profiles by name, each read once.
#[derive(Default)]
struct Profiles(BTreeMap<String, Option<String>>);

impl Profiles {
    async fn text(&mut self, context: &Context, name: &str) -> Result<Option<String>, StepError> {
        if let Some(text) = self.0.get(name) {
            return Ok(text.clone());
        }
        let parameter = format!("{}/{name}", context.settings.profiles_path);
        let text = read_parameter(context.aws.ssm(), &parameter).await?;
        self.0.insert(name.to_owned(), text.clone());
        Ok(text)
    }

    /// The input of a restore for each profile whose name fits, by name.
    async fn fitting(&mut self, context: &Context, pattern: &str) -> Result<Vec<Value>, StepError> {
        let path = &context.settings.profiles_path;
        let ssm = context.aws.ssm().get_parameters_by_path().path(path);
        let mut pages = ssm.with_decryption(true).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                StepError::from_sdk(format!("list the profiles below `{path}`"), error)
            })?;
            for parameter in page.parameters.unwrap_or_default() {
                let name = parameter.name().unwrap_or_default().rsplit('/').next();
                let name = name.unwrap_or_default().to_owned();
                if profile::is_name(&name) && matches_pattern(pattern, &name) {
                    self.0.insert(name, parameter.value);
                }
            }
        }
        if self.0.is_empty() {
            return Err(malformed(format!(
                "at `profiles`: no profile below `{path}` fits `{pattern}`"
            )));
        }
        let names = self.0.keys();
        Ok(names.map(|name| json!({ "profile": name })).collect())
    }
}
