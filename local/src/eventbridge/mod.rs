//! EventBridge: the default bus, rules on events and on time, and their targets.
//!
//! Delivery is best effort, as the design wants it treated: an event goes to its
//! targets in the background, once; for a target that cannot be reached, it goes to
//! the target's dead-letter queue, or is logged and forgotten. Lambda functions, state
//! machines and SNS topics can be targets. There are no other buses and no archives.

mod pattern;
pub(crate) mod schedule;
mod target;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::events::Event;
use crate::fields::{Fields, page};
use crate::lambda::Lambda;
use crate::recorded::RecordedText;
use crate::regional::Regional;
use crate::request::{ApiError, Caller, Request, Response, json_response};
use crate::sns::Sns;
use crate::step_functions::StepFunctions;
use crate::world::{EventSink, Service, World};
use pattern::Pattern;
use schedule::Schedule;
use target::{RuleNames, Target};

/// Targets per rule, events per `PutEvents`, and the most bytes of these together.
/// Who calls the targets.
const SERVICE: &str = "events.amazonaws.com";

const TARGETS_MAX: usize = 5;
const ENTRIES_MAX: usize = 10;
const ENTRIES_BYTES_MAX: usize = 1_048_576;
const PAGE: i64 = 100;

/// Rules of every account and region, and every event there has been.
pub struct EventBridge {
    world: Weak<World>,
    lambda: Arc<Lambda>,
    step_functions: Arc<StepFunctions>,
    sns: Arc<Sns>,
    rules: Regional<BTreeMap<String, Rule>>,
    published: Mutex<Vec<Value>>,
    /// Rules put so far: a schedule ends when its rule is put again.
    puts: Mutex<u64>,
    this: Weak<Self>,
}

#[derive(Clone)]
struct Rule {
    name: String,
    pattern: Option<Pattern>,
    pattern_text: Option<String>,
    schedule: Option<Schedule>,
    schedule_text: Option<String>,
    enabled: bool,
    description: Option<String>,
    role_arn: Option<String>,
    targets: Vec<Target>,
    tags: BTreeMap<String, String>,
    put_number: u64,
}

