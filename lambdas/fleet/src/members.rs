//! Who the members of a fleet are.

use std::collections::{BTreeMap, HashMap};

use aurora_restore_core::approval::REQUESTED_BY;
use aurora_restore_core::errors::{AR0001, AR0062, StepError};
use aurora_restore_core::fleet::{FleetId, Member};
use aurora_restore_core::request::Request;
use aurora_restore_core::settings::{DeployedSettings, matches_pattern, read_parameter};
use aurora_restore_core::{Context, profile};
use serde_json::{Value, json};

use super::Asked;

/// A request for a fleet that is wrong.
pub(crate) fn malformed(problem: impl Into<String>) -> StepError {
    StepError::new(&AR0001, problem)
}

/// Resolves members as each one's own Plan will: what is wrong with one is found before the first is started.
pub(crate) struct Resolver<'a> {
    context: &'a Context,
    requested_by: Option<&'a str>,
    profiles: Profiles,
    settings: Option<DeployedSettings>,
}

impl<'a> Resolver<'a> {
    /// For members that are asked for in the name of whoever asks for the fleet.
    pub(crate) fn new(context: &'a Context, requested_by: Option<&'a str>) -> Self {
        Self {
            context,
            requested_by,
            profiles: Profiles::default(),
            settings: None,
        }
    }

    /// Every member of a fleet that is asked for.
    ///
    /// # Errors
    /// AR0001 to AR0003 naming the member; AR0062 when two make one cluster.
    pub(crate) async fn members(
        &mut self,
        fleet: &FleetId,
        asked: &Asked,
    ) -> Result<Vec<Member>, StepError> {
        let inputs = match (asked.members.as_slice(), &asked.profiles) {
            ([], Some(pattern)) => self.profiles.fitting(self.context, pattern).await?,
            ([_, ..], None) => asked.members.clone(),
            _ => {
                return Err(malformed(
                    "the input has both or neither of `members` and `profiles`, expected one of them: a list of \
                     requests, or a pattern of profiles' names",
                ));
            }
        };
        let mut members = Vec::with_capacity(inputs.len());
        for (number, input) in (1..).zip(inputs) {
            members.push(self.member(fleet, number, 1, input).await?);
        }
        check_targets(&members)?;
        Ok(members)
    }

    /// One member.
    ///
    /// # Errors
    /// AR0001 to AR0003 naming the member.
    pub(crate) async fn member(
        &mut self,
        fleet: &FleetId,
        number: u32,
        attempt: u32,
        input: Value,
    ) -> Result<Member, StepError> {
        let request = self.request(&input).await.map_err(|error| {
            let text = format!("at `members`, number {number}: {}", error.message());
            StepError::new(error.code(), text)
        })?;
        let instances = request.target.instances.as_ref().map_or_else(
            // How many readers the source has is its own Plan's to look up.
            || 1 + usize::from(request.target.readers.unwrap_or(0)),
            Vec::len,
        );
        Ok(Member {
            number,
            attempt,
            restore_id: fleet.member(number, attempt)?,
            source: request.source.cluster_identifier,
            target: request.target.cluster_identifier,
            instances: u32::try_from(instances).unwrap_or(u32::MAX),
            removed_when_proved: request.expires_after_hours == Some(0),
            input,
        })
    }

    async fn request(&mut self, input: &Value) -> Result<Request, StepError> {
        if input.get(REQUESTED_BY).is_some() {
            return Err(malformed(format!(
                "at `{REQUESTED_BY}`, expected nothing: it is whoever starts the fleet, and stands beside `members`"
            )));
        }
        let resolved = match profile::name(input)? {
            None => profile::resolve(input, None)?,
            Some(name) => {
                let text = self.profiles.text(self.context, name).await?;
                profile::resolve(input, Some((name, text)))?
            }
        };
        let request = resolved.request;
        if self.requested_by.is_none() {
            let settings = match self.settings.take() {
                Some(settings) => settings,
                None => {
                    let parameter = &self.context.settings.settings_parameter;
                    DeployedSettings::read(self.context.aws.ssm(), parameter).await?
                }
            };
            let settings = self.settings.insert(settings);
            if settings.approval_needed(&request) {
                settings.permit_requester(None)?;
            }
        }
        Ok(request)
    }
}

/// Refuses members that make one cluster.
///
/// # Errors
/// AR0062 naming both.
pub(crate) fn check_targets(members: &[Member]) -> Result<(), StepError> {
    let mut targets: HashMap<String, u32> = HashMap::new();
    for member in members {
        let target = member.target.to_ascii_lowercase();
        if let Some(first) = targets.insert(target, member.number) {
            let text = format!(
                "members {first} and {} both make cluster `{}`",
                member.number, member.target
            );
            return Err(StepError::new(&AR0062, text));
        }
    }
    Ok(())
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
