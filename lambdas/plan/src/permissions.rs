//! Whether the functions' roles may make the calls that the plan foretells.
//!
//! IAM's policy simulator is asked what the roles' policies say, with the condition keys that the calls will bring:
//! nothing is called. It judges by identity policies, the permissions boundary and the service control policies
//! without global condition keys ("Testing IAM policies with the IAM policy simulator"). It knows no resource policies
//! of roles' calls, no session policies, no VPC endpoints; what these may still decide is not called a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aurora_restore_core::errors::{AR0056, wire_code};
use aurora_restore_core::ownership::{self, RESTORE_ID_TAG, RETIRED_BY_TAG, RETIRED_UNTIL_TAG};
use aurora_restore_core::request::MasterPassword;
use aurora_restore_core::settings::DeployedSettings;
use aurora_restore_core::{Context, Plan, StepError, rds};
use aws_sdk_iam::config::timeout::TimeoutConfig;
use aws_sdk_iam::types::{
    ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType,
};

use crate::finding::Finding;
use crate::outline::{self, Call, Whose};

/// What the finding is called.
const CHECK: &str = "permissions";
/// A simulator that takes longer is left alone: no run waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pages of one answer.
const MOST_PAGES: usize = 20;

/// The condition keys that the template's roles look at, in whichever statement. The simulator names as missing what a
/// call does not bring; only keys that are not among these mean that it cannot judge.
const TEMPLATES_OWN: [&str; 14] = [
    "aws:RequestTag/aurora-restore:restore-id",
    "aws:ResourceTag/aurora-restore:restore-id",
    "aws:ResourceTag/aurora-restore:retired-by",
    "aws:ResourceTag/aws:rds:primaryDBClusterArn",
    "aws:TagKeys",
    "aws:ViaAWSService",
    "dynamodb:LeadingKeys",
    "iam:PassedToService",
    "kms:GrantIsForAWSResource",
    "kms:ViaService",
    "lambda:SourceFunctionArn",
    "rds:PubliclyAccessible",
    "route53:ChangeResourceRecordSetsActions",
    "route53:ChangeResourceRecordSetsRecordTypes",
];

/// Services whose resources may have policies of their own that let a role in where its own policies are silent.
const WITH_RESOURCE_POLICIES: [&str; 2] = ["sns", "secretsmanager"];

/// Condition keys with their values.
type Keys = BTreeMap<String, Vec<String>>;

/// Something that a role must be allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ask {
    /// The step whose function asks.
    step: &'static str,
    /// What the call brings.
    keys: Keys,
    /// Such as `rds:ModifyDBCluster`.
    action: &'static str,
    /// An ARN, or `*` for actions without resource types.
    resource: String,
}