impl EventBridge {
    /// A bus with no rules yet.
    #[must_use]
    pub fn new(
        world: Weak<World>,
        lambda: Arc<Lambda>,
        step_functions: Arc<StepFunctions>,
        sns: Arc<Sns>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            world,
            lambda,
            step_functions,
            sns,
            rules: Regional::default(),
            published: Mutex::default(),
            puts: Mutex::default(),
            this: this.clone(),
        })
    }

    /// Every event published so far, as targets see it, oldest first.
    #[must_use]
    pub fn published(&self) -> Vec<Value> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Every event.
    pub(crate) fn recorded_texts(&self) -> Vec<RecordedText> {
        let text = |event: Value| {
            let place = format!(
                "events {}",
                event["detail-type"].as_str().unwrap_or_default()
            );
            RecordedText::new(place, event.to_string())
        };
        self.published().into_iter().map(text).collect()
    }

    fn answer(&self, request: &Request) -> Result<Value, ApiError> {
        let body = request.json_body()?;
        let (caller, fields) = (&request.caller, Fields::new(&body));
        let operation = request.json_operation().unwrap_or_default();
        if operation != "PutEvents" {
            check_bus(fields)?;
        }
        match operation {
            "PutRule" => self.put_rule(caller, fields),
            "DescribeRule" => {
                self.with_rule(caller, fields, "Name", |rule| Ok(rule.described(caller)))
            }
            "ListRules" => self.list_rules(caller, fields),
            "EnableRule" => self.set_enabled(caller, fields, true),
            "DisableRule" => self.set_enabled(caller, fields, false),
            "DeleteRule" => self.delete_rule(caller, fields),
            "PutTargets" => self.put_targets(caller, fields),
            "ListTargetsByRule" => self.list_targets(caller, fields),
            "RemoveTargets" => self.remove_targets(caller, fields),
            "PutEvents" => self.put_events(caller, fields),
            "TestEventPattern" => test_event_pattern(fields),
            other => Err(ApiError::unknown_operation("EventBridge", other)),
        }
    }

    fn put_rule(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let name = fields.required("Name")?;
        let allowed =
            |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
        if name.len() > 64 || !name.chars().all(allowed) {
            return Err(validation(&format!(
                "Value '{name}' at 'name' failed to satisfy constraint"
            )));
        }
        let (pattern_text, schedule_text) = (
            fields.text("EventPattern")?,
            fields.text("ScheduleExpression")?,
        );
        if pattern_text.is_none() && schedule_text.is_none() {
            return Err(validation(
                "Parameter(s) EventPattern or ScheduleExpression must be specified.",
            ));
        }
        let pattern = pattern_text
            .map(Pattern::parse)
            .transpose()
            .map_err(|reason| invalid_pattern(&reason))?;
        let schedule = schedule_text
            .map(|text| {
                Schedule::parse(text)
                    .ok_or_else(|| validation("Parameter ScheduleExpression is not valid."))
            })
            .transpose()?;
        let mut rule = Rule {
            name: name.to_owned(),
            pattern,
            pattern_text: pattern_text.map(str::to_owned),
            schedule,
            schedule_text: schedule_text.map(str::to_owned),
            enabled: fields.text("State")? != Some("DISABLED"),
            description: fields.text("Description")?.map(str::to_owned),
            role_arn: fields.text("RoleArn")?.map(str::to_owned),
            targets: Vec::new(),
            tags: fields.tags("Tags", "Key", "Value")?,
            put_number: self.next_put(),
        };
        self.rules.with(caller, |rules| {
            if let Some(existing) = rules.get(name) {
                rule.targets.clone_from(&existing.targets);
                if rule.tags.is_empty() {
                    rule.tags.clone_from(&existing.tags);
                }
            }
            rules.insert(name.to_owned(), rule.clone());
        });
        self.keep_schedule(caller, &rule);
        Ok(json!({ "RuleArn": rule_arn(caller, name) }))
    }

    fn list_rules(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let prefix = fields.text("NamePrefix")?.unwrap_or_default();
        let rules: Vec<Value> = self.rules.with(caller, |rules| {
            let chosen = rules.values().filter(|rule| rule.name.starts_with(prefix));
            chosen.map(|rule| rule.described(caller)).collect()
        });
        paged(fields, "Rules", &rules)
    }

    fn set_enabled(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
        enabled: bool,
    ) -> Result<Value, ApiError> {
        let number = self.next_put();
        let rule = self.with_rule(caller, fields, "Name", |rule| {
            rule.enabled = enabled;
            rule.put_number = number;
            Ok(rule.clone())
        })?;
        self.keep_schedule(caller, &rule);
        Ok(json!({}))
    }

    fn delete_rule(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let name = fields.required("Name")?;
        self.rules.with(caller, |rules| {
            if rules.get(name).is_some_and(|rule| !rule.targets.is_empty()) {
                return Err(validation("Rule can't be deleted since it has targets."));
            }
            rules.remove(name);
            Ok(json!({}))
        })
    }

    fn put_targets(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let targets = fields
            .list("Targets")?
            .iter()
            .map(Target::parse)
            .collect::<Result<Vec<_>, _>>()?;
        self.with_rule(caller, fields, "Rule", |rule| {
            let mut all = rule.targets.clone();
            all.retain(|existing| targets.iter().all(|target| target.id != existing.id));
            all.extend(targets);
            if all.len() > TARGETS_MAX {
                let text = format!("The requested resource exceeds the maximum number allowed: {TARGETS_MAX} targets");
                return Err(ApiError::new(400, "LimitExceededException", text));
            }
            rule.targets = all;
            Ok(json!({ "FailedEntryCount": 0, "FailedEntries": [] }))
        })
    }

    fn list_targets(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let targets: Vec<Value> = self.with_rule(caller, fields, "Rule", |rule| {
            Ok(rule
                .targets
                .iter()
                .map(|target| target.settings.clone())
                .collect())
        })?;
        paged(fields, "Targets", &targets)
    }

    fn remove_targets(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let ids = fields.texts("Ids")?;
        self.with_rule(caller, fields, "Rule", |rule| {
            let unknown = ids.iter().filter(|id| rule.targets.iter().all(|target| target.id != **id));
            let failed: Vec<Value> = unknown
                .map(|id| json!({ "TargetId": id, "ErrorCode": "ResourceNotFoundException", "ErrorMessage": "no such target" }))
                .collect();
            rule.targets.retain(|target| !ids.contains(&target.id));
            Ok(json!({ "FailedEntryCount": failed.len(), "FailedEntries": failed }))
        })
    }

    fn put_events(&self, caller: &Caller, fields: Fields<'_>) -> Result<Value, ApiError> {
        let entries = fields.list("Entries")?;
        let bytes: usize = entries.iter().map(|entry| entry.to_string().len()).sum();
        if !(1..=ENTRIES_MAX).contains(&entries.len()) || bytes > ENTRIES_BYTES_MAX {
            return Err(validation(
                "PutEvents takes 1 to 10 entries of at most 1 MB together.",
            ));
        }
        let results: Vec<Value> = entries
            .iter()
            .map(|entry| match self.put_event(caller, Fields::new(entry)) {
                Ok(id) => json!({ "EventId": id }),
                Err(error) => json!({ "ErrorCode": error.code, "ErrorMessage": error.message }),
            })
            .collect();
        let failed = results
            .iter()
            .filter(|result| result.get("ErrorCode").is_some())
            .count();
        Ok(json!({ "FailedEntryCount": failed, "Entries": results }))
    }

    fn put_event(&self, caller: &Caller, entry: Fields<'_>) -> Result<String, ApiError> {
        check_bus(entry)?;
        let needed = |name: &str| {
            entry
                .text(name)?
                .filter(|text| !text.is_empty())
                .ok_or_else(|| {
                    ApiError::new(
                        400,
                        "InvalidArgument",
                        format!(
                            "Parameter {name} is not valid. Reason: {name} is a required argument."
                        ),
                    )
                })
        };
        let source = needed("Source")?;
        if source.starts_with("aws.") {
            let text = format!("Not authorized for the source: {source}");
            return Err(ApiError::new(400, "NotAuthorizedForSourceException", text));
        }
        let detail: Option<Value> = serde_json::from_str(needed("Detail")?).ok();
        let detail = detail.filter(Value::is_object);
        let event = Event {
            account: caller.account.clone(),
            region: caller.region.clone(),
            source: source.to_owned(),
            detail_type: needed("DetailType")?.to_owned(),
            resources: entry.texts("Resources")?,
            detail: detail
                .ok_or_else(|| ApiError::new(400, "MalformedDetail", "Detail is malformed."))?,
        };
        let time = entry.time("Time")?;
        self.take(event, time)
            .ok_or_else(|| ApiError::new(500, "InternalException", "the world has stopped"))
    }

    /// Writes an event down and sends it to the targets of the rules it fits. Returns its id.
    fn take(&self, event: Event, time: Option<OffsetDateTime>) -> Option<String> {
        let world = self.world.upgrade()?;
        let place = Caller {
            account: event.account.clone(),
            region: event.region.clone(),
            principal: SERVICE.to_owned(),
        };
        let id = world.randomness().uuid();
        let event = written(event, &id, time.unwrap_or_else(|| world.now()));
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event.clone());
        let fits = |rule: &&Rule| {
            rule.enabled
                && rule
                    .pattern
                    .as_ref()
                    .is_some_and(|pattern| pattern.fits(Some(&event)))
        };
        let rules: Vec<Rule> = self.rules.with(&place, |rules| {
            rules.values().filter(fits).cloned().collect()
        });
        for rule in rules {
            self.send(&world, &place, &rule, &event);
        }
        Some(id)
    }

    fn send(&self, world: &Arc<World>, place: &Caller, rule: &Rule, event: &Value) {
        let arn = rule_arn(place, &rule.name);
        for target in &rule.targets {
            let payload = target.payload(
                event,
                &RuleNames {
                    name: &rule.name,
                    arn: &arn,
                },
            );
            let (this, place, rule) = (self.this.clone(), place.clone(), arn.clone());
            let (arn, queue) = (target.arn.clone(), target.dead_letters.clone());
            let event = event.to_string();
            world.spawn(async move {
                let Some(this) = this.upgrade() else { return };
                let Err(error) = this.deliver(&place, &rule, &arn, &payload) else {
                    return;
                };
                tracing::warn!(target = arn, %error, "an event was not delivered");
                if let Some(queue) = queue {
                    this.keep_undelivered(&place, &queue, &event).await;
                }
            });
        }
    }

    async fn keep_undelivered(&self, place: &Caller, queue: &str, event: &str) {
        let Some(world) = self.world.upgrade() else {
            return;
        };
        let letter = json!({ "QueueUrl": queue, "MessageBody": event });
        let sent = world.call(place, "sqs", "AmazonSQS.SendMessage", &letter);
        if let Err(error) = sent.await {
            tracing::warn!(queue, %error, "an event that was not delivered is lost");
        }
    }

    fn deliver(
        &self,
        place: &Caller,
        rule: &str,
        arn: &str,
        payload: &str,
    ) -> Result<(), ApiError> {
        let json =
            || serde_json::from_str(payload).unwrap_or_else(|_| Value::String(payload.to_owned()));
        match arn.split(':').nth(2) {
            Some("lambda") => {
                self.lambda.check_permission(SERVICE, arn, rule)?;
                self.lambda.invoke_event(place, arn, json())
            }
            Some("states") => {
                let name = self
                    .world
                    .upgrade()
                    .map(|world| world.randomness().uuid())
                    .unwrap_or_default();
                self.step_functions.start(arn, &name, &json()).map(drop)
            }
            Some("sns") => self.sns.publish(place, arn, None, payload).map(drop),
            _ => Err(validation(
                "the local cloud delivers events to Lambda, Step Functions and SNS only",
            )),
        }
    }

    /// Lets a rule with a schedule fire from now on, until it is put again or gone.
    fn keep_schedule(&self, caller: &Caller, rule: &Rule) {
        let (Some(schedule), true, Some(world)) =
            (&rule.schedule, rule.enabled, self.world.upgrade())
        else {
            return;
        };
        let (this, place, schedule) = (self.this.clone(), caller.clone(), schedule.clone());
        let (name, number, clock) = (
            rule.name.clone(),
            rule.put_number,
            Arc::clone(world.clock()),
        );
        world.spawn(async move {
            let mut last = clock.now();
            while let Some(next) = schedule.next_after(last) {
                clock
                    .sleep(Duration::try_from(next - clock.now()).unwrap_or_default())
                    .await;
                last = next;
                let Some(this) = this.upgrade() else { return };
                if !this.fire(&place, &name, number, next) {
                    return;
                }
            }
        });
    }

    /// Sends a scheduled event; `false` when the rule is no longer the one that was put.
    fn fire(&self, place: &Caller, name: &str, number: u64, time: OffsetDateTime) -> bool {
        let rule = self.rules.with(place, |rules| {
            rules
                .get(name)
                .filter(|rule| rule.put_number == number)
                .cloned()
        });
        let (Some(rule), Some(world)) = (rule, self.world.upgrade()) else {
            return false;
        };
        let event = Event {
            account: place.account.clone(),
            region: place.region.clone(),
            source: "aws.events".to_owned(),
            detail_type: "Scheduled Event".to_owned(),
            resources: vec![rule_arn(place, name)],
            detail: json!({}),
        };
        let event = written(event, &world.randomness().uuid(), time);
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event.clone());
        self.send(&world, place, &rule, &event);
        true
    }

    fn with_rule<R>(
        &self,
        caller: &Caller,
        fields: Fields<'_>,
        member: &str,
        act: impl FnOnce(&mut Rule) -> Result<R, ApiError>,
    ) -> Result<R, ApiError> {
        let name = fields.required(member)?;
        self.rules.with(caller, |rules| {
            let rule = rules.get_mut(name).ok_or_else(|| {
                let text = format!("Rule {name} does not exist on EventBus default.");
                ApiError::new(400, "ResourceNotFoundException", text)
            })?;
            act(rule)
        })
    }

    fn next_put(&self) -> u64 {
        let mut puts = self.puts.lock().unwrap_or_else(PoisonError::into_inner);
        *puts += 1;
        *puts
    }
}

