//! What was deployed, as opposed to what was asked for.
//!
//! The environment names the pipeline's own resources. The deployed settings, a
//! JSON document in Parameter Store, hold what a request must not choose: the
//! quarantine security groups and the direction of data.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::errors::{AR0001, AR0004, AR0005, AR0046, AR0051, StepError, wire_code};
use crate::request::{self, Request};

/// The names of the pipeline's own resources, from the function's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The pipeline's name, a metric dimension: `AURORA_RESTORE_PIPELINE`.
    pub pipeline: String,
    /// The state table: `AURORA_RESTORE_TABLE`.
    pub table: String,
    /// The topic for outcomes: `AURORA_RESTORE_TOPIC_ARN`.
    pub topic_arn: String,
    /// The parameter with the deployed settings: `AURORA_RESTORE_SETTINGS`.
    pub settings_parameter: String,
    /// The path of the profiles in Parameter Store, without a trailing slash: `AURORA_RESTORE_PROFILES`.
    pub profiles_path: String,
    /// The state machine, which only the functions that start restores are told: [`Self::STATE_MACHINE_VARIABLE`].
    pub state_machine_arn: Option<String>,
    /// The table that says which region is active, which only pipelines in two regions have:
    /// [`Self::ROLE_TABLE_VARIABLE`].
    pub role_table: Option<String>,
}

impl Settings {
    /// The variables, in the order of [`Settings`]' fields.
    pub const VARIABLES: [&'static str; 5] = [
        "AURORA_RESTORE_PIPELINE",
        "AURORA_RESTORE_TABLE",
        "AURORA_RESTORE_TOPIC_ARN",
        "AURORA_RESTORE_SETTINGS",
        "AURORA_RESTORE_PROFILES",
    ];

    /// The variable of [`Self::state_machine_arn`].
    pub const STATE_MACHINE_VARIABLE: &'static str = "AURORA_RESTORE_STATE_MACHINE_ARN";

    /// The variable of [`Self::role_table`].
    pub const ROLE_TABLE_VARIABLE: &'static str = "AURORA_RESTORE_ROLE_TABLE";

    /// Reads the environment through `variable`.
    ///
    /// # Errors
    /// AR0004 naming the variable that is missing or empty.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, StepError> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let read = |name: &str| given(name).ok_or_else(|| is_not_set(name));
        let [pipeline, table, topic, settings, profiles] = Self::VARIABLES;
        Ok(Self {
            pipeline: read(pipeline)?,
            table: read(table)?,
            topic_arn: read(topic)?,
            settings_parameter: read(settings)?,
            profiles_path: read(profiles)?,
            state_machine_arn: given(Self::STATE_MACHINE_VARIABLE),
            role_table: given(Self::ROLE_TABLE_VARIABLE),
        })
    }

    /// The state machine's ARN, for functions that start restores.
    ///
    /// # Errors
    /// AR0004 naming the variable when this function was not told.
    pub fn state_machine_arn(&self) -> Result<&str, StepError> {
        let arn = self.state_machine_arn.as_deref();
        arn.ok_or_else(|| is_not_set(Self::STATE_MACHINE_VARIABLE))
    }

    /// Reads the process's environment.
    ///
    /// # Errors
    /// As [`Settings::read`].
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    pub fn from_environment() -> Result<Self, StepError> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// The same as environment variables, for whoever deploys functions.
    pub fn to_environment(&self) -> Vec<(&'static str, String)> {
        let values = [
            self.pipeline.clone(),
            self.table.clone(),
            self.topic_arn.clone(),
            self.settings_parameter.clone(),
            self.profiles_path.clone(),
        ];
        let mut environment: Vec<_> = Self::VARIABLES.into_iter().zip(values).collect();
        let arn = self.state_machine_arn.clone();
        environment.extend(arn.map(|arn| (Self::STATE_MACHINE_VARIABLE, arn)));
        let role_table = self.role_table.clone();
        environment.extend(role_table.map(|name| (Self::ROLE_TABLE_VARIABLE, name)));
        environment
    }
}

fn is_not_set(variable: &str) -> StepError {
    StepError::new(
        &AR0004,
        format!("environment variable `{variable}` is not set on this function"),
    )
}