/// What the simulator says to one of them.
enum Said {
    Allowed,
    /// No, and why.
    Denied(&'static str),
    /// Nobody can say: why.
    Unsure(String),
}

/// Asks about every role that the plan needs.
pub(crate) async fn permissions(
    context: &Context,
    plan: &Plan,
    settings: &DeployedSettings,
) -> Vec<Finding> {
    if settings.function_roles.is_empty() {
        let text = "not asked: the deployed settings name no `functionRoles`";
        return vec![Finding::open(CHECK, "the functions' roles", text)];
    }
    let mut by_step: BTreeMap<&str, Vec<Ask>> = BTreeMap::new();
    for ask in asks(plan, &context.settings.topic_arn) {
        by_step.entry(ask.step).or_default().push(ask);
    }
    let mut found = Vec::new();
    for step in outline::STEPS {
        let Some(asks) = by_step.remove(step) else {
            continue;
        };
        let Some(role) = settings.function_roles.get(step) else {
            let text =
                format!("not asked: `functionRoles` of the deployed settings lacks `{step}`");
            found.push(Finding::open(CHECK, step, text));
            continue;
        };
        match of_role(context, role, &asks).await {
            Ok(finding) => found.push(finding),
            // Whoever may not ask about one role, or is throttled, is not any luckier with the next.
            Err(error) => {
                found.push(Finding::unasked(CHECK, "the functions' roles", &error));
                break;
            }
        }
    }
    found
}

async fn of_role(context: &Context, role: &str, asks: &[Ask]) -> Result<Finding, StepError> {
    let name = role.rsplit('/').next().unwrap_or(role);
    let said = match simulate(context, role, asks).await? {
        Some(said) => said,
        None => {
            let text = format!("role `{role}` of the deployed settings does not exist");
            return Ok(Finding::of(CHECK, name, Err(StepError::new(&AR0056, text))));
        }
    };
    let (mut denied, mut unsure) = (Vec::new(), Vec::new());
    for (ask, said) in asks.iter().zip(said) {
        let what = format!("{} on {}", ask.action, ask.resource);
        match said {
            Said::Allowed => {}
            Said::Denied(why) => denied.push(format!("{what} ({why})")),
            Said::Unsure(why) => unsure.push(format!("{what} ({why})")),
        }
    }
    if !denied.is_empty() {
        let text = format!("role `{role}` may not {}", denied.join(", nor "));
        return Ok(Finding::of(CHECK, name, Err(StepError::new(&AR0056, text))));
    }
    if !unsure.is_empty() {
        return Ok(Finding::open(CHECK, name, unsure.join("; ")));
    }
    let actions: BTreeSet<&str> = asks.iter().map(|ask| ask.action).collect();
    let actions: Vec<&str> = actions.into_iter().collect();
    Ok(Finding::of(
        CHECK,
        name,
        Ok(format!("may {}", actions.join(", "))),
    ))
}

/// What the simulator says, in the order of what was asked; `None` when there is no such role.
async fn simulate(
    context: &Context,
    role: &str,
    asks: &[Ask],
) -> Result<Option<Vec<Said>>, StepError> {
    let mut resources: BTreeMap<(&Keys, &str), BTreeSet<&str>> = BTreeMap::new();
    for ask in asks {
        let of_action = resources.entry((&ask.keys, ask.action)).or_default();
        of_action.insert(&ask.resource);
    }
    // A request asks every action about every resource: those go together that bring the same keys to the same
    // resources, so that nothing is asked that no call does.
    let mut requests: BTreeMap<(&Keys, BTreeSet<&str>), BTreeSet<&str>> = BTreeMap::new();
    for ((keys, action), resources) in resources {
        let request = requests.entry((keys, resources)).or_default();
        request.insert(action);
    }
    let mut said = BTreeMap::new();
    for ((keys, resources), actions) in requests {
        let Some(results) = request(context, role, keys, &actions, &resources).await? else {
            return Ok(None);
        };
        let asked = asks.iter().filter(|ask| {
            ask.keys == *keys
                && actions.contains(ask.action)
                && resources.contains(ask.resource.as_str())
        });
        said.extend(asked.map(|ask| (ask, judge(&results, ask))));
    }
    let unanswered = || Said::Unsure("the simulator gave no answer".to_owned());
    Ok(Some(
        asks.iter()
            .map(|ask| said.remove(ask).unwrap_or_else(unanswered))
            .collect(),
    ))
}

async fn request(
    context: &Context,
    role: &str,
    keys: &Keys,
    actions: &BTreeSet<&str>,
    resources: &BTreeSet<&str>,
) -> Result<Option<Vec<EvaluationResult>>, StepError> {
    let patience = TimeoutConfig::builder().operation_timeout(PATIENCE).build();
    let mut results = Vec::new();
    let mut marker = None;
    for _ in 0..MOST_PAGES {
        let asked = context
            .aws
            .iam()
            .simulate_principal_policy()
            .policy_source_arn(role)
            .set_action_names(Some(actions.iter().copied().map(str::to_owned).collect()))
            .set_resource_arns(Some(resources.iter().copied().map(str::to_owned).collect()))
            .set_context_entries(Some(keys.iter().map(entry).collect()))
            .set_marker(marker)
            .customize()
            .config_override(aws_sdk_iam::config::Builder::new().timeout_config(patience.clone()))
            .send()
            .await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) if wire_code(&error) == Some("NoSuchEntity") => return Ok(None),
            Err(error) => {
                let action = format!("simulate the policies of role `{role}`");
                return Err(StepError::from_sdk(action, error));
            }
        };
        results.extend(answer.evaluation_results.unwrap_or_default());
        marker = answer.marker.filter(|_| answer.is_truncated);
        if marker.is_none() {
            break;
        }
    }
    Ok(Some(results))
}