impl EventSink for EventBridge {
    fn publish(&self, event: Event) {
        let _ = self.take(event, None);
    }
}

/// The service is shared: what it starts in the background holds on to it.
pub(crate) struct EventBridgeApi(pub(crate) Arc<EventBridge>);

#[async_trait]
impl Service for EventBridgeApi {
    async fn handle(&self, request: Request) -> Response {
        match self.0.answer(&request) {
            Ok(answer) => json_response(200, &answer),
            Err(error) => error.to_json_response(),
        }
    }

    fn recorded_texts(&self) -> Vec<RecordedText> {
        self.0.recorded_texts()
    }
}

impl Rule {
    fn described(&self, caller: &Caller) -> Value {
        let mut answer = json!({
            "Name": self.name,
            "Arn": rule_arn(caller, &self.name),
            "State": if self.enabled { "ENABLED" } else { "DISABLED" },
            "EventBusName": "default",
            "CreatedBy": caller.account,
        });
        let optional = [
            ("EventPattern", &self.pattern_text),
            ("ScheduleExpression", &self.schedule_text),
            ("Description", &self.description),
            ("RoleArn", &self.role_arn),
        ];
        for (name, text) in optional {
            if let Some(text) = text {
                answer[name] = text.as_str().into();
            }
        }
        answer
    }
}