/// What a request must not choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeployedSettings {
    /// Security groups without ingress but the pipeline's own; restored clusters live in them
    /// until they are proved safe to reach. At least one.
    pub quarantine_security_group_ids: Vec<String>,
    /// Cluster parameter groups for the time in quarantine, by family (such as `aurora-postgresql16`); the
    /// engine's default group where a family is absent.
    #[serde(default)]
    pub quarantine_parameter_groups: BTreeMap<String, String>,
    /// Which sources may flow to which targets. Nothing flows that is not listed.
    pub flows: Vec<Flow>,
    /// What is production: patterns, as in [`Flow`], of the names by which clients come to a cluster: its identifier,
    /// and the parameters, secrets and DNS records that point to it. A restore that clients of such a name would come
    /// to needs a profile that says `production`, and a person's approval.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub production_targets: Vec<String>,
    /// Whether who asked for a restore may approve it, too. The ARN of who asked is compared with that of who
    /// approves.
    #[serde(default)]
    pub approvers_may_approve_own: bool,
    /// Hours after its plan by which a target that is not production expires at the latest; when absent, targets may
    /// be kept, and expire within a year if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_lifetime_hours: Option<u32>,
    /// Hours before a target expires that people are told; a quarter of its life at most.
    #[serde(default = "expiry_warning_hours")]
    pub expiry_warning_hours: u32,
    /// Clusters in whose place a restore may come: patterns of identifiers, `*` for any characters. None that is not
    /// listed is renamed, stopped or removed.
    #[serde(default)]
    pub replaceable: Vec<String>,
    /// How the functions that speak SQL check the server they reach.
    #[serde(default)]
    pub database_tls: DatabaseTls,
    /// The ARNs of the roles of the functions that change something, by step: whether these may what a plan needs is
    /// asked before a run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub function_roles: BTreeMap<String, String>,
    /// The table that says which region is active, for people who look at a plan; empty for a pipeline in one region.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role_table: String,
}

/// Hours before a target expires that people are told, when nothing else is deployed.
const EXPIRY_WARNING_HOURS: u32 = 24;
/// A target that expires does so within a year.
const LONGEST_LIFETIME_HOURS: u32 = 8_760;

fn expiry_warning_hours() -> u32 {
    EXPIRY_WARNING_HOURS
}

/// One permitted direction of data. Both patterns match whole names; `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flow {
    /// Cluster identifiers data may come from.
    pub source: String,
    /// The account whose snapshots may be used; the pipeline's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_account: Option<String>,
    /// Cluster identifiers data may go to.
    pub target: String,
}

/// Whether a profile lets its restores go into production. Nothing else can: no input, no override.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent<'a> {
    /// The profile says `"production": true`.
    Given,
    /// The profile of this name does not.
    NotInProfile(&'a str),
    /// The request came without a profile.
    NoProfile,
}

/// How the functions that speak SQL check the server they reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "mode", deny_unknown_fields)]
pub enum DatabaseTls {
    /// Encrypted, and the certificate must chain to Amazon RDS' certificate authorities and name the endpoint.
    #[default]
    VerifyFull,
    /// As `verify-full`, with these certificate authorities (PEM) in place of Amazon's.
    VerifyFullWith {
        /// One or more PEM certificates.
        #[serde(rename = "authoritiesPem")]
        authorities_pem: String,
    },
    /// Not encrypted: for servers on the loopback interface only.
    Disable,
}

impl DeployedSettings {
    /// Reads the deployed settings from Parameter Store.
    ///
    /// # Errors
    /// AR0004 when the parameter is missing or malformed.
    pub async fn read(ssm: &aws_sdk_ssm::Client, parameter: &str) -> Result<Self, StepError> {
        let text = read_parameter(ssm, parameter).await?.ok_or_else(|| {
            StepError::new(&AR0004, format!("parameter `{parameter}` does not exist"))
        })?;
        let settings: Self = request::parse(&text).map_err(|problem| {
            StepError::new(&AR0004, format!("parameter `{parameter}`: {problem}"))
        })?;
        match settings.problem() {
            None => Ok(settings),
            Some(problem) => Err(StepError::new(
                &AR0004,
                format!("parameter `{parameter}`: {problem}"),
            )),
        }
    }

    fn problem(&self) -> Option<String> {
        if self.quarantine_security_group_ids.is_empty() {
            let text = "quarantineSecurityGroupIds is empty, expected at least one group";
            return Some(text.to_owned());
        }
        let lifetime = self.longest_lifetime_hours.unwrap_or(1);
        if !(1..=LONGEST_LIFETIME_HOURS).contains(&lifetime) {
            return Some(format!(
                "at `longestLifetimeHours`: `{lifetime}`, expected 1 to {LONGEST_LIFETIME_HOURS}"
            ));
        }
        None
    }