fn entry((key, values): (&String, &Vec<String>)) -> ContextEntry {
    let several = ["aws:TagKeys", "route53:"]
        .iter()
        .any(|own| key.starts_with(own));
    let flag = values
        .iter()
        .all(|value| value == "true" || value == "false");
    let kind = match (several, flag) {
        (true, _) => ContextKeyTypeEnum::StringList,
        (false, true) => ContextKeyTypeEnum::Boolean,
        (false, false) => ContextKeyTypeEnum::String,
    };
    ContextEntry::builder()
        .context_key_name(key)
        .set_context_key_values(Some(values.clone()))
        .context_key_type(kind)
        .build()
}

fn judge(results: &[EvaluationResult], ask: &Ask) -> Said {
    let mut of_action = results
        .iter()
        .filter(|result| result.eval_action_name.eq_ignore_ascii_case(ask.action));
    let Some(result) = of_action.next() else {
        return Said::Unsure("the simulator gave no answer".to_owned());
    };
    let specific = result.resource_specific_results().iter();
    let specific = specific
        .into_iter()
        .find(|one| one.eval_resource_name == ask.resource);
    let decision = specific.map_or(&result.eval_decision, |one| &one.eval_resource_decision);
    // An organization that says no ends the simulation: then there is nothing about single resources.
    let organization = result.organizations_decision_detail();
    let forbidden = organization.is_some_and(|detail| !detail.allowed_by_organizations());
    if forbidden && *decision != PolicyEvaluationDecisionType::Allowed {
        return Said::Denied("a service control policy does not allow it");
    }
    let missing = specific.map_or(result.missing_context_values(), |one| {
        one.missing_context_values()
    });
    let foreign: Vec<&str> = missing
        .iter()
        .map(String::as_str)
        .filter(|key| {
            !TEMPLATES_OWN
                .iter()
                .any(|own| own.eq_ignore_ascii_case(key))
        })
        .filter(|key| !ask.keys.keys().any(|own| own.eq_ignore_ascii_case(key)))
        .collect();
    if !foreign.is_empty() {
        return Said::Unsure(format!(
            "policies look at {}, which only the call itself shows",
            foreign.join(", ")
        ));
    }
    let boundary = match specific {
        Some(one) => one.permissions_boundary_decision_detail(),
        None => result.permissions_boundary_decision_detail(),
    };
    let outside = boundary.is_some_and(|detail| !detail.allowed_by_permissions_boundary());
    let service = ask.action.split(':').next().unwrap_or_default();
    match decision {
        PolicyEvaluationDecisionType::Allowed => Said::Allowed,
        PolicyEvaluationDecisionType::ExplicitDeny => Said::Denied("a policy denies it"),
        _ if outside => Said::Denied("its permissions boundary does not allow it"),
        _ if WITH_RESOURCE_POLICIES.contains(&service) => {
            Said::Unsure("no policy of the role allows it; the resource's own may".to_owned())
        }
        _ => Said::Denied("no policy allows it"),
    }
}

/// All that the plan's calls ask of the roles, each once. What belongs to another account is left out: there the other
/// side decides, too, and the simulator cannot see it.
fn asks(plan: &Plan, topic: &str) -> BTreeSet<Ask> {
    let calls = outline::all(plan);
    let mut asked: BTreeSet<Ask> = calls
        .iter()
        .flat_map(|call| {
            Asking {
                plan,
                topic,
                call,
                step: outline::step(&call.state),
            }
            .all()
        })
        .collect();
    asked.retain(|ask| {
        let account = ask.resource.split(':').nth(4).unwrap_or_default();
        account.is_empty() || account == plan.target.account
    });
    asked
}