/// The event as EventBridge writes it: times to the second.
fn written(event: Event, id: &str, time: OffsetDateTime) -> Value {
    let stamp = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    json!({
        "version": "0",
        "id": id,
        "detail-type": event.detail_type,
        "source": event.source,
        "account": event.account,
        "time": time.to_offset(time::UtcOffset::UTC).format(stamp).unwrap_or_default(),
        "region": event.region,
        "resources": event.resources,
        "detail": event.detail,
    })
}

fn test_event_pattern(fields: Fields<'_>) -> Result<Value, ApiError> {
    let pattern = Pattern::parse(fields.required("EventPattern")?)
        .map_err(|reason| invalid_pattern(&reason))?;
    let event: Value = serde_json::from_str(fields.required("Event")?)
        .map_err(|_| validation("Event is not JSON"))?;
    Ok(json!({ "Result": pattern.fits(Some(&event)) }))
}

fn rule_arn(caller: &Caller, name: &str) -> String {
    format!(
        "arn:aws:events:{}:{}:rule/{name}",
        caller.region, caller.account
    )
}

/// The default bus by name or ARN, or nothing.
fn check_bus(fields: Fields<'_>) -> Result<(), ApiError> {
    match fields.text("EventBusName")? {
        None => Ok(()),
        Some(bus) if bus == "default" || bus.ends_with(":event-bus/default") => Ok(()),
        Some(bus) => Err(ApiError::new(
            400,
            "ResourceNotFoundException",
            format!("Event bus {bus} does not exist."),
        )),
    }
}

fn paged(fields: Fields<'_>, name: &str, items: &[Value]) -> Result<Value, ApiError> {
    let size =
        usize::try_from(fields.integer("Limit")?.unwrap_or(PAGE).clamp(1, PAGE)).unwrap_or(1);
    let (items, next) = page(items, fields.text("NextToken")?, size)
        .ok_or_else(|| validation("NextToken is not valid"))?;
    let mut answer = json!({ name: items });
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

fn invalid_pattern(reason: &str) -> ApiError {
    ApiError::new(
        400,
        "InvalidEventPatternException",
        format!("Event pattern is not valid. Reason: {reason}"),
    )
}

fn validation(message: &str) -> ApiError {
    ApiError::new(400, "ValidationException", message)
}
