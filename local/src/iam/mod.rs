//! IAM: roles, their policies, and whether a call is allowed.
//!
//! A client's request that is signed by a role's session is turned into questions,
//! action by action and resource by resource, by a table per service
//! (`services`), and all of them must be allowed by the role's policies. The root
//! of an account may do everything. What a service asks of another on its own behalf
//! is not judged; what it asks of KMS with the caller's rights is among the caller's
//! questions.
//!
//! In an account without roles nobody is described, and everybody acts unjudged: tests
//! of one service, and worlds without a deployment. As soon as an account has had a
//! role, whoever calls from it is its root or somebody whose policies are asked; a role
//! that was never put, or was deleted, has none, and so may do nothing.

mod condition;
mod context;
mod evaluate;
mod pattern;
mod policy;
mod refusal;
mod services;
mod simulator;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use time::format_description::well_known::Rfc3339;

pub use context::Context;
pub use evaluate::{Decision, Ground, Question};
pub use policy::{Effect, MalformedPolicy, Policy, PolicyKind, Statement};
pub use simulator::IamApi;

pub(crate) use refusal::access_denied;

use evaluate::{Asking, decide, decide_for};
use services::Call;

use crate::request::{ApiError, Caller, Request, Response};
use crate::world::World;

/// The most characters a role's name may have.
const ROLE_NAME_CHARACTERS_MAX: usize = 64;

/// So many different evaluations are kept: more than a deployment and a test can make. Where one can, it is told
/// ([`Iam::forgets_evaluations`]).
const EVALUATIONS_MAX: usize = 20_000;

/// The service that asks with the caller's rights, in a forward access session ("Forward access sessions").
const CALLED_VIA: &str = "aws:CalledVia";

/// The roles of every account, and what has been asked of their policies.
#[derive(Default)]
pub struct Iam {
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// By account and name. `None` once it was deleted.
    roles: BTreeMap<(String, String), Option<Arc<Role>>>,
    /// Managed policies, by ARN.
    managed: BTreeMap<String, Value>,
    /// By function ARN and statement id.
    invoke: BTreeMap<(String, String), InvokePermission>,
    /// The functions behind sessions.
    functions: BTreeMap<String, String>,
    evaluations: BTreeSet<Evaluation>,
    /// Whether there were more evaluations than are kept.
    forgets: bool,
}

impl Book {
    /// The role of this account and name, as far as it is judged: nothing where nobody is, and no role where there is
    /// none of this name.
    fn find(&self, key: &(String, String)) -> Option<Option<Arc<Role>>> {
        match self.roles.get(key) {
            Some(role) => Some(role.clone()),
            None => self.describes(&key.0).then_some(None),
        }
    }

    /// Whether this account has, or had, a role.
    fn describes(&self, account: &str) -> bool {
        let first = (account.to_owned(), String::new());
        let next = self.roles.range(first..).next();
        next.is_some_and(|((found, _), _)| found == account)
    }

    fn write_down(&mut self, evaluation: Evaluation) {
        if self.evaluations.len() < EVALUATIONS_MAX {
            self.evaluations.insert(evaluation);
        } else if !self.evaluations.contains(&evaluation) {
            self.forgets = true;
        }
    }
}

/// A role.
#[derive(Debug, PartialEq)]
pub struct Role {
    /// `arn:aws:iam::123456789012:role/name`.
    pub arn: String,
    /// Who may assume it.
    pub trust: Policy,
    /// Its inline policies, by name.
    pub policies: BTreeMap<String, Policy>,
    /// The trust policy as it was put.
    pub trust_document: Value,
    /// The inline policies as they were put.
    pub documents: BTreeMap<String, Value>,
}

/// What `AWS::Lambda::Permission` says: who may invoke a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvokePermission {
    /// The id of the statement in the function's policy.
    pub statement_id: String,
    /// The function.
    pub function_arn: String,
    /// Such as `events.amazonaws.com`.
    pub principal: String,
    /// What the service must be calling for, wildcards allowed; anything when nothing is said.
    pub source_arn: Option<String>,
    /// The account that must be behind it.
    pub source_account: Option<String>,
}

/// One answer of a role's policies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Evaluation {
    /// The role's ARN.
    pub role: String,
    /// The function, or whatever the session is called.
    pub session: String,
    /// Such as `rds:DeleteDBCluster`.
    pub action: String,
    /// The resource's ARN, or `*`.
    pub resource: String,
    /// The answer.
    pub decision: Decision,
    /// The statements behind it.
    pub grounds: Vec<Ground>,
}