/// A call, and what it asks.
struct Asking<'a> {
    plan: &'a Plan,
    topic: &'a str,
    call: &'a Call,
    step: &'static str,
}

impl Asking<'_> {
    fn all(&self) -> Vec<Ask> {
        let (plan, name) = (self.plan, self.call.resource.as_str());
        let target = &plan.target;
        match self.call.call {
            "rds:CopyDBClusterSnapshot" => self.copy(name),
            "rds:RestoreDBClusterFromSnapshot" => {
                let copy = plan.copies.last().map(|copy| copy.arn.as_str());
                let snapshot = copy.or(plan.source.snapshot_arn()).unwrap_or_default();
                self.restore(snapshot.to_owned())
            }
            "rds:RestoreDBClusterToPointInTime" => self.restore(plan.source.cluster_arn()),
            "rds:CreateDBInstance" => self.instance(name),
            "rds:ModifyDBCluster" => self.change(name),
            "rds:ModifyDBInstance" => {
                let mut asked = vec![self.ours(plan.arn("db", name))];
                let named = plan.instance_identifiers();
                let planned = named.iter().zip(&target.instances);
                let group = planned.into_iter().find(|(known, _)| *known == name);
                asked
                    .extend(group.map(|(_, instance)| {
                        self.plain(plan.arn("pg", &instance.parameter_group))
                    }));
                asked
            }
            "rds:RebootDBInstance" => vec![self.ours(plan.arn("db", name))],
            "rds:EnableHttpEndpoint" => vec![self.ours(plan.arn("cluster", name))],
            "rds:AddTagsToResource" => vec![self.mark(name)],
            "rds:StopDBCluster" => vec![self.replaced(plan.arn("cluster", name))],
            "rds:DeleteDBClusterSnapshot" => {
                let copy = plan.copies.iter().find(|copy| copy.identifier == name);
                copy.map(|copy| {
                    let keys = in_region(our_tags(plan), &copy.region);
                    self.ask(self.call.call, copy.arn.clone(), keys)
                })
                .into_iter()
                .collect()
            }
            "secretsmanager:CreateSecret" => {
                let secret = self.secret(name);
                let keys = Keys::from([
                    request_tag(RESTORE_ID_TAG, &plan.restore_id),
                    tag_keys([RESTORE_ID_TAG]),
                ]);
                vec![
                    self.ask("secretsmanager:CreateSecret", secret.clone(), keys.clone()),
                    self.ask("secretsmanager:TagResource", secret, keys),
                ]
            }
            // Of our own secret in ResetCredentials, of the clients' in Switch.
            "secretsmanager:PutSecretValue" if self.call.state == "Switch" => {
                vec![self.plain(self.secret(name))]
            }
            "secretsmanager:PutSecretValue" => {
                let keys = Keys::from([resource_tag(RESTORE_ID_TAG, &plan.restore_id)]);
                vec![self.ask(self.call.call, self.secret(name), keys)]
            }
            "ssm:PutParameter" => {
                let parameter = format!("parameter/{}", name.trim_start_matches('/'));
                vec![self.plain(self.arn("ssm", &parameter))]
            }
            "route53:ChangeResourceRecordSets" => self.record(),
            "sns:Publish" => vec![self.plain(self.topic.to_owned())],
            _ => Vec::new(),
        }
    }

    fn ask(&self, action: &'static str, resource: String, keys: Keys) -> Ask {
        let mut keys = match keys.contains_key(REGION) {
            true => keys,
            false => in_region(keys, &self.plan.target.region),
        };
        // The SDK speaks TLS to AWS; many a boundary wants to know.
        keys.insert("aws:SecureTransport".to_owned(), vec!["true".to_owned()]);
        Ask {
            step: self.step,
            keys,
            action,
            resource,
        }
    }

    /// The call itself on something that no condition looks at.
    fn plain(&self, resource: String) -> Ask {
        self.ask(self.call.call, resource, Keys::new())
    }

    /// The call itself on something that carries our tags.
    fn ours(&self, resource: String) -> Ask {
        self.ask(self.call.call, resource, our_tags(self.plan))
    }

    /// The call itself on something that carries the mark of what is replaced.
    fn replaced(&self, resource: String) -> Ask {
        let keys = Keys::from([resource_tag(RETIRED_BY_TAG, &self.plan.restore_id)]);
        self.ask(self.call.call, resource, keys)
    }

    fn copy(&self, name: &str) -> Vec<Ask> {
        let copies = self.plan.copies.iter();
        let Some(copy) = copies.into_iter().find(|copy| copy.identifier == name) else {
            return Vec::new();
        };
        let keys = in_region(requested_tags(self.plan), &copy.region);
        let mut asked = vec![
            self.ask(self.call.call, copy.source_arn.clone(), keys.clone()),
            self.ask(self.call.call, copy.arn.clone(), keys.clone()),
            self.ask("rds:AddTagsToResource", copy.arn.clone(), keys),
        ];
        if rds::arn_field(&copy.source_arn, 3) != Some(copy.region.as_str()) {
            let keys = in_region(Keys::new(), &copy.region);
            asked.push(self.ask("rds:CrossRegionCommunication", "*".to_owned(), keys));
        }
        asked
    }

    /// RDS authorises what the call names besides the cluster, too (Service Authorization Reference).
    fn restore(&self, source: String) -> Vec<Ask> {
        let (plan, target) = (self.plan, &self.plan.target);
        let version = &plan.source.engine_version;
        let family = plan.source.engine.family(version);
        let name = plan.source.engine.name();
        let options = format!("default:{name}-{}", family.trim_start_matches(name));
        let named = [
            target.arn.clone(),
            source,
            plan.arn("cluster-pg", &plan.quarantine_parameter_group),
            plan.arn("og", &options.replace('.', "-")),
            plan.arn("subgrp", &target.subnet_group),
        ];
        let keys = requested_tags(plan);
        let mut asked: Vec<Ask> = named
            .into_iter()
            .map(|resource| self.ask(self.call.call, resource, keys.clone()))
            .collect();
        asked.push(self.ask("rds:AddTagsToResource", target.arn.clone(), keys));
        let roles = target.roles.iter();
        asked.extend(roles.map(|role| self.pass(&role.role_arn, "rds.amazonaws.com")));
        asked
    }

    fn instance(&self, name: &str) -> Vec<Ask> {
        let (plan, target) = (self.plan, &self.plan.target);
        let mut keys = requested_tags(plan);
        keys.extend([(
            "rds:PubliclyAccessible".to_owned(),
            vec!["false".to_owned()],
        )]);
        let mut on_cluster = keys.clone();
        on_cluster.extend(our_tags(plan));
        let instance = plan.arn("db", name);
        let group = plan.arn("pg", &plan.default_parameter_group());
        let mut asked = vec![
            self.ask(self.call.call, instance.clone(), keys.clone()),
            self.ask(self.call.call, group, keys),
            self.ask(self.call.call, target.arn.clone(), on_cluster),
            self.ask("rds:AddTagsToResource", instance, requested_tags(plan)),
        ];
        let names = plan.instance_identifiers();
        let planned = names.iter().zip(&target.instances);
        let planned = planned.into_iter().find(|(known, _)| *known == name);
        let watching = planned.and_then(|(_, planned)| planned.monitoring.role_arn.as_deref());
        asked.extend(watching.map(|role| self.pass(role, "monitoring.rds.amazonaws.com")));
        asked
    }

    fn pass(&self, role: &str, to: &str) -> Ask {
        let keys = Keys::from([("iam:PassedToService".to_owned(), vec![to.to_owned()])]);
        self.ask("iam:PassRole", role.to_owned(), keys)
    }

    fn change(&self, name: &str) -> Vec<Ask> {
        let plan = self.plan;
        let cluster = plan.arn("cluster", name);
        if self.call.whose == Whose::Replaced {
            return vec![self.replaced(cluster)];
        }
        let mut asked = vec![self.ours(cluster)];
        let group = &plan.target.cluster_parameter_group;
        if self.call.state == "Switch" && *group != plan.quarantine_parameter_group {
            asked.push(self.plain(plan.arn("cluster-pg", group)));
        }
        // RDS makes its managed secret with the rights of who asks for it.
        if self.call.state == "ResetCredentials"
            && plan.master_password == MasterPassword::RdsManaged
        {
            let secret = self.secret("rds!cluster-00000000-0000-0000-0000-000000000000");
            for action in ["secretsmanager:CreateSecret", "secretsmanager:TagResource"] {
                let keys = Keys::from([("aws:ViaAWSService".to_owned(), vec!["true".to_owned()])]);
                asked.push(self.ask(action, secret.clone(), keys));
            }
        }
        asked
    }

    fn mark(&self, name: &str) -> Ask {
        let replaced = self.plan.switch.replaced();
        let is_cluster = replaced.is_some_and(|replaced| replaced.identifier == name);
        let kind = if is_cluster { "cluster" } else { "db" };
        let retired = replaced.and_then(|replaced| replaced.retire.as_ref());
        let until = retired.map(|_| RETIRED_UNTIL_TAG);
        let keys = Keys::from([tag_keys([RETIRED_BY_TAG].into_iter().chain(until))]);
        self.ask(self.call.call, self.plan.arn(kind, name), keys)
    }

    fn record(&self) -> Vec<Ask> {
        let aurora_restore_core::switching::Switch::Pointer(pointer) = &self.plan.switch else {
            return Vec::new();
        };
        let key = |name: &str, value: &str| {
            let name = format!("route53:ChangeResourceRecordSets{name}");
            (name, vec![value.to_owned()])
        };
        let record = pointer.record.iter();
        let asked = record.map(|record| {
            let keys = Keys::from([key("RecordTypes", "CNAME"), key("Actions", "UPSERT")]);
            let zone = format!("hostedzone/{}", record.hosted_zone_id);
            let zone = format!("arn:{}:route53:::{zone}", self.partition());
            self.ask(self.call.call, zone, keys)
        });
        asked.collect()
    }

    fn partition(&self) -> &str {
        rds::arn_field(&self.plan.target.arn, 1).unwrap_or("aws")
    }

    fn arn(&self, service: &str, resource: &str) -> String {
        let (partition, target) = (self.partition(), &self.plan.target);
        format!(
            "arn:{partition}:{service}:{}:{}:{resource}",
            target.region, target.account
        )
    }

    /// The six characters that end a secret's ARN are Secrets Manager's to choose.
    fn secret(&self, name: &str) -> String {
        self.arn("secretsmanager", &format!("secret:{name}-AbCdEf"))
    }
}

