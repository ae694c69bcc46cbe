//! What was deployed, as opposed to what was asked for.
//!
//! The environment names the pipeline's own resources. The deployed settings, a
//! JSON document in Parameter Store, hold what a request must not choose: the
//! quarantine security groups and the direction of data.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::errors::{AR0004, AR0005, StepError, wire_code};
use crate::request;

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
    /// How the functions that speak SQL check the server they reach.
    #[serde(default)]
    pub database_tls: DatabaseTls,
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
        if settings.quarantine_security_group_ids.is_empty() {
            return Err(StepError::new(
                &AR0004,
                format!(
                    "parameter `{parameter}`: quarantineSecurityGroupIds is empty, expected at least one group"
                ),
            ));
        }
        Ok(settings)
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

/// Whether `pattern`, where `*` stands for any characters, matches the whole of `name`. Letter case is ignored,
/// as RDS lowercases identifiers.
fn matches_pattern(pattern: &str, name: &str) -> bool {
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