    /// Whether this name is production's. Names of DNS are the same with and without a dot at their end.
    pub fn is_production(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.');
        let mut patterns = self.production_targets.iter();
        patterns.any(|pattern| matches_pattern(pattern.trim_end_matches('.'), name))
    }

    /// Whether a restore needs a person's approval by what it asks for: because it says so, or because a name that
    /// clients of production come by is in it.
    pub fn approval_needed(&self, request: &Request) -> bool {
        let asked = request.approval.as_ref();
        asked.is_some_and(|approval| approval.required)
            || request.names().iter().any(|name| self.is_production(name))
    }

    /// Refuses a restore that needs an approval and of which nobody is known to ask, where nobody approves their own.
    ///
    /// # Errors
    /// AR0001 naming the field.
    pub fn permit_requester(&self, requested_by: Option<&str>) -> Result<(), StepError> {
        if requested_by.is_some() || self.approvers_may_approve_own {
            return Ok(());
        }
        Err(StepError::new(
            &AR0001,
            "at `requestedBy`: absent, expected the ARN of who asks for this restore: it needs an approval, and as deployed nobody approves their own",
        ))
    }

    /// How long a target that is not production may live; `None` when nothing is deployed.
    pub fn longest_lifetime(&self) -> Option<time::Duration> {
        let hours = self.longest_lifetime_hours?;
        Some(time::Duration::hours(hours.into()))
    }

    /// Refuses a lifetime that is longer than the deployed one, and one without an end where there is one. For what is
    /// not production, which is nobody's to limit.
    ///
    /// # Errors
    /// AR0001 naming the field, its value and what is deployed.
    pub fn permit_lifetime(&self, hours: Option<u32>) -> Result<(), StepError> {
        let Some(longest) = self.longest_lifetime_hours else {
            return Ok(());
        };
        if hours.is_some_and(|hours| hours <= longest) {
            return Ok(());
        }
        let found = hours.map_or("absent".to_owned(), |hours| format!("`{hours}`"));
        Err(StepError::new(
            &AR0001,
            format!(
                "at `expiresAfterHours`: {found}, expected 1 to {longest}, as deployed in `longestLifetimeHours`"
            ),
        ))
    }

    /// Whether one of these names is production's. Refuses what no profile consented to.
    ///
    /// # Errors
    /// AR0051 naming the name.
    pub fn permit_production(
        &self,
        names: &[&str],
        consent: Consent<'_>,
    ) -> Result<bool, StepError> {
        let Some(name) = names.iter().find(|name| self.is_production(name)) else {
            return Ok(false);
        };
        let lacking = match consent {
            Consent::Given => return Ok(true),
            Consent::NotInProfile(name) => format!("profile `{name}` does not say so"),
            Consent::NoProfile => "the request is of no profile".to_owned(),
        };
        Err(StepError::new(
            &AR0051,
            format!("`{name}` is production's, and {lacking}"),
        ))
    }

    /// Refuses a direction of data that no flow permits.
    ///
    /// # Errors
    /// AR0005 naming both ends.
    pub fn permit(
        &self,
        source: &str,
        source_account: &str,
        own_account: &str,
        target: &str,
    ) -> Result<(), StepError> {
        let permitted = |flow: &Flow| {
            matches_pattern(&flow.source, source)
                && flow.source_account.as_deref().unwrap_or(own_account) == source_account
                && matches_pattern(&flow.target, target)
        };
        if self.flows.iter().any(permitted) {
            return Ok(());
        }
        Err(StepError::new(
            &AR0005,
            format!(
                "no deployed flow leads from `{source}` of account {source_account} to `{target}`"
            ),
        ))
    }
}

impl DeployedSettings {
    /// Refuses to replace a cluster that is not listed.
    ///
    /// # Errors
    /// AR0046 naming it.
    pub fn permit_replacing(&self, name: &str) -> Result<(), StepError> {
        if self
            .replaceable
            .iter()
            .any(|pattern| matches_pattern(pattern, name))
        {
            return Ok(());
        }
        Err(StepError::new(
            &AR0046,
            format!(
                "cluster `{name}` is not among the replaceable clusters of the deployed settings"
            ),
        ))
    }
}

