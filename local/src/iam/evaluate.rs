//! The decision: an explicit deny wins, an allow is needed, nothing said is a no.

use super::context::Context;
use super::pattern::Pattern;
use super::policy::{Effect, OneOf, Policy, Principal, Statement};

/// One thing that a request wants to do: every one of them must be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Such as `rds:DeleteDBCluster`.
    pub action: String,
    /// The resource's ARN, or `*` for actions that know none.
    pub resource: String,
    /// The condition keys, besides those that every request has.
    pub context: Context,
}

impl Question {
    pub(super) fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            resource: resource.into(),
            context: Context::default(),
        }
    }

    pub(super) fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.context.add(key, value);
        self
    }
}

/// What a policy says to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// Some statement allows it and none denies it.
    Allowed,
    /// A statement denies it.
    ExplicitlyDenied,
    /// No statement allows it.
    NotAllowed,
}

/// A statement that decided, and what in it did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ground {
    /// The policy's name.
    pub policy: String,
    /// The statement's place in it, from 0.
    pub statement: usize,
    /// The action as the statement writes it; `NotAction` when it names what it does not concern.
    pub action: String,
}

/// Asks all policies of a role at once.
pub(super) fn decide<'a>(
    policies: impl IntoIterator<Item = (&'a str, &'a Policy)>,
    question: &Question,
) -> (Decision, Vec<Ground>) {
    let (mut allowing, mut denying) = (Vec::new(), Vec::new());
    for (name, policy) in policies {
        for (number, statement) in policy.statements.iter().enumerate() {
            let Some(actions) = statement.concerns(question) else {
                continue;
            };
            let grounds = actions.into_iter().map(|action| Ground {
                policy: name.to_owned(),
                statement: number,
                action,
            });
            match statement.effect {
                Effect::Allow => allowing.extend(grounds),
                Effect::Deny => denying.extend(grounds),
            }
        }
    }
    if !denying.is_empty() {
        (Decision::ExplicitlyDenied, denying)
    } else if allowing.is_empty() {
        (Decision::NotAllowed, Vec::new())
    } else {
        (Decision::Allowed, allowing)
    }
}

/// What a policy with principals says to this caller.
pub(super) fn decide_for(policy: &Policy, asking: &Asking<'_>, question: &Question) -> Decision {
    let concerns = |statement: &&Statement| {
        let named = statement
            .principals
            .as_ref()
            .is_some_and(|principals| principals.covers(|principal| asking.is(principal)));
        named && statement.concerns(question).is_some()
    };
    let effects: Vec<Effect> = policy
        .statements
        .iter()
        .filter(concerns)
        .map(|statement| statement.effect)
        .collect();
    if effects.contains(&Effect::Deny) {
        Decision::ExplicitlyDenied
    } else if effects.contains(&Effect::Allow) {
        Decision::Allowed
    } else {
        Decision::NotAllowed
    }
}

/// Who asks a trust or resource policy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asking<'a> {
    /// Such as `lambda.amazonaws.com`.
    Service(&'a str),
    /// A principal of an account, by the ARNs that stand for it: its own and its role's.
    Aws {
        account: &'a str,
        arns: &'a [&'a str],
    },
}

impl Asking<'_> {
    fn is(&self, principal: &Principal) -> bool {
        match (self, principal) {
            (Self::Service(asking), Principal::Service(named)) => asking == named,
            (Self::Aws { account, arns }, Principal::Aws(named)) => {
                named == account
                    || *named == format!("arn:aws:iam::{account}:root")
                    || arns.contains(&named.as_str())
            }
            // "Principal": "*" does not let services in that call on nobody's behalf.
            (Self::Aws { .. }, Principal::Anyone) => true,
            _ => false,
        }
    }
}

impl Statement {
    /// The actions by which it concerns this question, if its resources and conditions do, too.
    fn concerns(&self, question: &Question) -> Option<Vec<String>> {
        let actions = self.actions_for(&question.action)?;
        let resource = self
            .resources
            .as_ref()
            .is_none_or(|resources| resources.covers(|pattern| resource_fits(pattern, question)));
        let conditions = || {
            self.conditions
                .iter()
                .all(|condition| condition.holds(&question.context))
        };
        (resource && conditions()).then_some(actions)
    }

    fn actions_for(&self, action: &str) -> Option<Vec<String>> {
        let lower = action.to_ascii_lowercase();
        let nothing = Context::default();
        let fits = |pattern: &&Pattern| pattern.fits(&lower, &nothing);
        match &self.actions {
            OneOf::These(patterns) => {
                let found: Vec<String> = patterns
                    .iter()
                    .filter(fits)
                    .map(|pattern| pattern.source().to_owned())
                    .collect();
                (!found.is_empty()).then_some(found)
            }
            OneOf::AllBut(patterns) => (!patterns.iter().any(|pattern| fits(&pattern)))
                .then(|| vec!["NotAction".to_owned()]),
        }
    }
}

/// An action that knows no resource is allowed by `*` alone.
fn resource_fits(pattern: &Pattern, question: &Question) -> bool {
    if question.resource == "*" {
        return pattern.source() == "*";
    }
    pattern.fits_arn(&question.resource, &question.context)
}

impl<T> OneOf<T> {
    fn covers(&self, fits: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::These(items) => items.iter().any(fits),
            Self::AllBut(items) => !items.iter().any(fits),
        }
    }
}