impl Iam {
    /// Adds a role, or replaces the one of its name; returns its ARN.
    ///
    /// `policies` are inline policies by name.
    ///
    /// # Errors
    /// `ValidationError` for its name, `MalformedPolicyDocument` with the place in the document.
    pub fn put_role(
        &self,
        account: &str,
        name: &str,
        trust: &Value,
        policies: &BTreeMap<String, Value>,
    ) -> Result<String, ApiError> {
        check_role_name(name)?;
        let arn = format!("arn:aws:iam::{account}:role/{name}");
        let parsed = |kind, what: &str, document: &Value| {
            Policy::parse(kind, document).map_err(|error| malformed(&arn, what, &error))
        };
        let trust_document = trust.clone();
        let trust = parsed(PolicyKind::Trust, "AssumeRolePolicyDocument", trust)?;
        let documents = policies.clone();
        let policies = policies
            .iter()
            .map(|(name, document)| {
                Ok((name.clone(), parsed(PolicyKind::Identity, name, document)?))
            })
            .collect::<Result<BTreeMap<_, _>, ApiError>>()?;
        let role = Role {
            arn: arn.clone(),
            trust,
            policies,
            trust_document,
            documents,
        };
        self.book()
            .roles
            .insert((account.to_owned(), name.to_owned()), Some(Arc::new(role)));
        Ok(arn)
    }

    /// Puts a managed policy; gives its ARN. It counts for the roles that are made with it from then on.
    ///
    /// # Errors
    /// `MalformedPolicyDocument` with the place in the document.
    pub fn put_managed_policy(
        &self,
        account: &str,
        name: &str,
        document: &Value,
    ) -> Result<String, ApiError> {
        let arn = format!("arn:aws:iam::{account}:policy/{name}");
        Policy::parse(PolicyKind::Identity, document)
            .map_err(|error| malformed(&arn, "PolicyDocument", &error))?;
        self.book().managed.insert(arn.clone(), document.clone());
        Ok(arn)
    }

    /// The document of a managed policy.
    pub fn managed_policy(&self, arn: &str) -> Option<Value> {
        self.book().managed.get(arn).cloned()
    }

    /// Deletes a managed policy; whether it was there.
    pub fn delete_managed_policy(&self, arn: &str) -> bool {
        self.book().managed.remove(arn).is_some()
    }