const REGION: &str = "aws:RequestedRegion";

fn in_region(mut keys: Keys, region: &str) -> Keys {
    keys.insert(REGION.to_owned(), vec![region.to_owned()]);
    keys
}

fn request_tag(key: &str, value: &str) -> (String, Vec<String>) {
    (format!("aws:RequestTag/{key}"), vec![value.to_owned()])
}

fn resource_tag(key: &str, value: &str) -> (String, Vec<String>) {
    (format!("aws:ResourceTag/{key}"), vec![value.to_owned()])
}

fn tag_keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> (String, Vec<String>) {
    let keys = keys.into_iter().map(str::to_owned).collect();
    ("aws:TagKeys".to_owned(), keys)
}

/// The tags that a call that makes something brings.
fn requested_tags(plan: &Plan) -> Keys {
    let tags = ownership::tags(plan, plan.expires_at);
    let mut keys: Keys = tags
        .iter()
        .filter_map(|tag| Some(request_tag(tag.key()?, tag.value().unwrap_or_default())))
        .collect();
    keys.extend([tag_keys(tags.iter().filter_map(|tag| tag.key()))]);
    keys
}

/// The tags that are on what was made.
fn our_tags(plan: &Plan) -> Keys {
    let tags = ownership::tags(plan, plan.expires_at);
    tags.iter()
        .filter_map(|tag| Some(resource_tag(tag.key()?, tag.value().unwrap_or_default())))
        .collect()
}