/// Whether `pattern`, where `*` stands for any characters, matches the whole of `name`. Letter case is ignored,
/// as RDS lowercases identifiers.
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pattern.rsplit_once('*').map(|(_, last)| last) else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    last.is_empty() || name.len() >= first.len() + last.len() && name.ends_with(last)
}

/// The text of a parameter, decrypted; `None` when it does not exist.
///
/// # Errors
/// What Parameter Store refuses.
pub async fn read_parameter(
    ssm: &aws_sdk_ssm::Client,
    name: &str,
) -> Result<Option<String>, StepError> {
    match ssm
        .get_parameter()
        .name(name)
        .with_decryption(true)
        .send()
        .await
    {
        Ok(answer) => Ok(answer.parameter.and_then(|parameter| parameter.value)),
        Err(error) if wire_code(&error) == Some("ParameterNotFound") => Ok(None),
        Err(error) => Err(StepError::from_sdk(
            format!("read parameter `{name}`"),
            error,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_name() {
        assert!(matches_pattern("orders-prod", "Orders-Prod"));
        assert!(!matches_pattern("orders", "orders-prod"));
        assert!(matches_pattern("orders-*", "orders-prod"));
        assert!(matches_pattern("*-staging", "orders-staging"));
        assert!(!matches_pattern("*-staging", "orders-staging-2"));
        assert!(matches_pattern("a*b*a", "a-b-a"));
        assert!(!matches_pattern("ab*ba", "aba"));
        assert!(matches_pattern("*", "anything"));
    }

    fn deployed(own: &serde_json::Value) -> DeployedSettings {
        let mut whole = serde_json::json!({"quarantineSecurityGroupIds": ["sg-1"], "flows": []});
        crate::profile::overlay(&mut whole, own.clone());
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn production_needs_the_word_of_a_profile() {
        let settings = deployed(&serde_json::json!({"productionTargets": ["*-prod", "ledger"]}));
        let permit = |name, consent| {
            let permitted = settings.permit_production(&["orders-staging", name], consent);
            permitted.map_err(|refused| refused.code().id)
        };
        for name in ["orders-prod", "Orders-PROD", "ledger"] {
            assert_eq!(permit(name, Consent::Given), Ok(true));
            assert_eq!(permit(name, Consent::NoProfile), Err("AR0051"));
            assert_eq!(
                permit(name, Consent::NotInProfile("nightly")),
                Err("AR0051")
            );
        }
        assert_eq!(permit("orders-drill", Consent::NoProfile), Ok(false));
    }

    #[test]
    fn a_deployed_lifetime_ends_every_life() {
        let settings = deployed(&serde_json::json!({"longestLifetimeHours": 48}));
        assert!(settings.permit_lifetime(Some(48)).is_ok());
        for hours in [Some(49), None] {
            let refused = settings.permit_lifetime(hours).unwrap_err();
            assert!(refused.message().contains("expected 1 to 48"), "{refused}");
        }
        let unlimited = deployed(&serde_json::json!({}));
        assert!(unlimited.permit_lifetime(None).is_ok());
        let broken = deployed(&serde_json::json!({"longestLifetimeHours": 0}));
        assert!(
            broken
                .problem()
                .unwrap()
                .contains("`longestLifetimeHours`: `0`")
        );
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Settings::read(|name| (name != "AURORA_RESTORE_TABLE").then(|| "x".to_owned()))
            .unwrap_err();
        assert!(
            error.report().contains("`AURORA_RESTORE_TABLE`"),
            "{}",
            error.report()
        );
    }

    #[test]
    fn only_who_starts_restores_must_know_the_state_machine() {
        let known = |name: &str| (name != Settings::STATE_MACHINE_VARIABLE).then(|| "x".to_owned());
        let error = Settings::read(known)
            .unwrap()
            .state_machine_arn()
            .unwrap_err();
        assert_eq!(error.code().id, "AR0004");
        assert!(error.message().contains(Settings::STATE_MACHINE_VARIABLE));
    }

    #[test]
    fn settings_survive_the_environment() {
        let settings = Settings {
            pipeline: "p".into(),
            table: "t".into(),
            topic_arn: "a".into(),
            settings_parameter: "/s".into(),
            profiles_path: "/p".into(),
            state_machine_arn: Some("m".into()),
            role_table: Some("r".into()),
        };
        let environment = settings.to_environment();
        let read = Settings::read(|name| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, v)| v.clone())
        });
        assert_eq!(read.unwrap(), settings);
    }
}