    /// Deletes a role. Whoever still acts as it may do nothing from then on.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn delete_role(&self, arn: &str) -> Result<(), ApiError> {
        let mut book = self.book();
        let role = role_key(arn).and_then(|key| book.roles.get_mut(&key));
        match role.and_then(Option::take) {
            Some(_) => Ok(()),
            None => Err(ApiError::new(
                404,
                "NoSuchEntity",
                format!("The role {arn} cannot be found."),
            )),
        }
    }

    /// A role by its ARN.
    #[must_use]
    pub fn role(&self, arn: &str) -> Option<Arc<Role>> {
        self.book().roles.get(&role_key(arn)?)?.clone()
    }

    /// Every role there is, in the order of account and name.
    #[must_use]
    pub fn roles(&self) -> Vec<Arc<Role>> {
        self.book().roles.values().flatten().cloned().collect()
    }

    /// Lets a service invoke a function, as `AWS::Lambda::Permission` does.
    pub fn allow_invoke(&self, permission: InvokePermission) {
        let key = (
            permission.function_arn.clone(),
            permission.statement_id.clone(),
        );
        self.book().invoke.insert(key, permission);
    }

    /// Takes a permission back.
    pub fn revoke_invoke(&self, function_arn: &str, statement_id: &str) {
        let key = (function_arn.to_owned(), statement_id.to_owned());
        self.book().invoke.remove(&key);
    }

    /// What has been asked so far: each different question and answer once.
    #[must_use]
    pub fn evaluations(&self) -> BTreeSet<Evaluation> {
        self.book().evaluations.clone()
    }

    /// Whether more has been asked than [`Iam::evaluations`] could keep.
    #[must_use]
    pub fn forgets_evaluations(&self) -> bool {
        self.book().forgets
    }

    /// Whether a client's request may be made; the refusal in the service's own protocol when not.
    pub(crate) fn authorize(&self, world: &World, request: &Request) -> Result<(), Box<Response>> {
        let caller = &request.caller;
        let session = Session::of(caller);
        let found = match &session {
            _ if is_root(caller) => None,
            Some(session) => self.book().find(&session.role_key()),
            None => self.book().describes(&caller.account).then_some(None),
        };
        let Some(role) = found else {
            return Ok(());
        };
        let call = Call::read(world, request)
            .map_err(|error| Box::new(refusal::written(request, &error)))?;
        let questions = call
            .questions()
            .ok_or_else(|| Box::new(refusal::no_entry(request, &call.operation)))?;
        for question in questions {
            let judged = match &session {
                Some(session) => self.judge(world, caller, session, role.as_deref(), question),
                None => {
                    let text = refusal::text(&caller.principal, &question, Decision::NotAllowed);
                    text.map_or(Ok(()), Err)
                }
            };
            judged.map_err(|text| Box::new(access_denied(request, &text)))?;
        }
        Ok(())
    }

    /// Whether a role may do something in a session that a service holds for somebody, such as a state machine's.
    /// `caller` is where it happens, and its principal is the role's ARN.
    ///
    /// # Errors
    /// `AccessDeniedException`.
    pub fn may_as(
        &self,
        world: &World,
        caller: &Caller,
        session: &str,
        action: &str,
        resource: &str,
    ) -> Result<(), ApiError> {
        self.ask_as(world, caller, session, Question::new(action, resource))
    }

    /// The same, with condition keys besides those that every request has.
    ///
    /// # Errors
    /// `AccessDeniedException`.
    pub fn ask_as(
        &self,
        world: &World,
        caller: &Caller,
        session: &str,
        question: Question,
    ) -> Result<(), ApiError> {
        let denied = |text: String| ApiError::new(403, "AccessDeniedException", text);
        let Some(key) = role_key(&caller.principal) else {
            let judged = self.book().describes(&caller.account);
            let text = refusal::text(&caller.principal, &question, Decision::NotAllowed);
            return match text.filter(|_| judged) {
                Some(text) => Err(denied(text)),
                None => Ok(()),
            };
        };
        let Some(role) = self.book().find(&key) else {
            return Ok(());
        };
        let (account, role_name) = (&key.0, &key.1);
        let caller = Caller {
            principal: format!("arn:aws:sts::{account}:assumed-role/{role_name}/{session}"),
            ..caller.clone()
        };
        let session = Session {
            account,
            role: role_name,
            name: session,
        };
        self.judge(world, &caller, &session, role.as_deref(), question)
            .map_err(denied)
    }

    /// Asks a role's policies, and writes the answer down. `None` is a role that is not there.
    fn judge(
        &self,
        world: &World,
        caller: &Caller,
        session: &Session<'_>,
        role: Option<&Role>,
        mut question: Question,
    ) -> Result<(), String> {
        let function = self.book().functions.get(&caller.principal).cloned();
        add_global_keys(world, caller, session, function, &mut question);
        let policies = role.iter().flat_map(|role| &role.policies);
        let named = policies.map(|(name, policy)| (name.as_str(), policy));
        let (decision, grounds) = decide(named, &question);
        let text = refusal::text(&caller.principal, &question, decision);
        self.book().write_down(Evaluation {
            role: session.role_arn(),
            session: session.name.to_owned(),
            action: question.action,
            resource: question.resource,
            decision,
            grounds,
        });
        text.map_or(Ok(()), Err)
    }

    /// Whether a role lets a service assume it for `source`, a function or a state machine. `None` in an account
    /// without roles.
    #[must_use]
    pub fn trusts_service(
        &self,
        world: &World,
        role_arn: &str,
        service: &str,
        source: &str,
    ) -> Option<bool> {
        let role = self.book().find(&role_key(role_arn)?)?;
        let Some(role) = role else {
            return Some(false);
        };
        let account = source.split(':').nth(4).unwrap_or_default();
        let question = Question::new("sts:AssumeRole", role_arn)
            .with("aws:SourceArn", source)
            .with("aws:SourceAccount", account)
            .with("aws:PrincipalIsAWSService", "true")
            .with("aws:PrincipalServiceName", service);
        let question = with_time(world, question);
        let asking = Asking::Service(service);
        Some(decide_for(&role.trust, &asking, &question) == Decision::Allowed)
    }

    /// Whether a role lets this caller assume it.
    ///
    /// # Errors
    /// `AccessDenied`, also for a role of an account without roles when the caller is judged itself.
    pub fn may_assume(
        &self,
        world: &World,
        caller: &Caller,
        role_arn: &str,
        session_name: &str,
        external_id: Option<&str>,
    ) -> Result<(), ApiError> {
        let denied = || {
            let text = format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
                caller.principal
            );
            Err(ApiError::new(403, "AccessDenied", text))
        };
        let session = Session::of(caller);
        let own_role = session.as_ref().map(Session::role_arn);
        let found = role_key(role_arn).and_then(|key| self.book().find(&key));
        let Some(role) = found else {
            let judged = own_role.is_some_and(|own| self.role(&own).is_some());
            return if judged { denied() } else { Ok(()) };
        };
        let Some(role) = role else { return denied() };
        let mut arns = vec![caller.principal.as_str()];
        arns.extend(own_role.as_deref());
        let asking = Asking::Aws {
            account: &caller.account,
            arns: &arns,
        };
        let mut question = Question::new("sts:AssumeRole", role_arn)
            .with(
                "aws:PrincipalArn",
                own_role.as_deref().unwrap_or(&caller.principal),
            )
            .with("aws:PrincipalAccount", &caller.account)
            .with("sts:RoleSessionName", session_name);
        if let Some(external_id) = external_id {
            question.context.add("sts:ExternalId", external_id);
        }
        let question = with_time(world, question);
        match decide_for(&role.trust, &asking, &question) {
            Decision::Allowed => Ok(()),
            Decision::ExplicitlyDenied | Decision::NotAllowed => denied(),
        }
    }

    /// Whether a service may invoke a function for `source`, by the permissions there are.
    #[must_use]
    pub fn may_invoke(&self, service: &str, function_arn: &str, source: &str) -> bool {
        let account = source.split(':').nth(4).unwrap_or_default();
        let nothing = Context::default();
        let fits = |pattern: &String| {
            pattern::Pattern::parse(pattern).is_ok_and(|pattern| pattern.fits_arn(source, &nothing))
        };
        self.book().invoke.values().any(|permission| {
            permission.function_arn == function_arn
                && permission.principal == service
                && permission.source_arn.as_ref().is_none_or(fits)
                && permission
                    .source_account
                    .as_deref()
                    .is_none_or(|wanted| wanted == account)
        })
    }

    /// What calls in this session is this function.
    pub(crate) fn note_function(&self, session: &str, function_arn: &str) {
        self.book()
            .functions
            .insert(session.to_owned(), function_arn.to_owned());
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A role's session, as its principal names it.
struct Session<'a> {
    account: &'a str,
    role: &'a str,
    name: &'a str,
}