#[cfg(test)]
mod tests {
    use PolicyEvaluationDecisionType::{Allowed, ExplicitDeny, ImplicitDeny};
    use aws_sdk_iam::types::builders::{EvaluationResultBuilder, ResourceSpecificResultBuilder};
    use aws_sdk_iam::types::{
        OrganizationsDecisionDetail, PermissionsBoundaryDecisionDetail, ResourceSpecificResult,
    };

    use super::*;

    const RESOURCE: &str = "arn:aws:rds:eu-west-1:123456789012:cluster:orders-staging";

    fn ask(action: &'static str) -> Ask {
        Ask {
            step: "restore",
            keys: Keys::new(),
            action,
            resource: RESOURCE.to_owned(),
        }
    }

    fn whole(action: &str, decision: PolicyEvaluationDecisionType) -> EvaluationResultBuilder {
        EvaluationResult::builder()
            .eval_action_name(action)
            .eval_decision(decision)
    }

    fn of_resource(decision: PolicyEvaluationDecisionType) -> ResourceSpecificResultBuilder {
        ResourceSpecificResult::builder()
            .eval_resource_name(RESOURCE)
            .eval_resource_decision(decision)
    }

    fn said(action: &'static str, result: EvaluationResultBuilder) -> String {
        match judge(&[result.build().unwrap()], &ask(action)) {
            Said::Allowed => "allowed".to_owned(),
            Said::Denied(why) => format!("denied: {why}"),
            Said::Unsure(why) => format!("unsure: {why}"),
        }
    }

