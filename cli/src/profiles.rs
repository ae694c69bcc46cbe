//! Profiles of a deployed pipeline, in Parameter Store.

use anyhow::{Context as _, Result, anyhow, bail};
use aurora_restore_core::profile::{self, Profile};
use aws_sdk_ssm::types::{Parameter, ParameterTier, ParameterType};
use serde::Serialize;

use crate::remote::Pipeline;

/// A profile as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// What it is called.
    pub name: String,
    /// One more with each change; Parameter Store keeps the hundred before.
    pub version: i64,
    /// Its text. What somebody put there by other means may be no profile.
    pub text: String,
}

impl Kept {
    fn new(path: &str, parameter: &Parameter) -> Self {
        let name = parameter.name().unwrap_or_default();
        Self {
            name: name.strip_prefix(path).unwrap_or(name).to_owned(),
            version: parameter.version(),
            text: parameter.value().unwrap_or_default().to_owned(),
        }
    }
}

impl Pipeline {
    /// Puts a profile, in place of one of its name. Returns its version.
    ///
    /// # Errors
    /// When it is no profile, which then changes nothing, and what Parameter Store refuses.
    pub async fn put_profile(&self, name: &str, text: &str) -> Result<i64> {
        let parameter = self.profile_parameter(name)?;
        Profile::read(text).map_err(|problem| anyhow!("profile `{name}`: {problem}"))?;
        let put = self
            .ssm
            .put_parameter()
            .name(parameter)
            .value(text)
            .r#type(ParameterType::String)
            // Beyond 4 KB a parameter is an advanced one, which is billed.
            .tier(ParameterTier::IntelligentTiering)
            .overwrite(true)
            .send()
            .await;
        put.map(|put| put.version)
            .map_err(|error| match error.as_service_error() {
                Some(said) => anyhow!("cannot put profile `{name}`: {said}"),
                None => anyhow!(error).context(format!("cannot put profile `{name}`")),
            })
    }

    /// Puts all profiles of this region into another, in place of those of their names. What else is there stays.
    /// Returns them as they are kept there.
    ///
    /// # Errors
    /// When one is no profile or the regions are the same, which then changes nothing; what Parameter Store refuses.
    pub async fn copy_profiles(&self, to_region: &str) -> Result<Vec<Kept>> {
        if to_region == self.stack.region {
            bail!("the profiles are in {to_region}: expected another region");
        }
        let mut profiles = self.profiles().await?;
        for kept in &profiles {
            Profile::read(&kept.text)
                .map_err(|problem| anyhow!("profile `{}`: {problem}", kept.name))?;
        }
        let there = self.in_region(to_region);
        for at in 0..profiles.len() {
            let kept = &profiles[at];
            let put = there.put_profile(&kept.name, &kept.text).await;
            profiles[at].version = put.with_context(|| half_copied(&profiles, at, to_region))?;
        }
        Ok(profiles)
    }

    /// A profile as it is kept.
    ///
    /// # Errors
    /// When there is none of this name, and what Parameter Store refuses.
    pub async fn profile(&self, name: &str) -> Result<Kept> {
        let parameter = self.profile_parameter(name)?;
        let found = self.ssm.get_parameter().name(&parameter).send().await;
        match found {
            Ok(found) => found
                .parameter()
                .map(|parameter| Kept::new(&self.profiles_path(), parameter))
                .with_context(|| format!("Parameter Store told nothing of `{parameter}`")),
            Err(error) => match error.as_service_error() {
                Some(said) if said.is_parameter_not_found() => bail!(
                    "there is no profile `{name}` (parameter `{parameter}`): `aurora-restore profile list` lists all"
                ),
                Some(said) => bail!("cannot read profile `{name}`: {said}"),
                None => Err(anyhow!(error).context(format!("cannot read profile `{name}`"))),
            },
        }
    }

    /// Every profile, by name.
    ///
    /// # Errors
    /// What Parameter Store refuses.
    pub async fn profiles(&self) -> Result<Vec<Kept>> {
        let path = self.profiles_path();
        let mut pages = self
            .ssm
            .get_parameters_by_path()
            .path(path.trim_end_matches('/'))
            .into_paginator()
            .send();
        let mut profiles = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.context("cannot list profiles")?;
            let kept = page.parameters().iter();
            profiles.extend(kept.map(|parameter| Kept::new(&path, parameter)));
        }
        profiles.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(profiles)
    }

    /// With its last slash.
    fn profiles_path(&self) -> String {
        format!("{}/", self.stack.settings().profiles_path)
    }

    fn profile_parameter(&self, name: &str) -> Result<String> {
        if !profile::is_name(name) {
            bail!(
                "`{name}` is no name of a profile, expected {}",
                profile::NAMES
            );
        }
        Ok(format!("{}{name}", self.profiles_path()))
    }
}

/// That the profile at this place could not be copied, and what became of the others.
fn half_copied(profiles: &[Kept], at: usize, to_region: &str) -> String {
    let names = |profiles: &[Kept]| {
        let names: Vec<&str> = profiles.iter().map(|kept| kept.name.as_str()).collect();
        match names.as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        }
    };
    let (copied, left) = profiles.split_at(at);
    format!(
        "cannot copy all profiles to {to_region}: copied were {}; not copied are {}. The same command begins anew",
        names(copied),
        names(left)
    )
}