impl<'a> Session<'a> {
    /// Reads `arn:aws:sts::123456789012:assumed-role/role/session`; anybody else is none.
    fn of(caller: &'a Caller) -> Option<Self> {
        let (before, after) = caller.principal.split_once(":assumed-role/")?;
        let (role, name) = after.split_once('/')?;
        Some(Self {
            account: before.rsplit(':').next()?,
            role,
            name,
        })
    }

    fn role_key(&self) -> (String, String) {
        (self.account.to_owned(), self.role.to_owned())
    }

    fn role_arn(&self) -> String {
        format!("arn:aws:iam::{}:role/{}", self.account, self.role)
    }
}

/// The condition keys that every request has ("AWS global condition context keys").
fn add_global_keys(
    world: &World,
    caller: &Caller,
    session: &Session<'_>,
    function: Option<String>,
    question: &mut Question,
) {
    let context = &mut question.context;
    context.add("aws:PrincipalArn", session.role_arn());
    context.add("aws:PrincipalAccount", session.account);
    context.add("aws:PrincipalType", "AssumedRole");
    context.add("aws:PrincipalIsAWSService", "false");
    context.add("aws:userid", format!("AROALOCAL:{}", session.name));
    context.add("aws:RequestedRegion", &caller.region);
    context.add("aws:SecureTransport", "true");
    let on_behalf = ["kms:ViaService", CALLED_VIA]
        .iter()
        .any(|key| context.values(key).is_some());
    context.add("aws:ViaAWSService", on_behalf.to_string());
    if let Some(account) = question
        .resource
        .split(':')
        .nth(4)
        .filter(|it| !it.is_empty())
    {
        context.add("aws:ResourceAccount", account);
    }
    if let Some(function) = function {
        context.add("lambda:SourceFunctionArn", function);
    }
    add_time(world, context);
}

fn with_time(world: &World, mut question: Question) -> Question {
    add_time(world, &mut question.context);
    question
}

fn add_time(world: &World, context: &mut Context) {
    let now = world.now();
    context.add("aws:CurrentTime", now.format(&Rfc3339).unwrap_or_default());
    context.add("aws:EpochTime", now.unix_timestamp().to_string());
}

/// Whether this is the root of its account.
fn is_root(caller: &Caller) -> bool {
    caller.principal == format!("arn:aws:iam::{}:root", caller.account)
}

/// The account and name in `arn:aws:iam::123456789012:role/path/name`.
fn role_key(arn: &str) -> Option<(String, String)> {
    match arn.splitn(6, ':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "iam", "", account, resource] => {
            let name = resource.strip_prefix("role/")?.rsplit('/').next()?;
            Some(((*account).to_owned(), name.to_owned()))
        }
        _ => None,
    }
}

fn check_role_name(name: &str) -> Result<(), ApiError> {
    let allowed =
        |character: char| character.is_ascii_alphanumeric() || "_+=,.@-".contains(character);
    if (1..=ROLE_NAME_CHARACTERS_MAX).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(ApiError::new(
        400,
        "ValidationError",
        format!(
            "The role name `{name}` must be 1 to {ROLE_NAME_CHARACTERS_MAX} letters, digits and _+=,.@-"
        ),
    ))
}

fn malformed(role: &str, what: &str, error: &MalformedPolicy) -> ApiError {
    ApiError::new(
        400,
        "MalformedPolicyDocument",
        format!("{what} of {role}: {error}"),
    )
}