    #[test]
    fn a_resource_has_an_answer_of_its_own_and_an_organization_speaks_for_all() {
        let action = "rds:ModifyDBCluster";
        let own = of_resource(Allowed).build().unwrap();
        let mixed = whole(action, ImplicitDeny).resource_specific_results(own);
        assert_eq!(said(action, mixed), "allowed");
        let forbidden = OrganizationsDecisionDetail::builder()
            .allowed_by_organizations(false)
            .build();
        let ended = whole(action, ImplicitDeny).organizations_decision_detail(forbidden);
        assert_eq!(
            said(action, ended),
            "denied: a service control policy does not allow it"
        );
        let outside = PermissionsBoundaryDecisionDetail::builder()
            .allowed_by_permissions_boundary(false)
            .build();
        let bounded = of_resource(ImplicitDeny).permissions_boundary_decision_detail(outside);
        let bounded =
            whole(action, ImplicitDeny).resource_specific_results(bounded.build().unwrap());
        assert_eq!(
            said(action, bounded),
            "denied: its permissions boundary does not allow it"
        );
        assert_eq!(judge_nothing(), "unsure: the simulator gave no answer");
    }

    fn judge_nothing() -> String {
        said("rds:StopDBCluster", whole("rds:ModifyDBCluster", Allowed))
    }

    #[test]
    fn only_a_no_that_nothing_can_overrule_is_a_no() {
        let silent = || whole("sns:Publish", ImplicitDeny);
        assert!(said("sns:Publish", silent()).starts_with("unsure: no policy of the role"));
        let denied = whole("sns:Publish", ExplicitDeny);
        assert_eq!(said("sns:Publish", denied), "denied: a policy denies it");
        let action = "rds:ModifyDBCluster";
        let known = whole(action, ImplicitDeny).missing_context_values("kms:ViaService");
        assert_eq!(said(action, known), "denied: no policy allows it");
        for decision in [Allowed, ExplicitDeny] {
            let foreign = whole(action, decision).missing_context_values("aws:SourceVpc");
            assert!(said(action, foreign).starts_with("unsure: policies look at aws:SourceVpc"));
        }
    }
}
