//! EventBridge Scheduler: schedules in time zones that call Lambda functions.
//!
//! A delivery is at least once, as on AWS: [`Scheduler::redeliver`] makes it twice.
//! A target that cannot be called is tried again as its retry policy says; what is
//! given up goes to the dead-letter queue, if the schedule's role may send to it, and is
//! in [`Scheduler::dead_letters`] in any case. A function that is called and fails is
//! Lambda's to run again. A universal target is kept and told, and calling it fails:
//! what such targets call is not here. Only the group `default` exists.

mod api;
mod entry;
mod times;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;

pub(crate) use api::SchedulerApi;

use crate::lambda::Lambda;
use crate::regional::Regional;
use crate::request::{ApiError, Caller};
use crate::world::World;
use entry::{Entry, Try};

/// The only group.
const GROUP: &str = "default";

/// The first pause before a target is tried again; every further one is twice as long, up to the longest. AWS says
/// that pauses grow exponentially, not how long they are.
const FIRST_PAUSE_SECONDS: u64 = 15;
const LONGEST_PAUSE_SECONDS: u64 = 3_600;

/// Schedules of every account and region.
pub struct Scheduler {
    world: Weak<World>,
    lambda: Arc<Lambda>,
    schedules: Regional<BTreeMap<String, Entry>>,
    /// Schedules put so far: what waits for one ends when it is put again.
    puts: Mutex<u64>,
    deliveries: Mutex<Vec<Delivery>>,
    dead_letters: Mutex<Vec<DeadLetter>>,
    this: Weak<Self>,
}

/// A target that was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The schedule.
    pub schedule_arn: String,
    /// The time it was for, whenever it came.
    pub scheduled_time: OffsetDateTime,
    /// When it came.
    pub delivered_at: OffsetDateTime,
    /// How often it was tried before.
    pub retries: u32,
    /// The function.
    pub target_arn: String,
    /// What it was given.
    pub payload: String,
    place: Caller,
}

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The queue, if the schedule has one.
    pub queue_arn: Option<String>,
    /// What the target would have been given.
    pub body: String,
    /// What went wrong, by the names of the message's attributes, such as `ERROR_CODE`.
    pub attributes: BTreeMap<String, String>,
}

impl Scheduler {
    /// No schedules yet.
    #[must_use]
    pub fn new(world: Weak<World>, lambda: Arc<Lambda>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            world,
            lambda,
            schedules: Regional::default(),
            puts: Mutex::default(),
            deliveries: Mutex::default(),
            dead_letters: Mutex::default(),
            this: this.clone(),
        })
    }

    /// Puts a schedule, described as `CreateSchedule` describes it; one of its name is replaced. Returns its ARN.
    ///
    /// # Errors
    /// `ValidationException` naming what is wrong.
    pub fn put(&self, place: &Caller, name: &str, properties: &Value) -> Result<String, ApiError> {
        let world = self.world()?;
        let mut entry = Entry::parse(name, properties, world.now())?;
        check_role(&world, place, &entry)?;
        entry.put_number = self.next_put();
        self.schedules.with(place, |schedules| {
            if let Some(existing) = schedules.get(name) {
                entry.created = existing.created;
            }
            schedules.insert(name.to_owned(), entry.clone());
        });
        self.keep(&world, place, &entry);
        Ok(entry.arn(place))
    }

    /// Deletes a schedule.
    ///
    /// # Errors
    /// `ResourceNotFoundException`.
    pub fn delete(&self, place: &Caller, name: &str) -> Result<(), ApiError> {
        let gone = self
            .schedules
            .with(place, |schedules| schedules.remove(name));
        gone.map(drop).ok_or_else(|| not_found(name))
    }

    /// Every target that was called, oldest first.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Everything that was given up, oldest first.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.dead_letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Calls a target once more with what it was given: deliveries are at least once.
    ///
    /// # Errors
    /// What Lambda refuses.
    pub fn redeliver(&self, delivery: &Delivery) -> Result<(), ApiError> {
        let again = Delivery {
            delivered_at: self.world()?.now(),
            ..delivery.clone()
        };
        self.call(&again.place, &again.target_arn, &again.payload)?;
        self.delivered(again);
        Ok(())
    }

    /// Lets a schedule come from now on, until it is put again or gone.
    fn keep(&self, world: &World, place: &Caller, entry: &Entry) {
        if !entry.enabled {
            return;
        }
        let (this, place, entry) = (self.this.clone(), place.clone(), entry.clone());
        let clock = Arc::clone(world.clock());
        world.spawn(async move {
            let mut last = None;
            while let Some(time) = entry.times.next(last) {
                let pause = Duration::try_from(time - clock.now()).unwrap_or_default();
                clock.sleep(pause).await;
                last = Some(time);
                let Some(this) = this.upgrade().filter(|this| this.is_kept(&place, &entry)) else {
                    return;
                };
                this.come(&place, &entry, time);
            }
            if let Some(this) = this.upgrade()
                && entry.ends_with_its_last_time
                && this.is_kept(&place, &entry)
            {
                let _ = this.delete(&place, &entry.name);
            }
        });
    }

    /// Whether a schedule is still the one that was put then.
    fn is_kept(&self, place: &Caller, entry: &Entry) -> bool {
        self.schedules.with(place, |schedules| {
            let kept = schedules.get(&entry.name);
            kept.is_some_and(|kept| kept.put_number == entry.put_number)
        })
    }

    /// Delivers what is due, without anybody waiting for it.
    fn come(&self, place: &Caller, entry: &Entry, time: OffsetDateTime) {
        let Some(world) = self.world.upgrade() else {
            return;
        };
        let (this, place, entry) = (self.this.clone(), place.clone(), entry.clone());
        let window_seconds = entry.window_minutes.unwrap_or(0) as usize * 60;
        let later = world.randomness().below(window_seconds) as u64;
        let clock = Arc::clone(world.clock());
        world.spawn(async move {
            clock.sleep(Duration::from_secs(later)).await;
            let (since, mut retries, mut pause) = (clock.now(), 0, FIRST_PAUSE_SECONDS);
            let (refusal, exhausted) = loop {
                let Some(this) = this.upgrade() else { return };
                let Err(refusal) = this.deliver(&place, &entry, time, retries) else {
                    return;
                };
                tracing::warn!(schedule = entry.name, %refusal, "a target could not be called");
                if retries == entry.target.retries {
                    break (refusal, "MaximumRetryAttempts");
                }
                drop(this);
                clock.sleep(Duration::from_secs(pause)).await;
                if clock.now() - since > Duration::from_secs(entry.target.age_seconds.into()) {
                    break (refusal, "MaximumEventAgeInSeconds");
                }
                retries += 1;
                pause = LONGEST_PAUSE_SECONDS.min(pause * 2);
            };
            if let Some(this) = this.upgrade() {
                this.give_up(&place, &entry, time, (retries, &refusal, exhausted))
                    .await;
            }
        });
    }

    fn deliver(
        &self,
        place: &Caller,
        entry: &Entry,
        scheduled_time: OffsetDateTime,
        retries: u32,
    ) -> Result<(), ApiError> {
        let world = self.world()?;
        let a_try = Try {
            scheduled_time,
            execution_id: &world.randomness().simple_uuid(),
            number: retries + 1,
        };
        let payload = entry.payload(place, a_try);
        let caller = Caller {
            principal: entry.target.role_arn.clone(),
            ..place.clone()
        };
        if let Some(operation) = entry.target.operation() {
            let text = format!("the local cloud's schedules cannot call {operation}");
            return Err(ApiError::new(501, "NotImplemented", text));
        }
        world.iam().may_as(
            &world,
            &caller,
            &entry.name,
            "lambda:InvokeFunction",
            &entry.target.arn,
        )?;
        self.call(&caller, &entry.target.arn, &payload)?;
        self.delivered(Delivery {
            schedule_arn: entry.arn(place),
            scheduled_time,
            delivered_at: world.now(),
            retries,
            target_arn: entry.target.arn.clone(),
            payload,
            place: caller,
        });
        Ok(())
    }

    /// Invokes a function and waits for nothing, as the target `Invoke` of AWS does.
    fn call(&self, caller: &Caller, function: &str, payload: &str) -> Result<(), ApiError> {
        let event = serde_json::from_str(payload).map_err(|error| {
            let text = format!("Could not parse request body into json: {error}");
            ApiError::new(400, "InvalidRequestContentException", text)
        })?;
        self.lambda.invoke_event(caller, function, event)
    }

    fn delivered(&self, delivery: Delivery) {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(delivery);
    }

    /// Writes down what was given up, and sends it to the schedule's queue.
    async fn give_up(
        &self,
        place: &Caller,
        entry: &Entry,
        time: OffsetDateTime,
        (retries, refusal, exhausted): (u32, &ApiError, &str),
    ) {
        let Ok(world) = self.world() else { return };
        let execution_id = world.randomness().simple_uuid();
        let a_try = Try {
            scheduled_time: time,
            execution_id: &execution_id,
            number: retries + 1,
        };
        let letter = DeadLetter {
            queue_arn: entry.target.dead_letter_arn.clone(),
            body: entry.payload(place, a_try),
            attributes: attributes([
                ("ERROR_CODE", &refusal.code),
                ("ERROR_MESSAGE", &refusal.message),
                ("EXECUTION_ID", &execution_id),
                ("EXHAUSTED_RETRY_CONDITION", exhausted),
                ("IS_PAYLOAD_TRUNCATED", "false"),
                ("RETRY_ATTEMPTS", &retries.to_string()),
                ("SCHEDULED_TIME", &entry::stamp(time)),
                ("SCHEDULE_ARN", &entry.arn(place)),
                ("TARGET_ARN", &entry.target.arn),
            ]),
        };
        self.dead_letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(letter.clone());
        if let Err(error) = send(&world, place, entry, &letter).await {
            tracing::warn!(schedule = entry.name, %error, "a dead letter could not be sent");
        }
    }

    fn next_put(&self) -> u64 {
        let mut puts = self.puts.lock().unwrap_or_else(PoisonError::into_inner);
        *puts += 1;
        *puts
    }

    fn world(&self) -> Result<Arc<World>, ApiError> {
        self.world
            .upgrade()
            .ok_or_else(|| ApiError::new(500, "InternalServerException", "the world has stopped"))
    }
}

/// Sends a letter to its queue, if it has one, as far as the schedule's role may.
async fn send(
    world: &World,
    place: &Caller,
    entry: &Entry,
    letter: &DeadLetter,
) -> Result<(), ApiError> {
    let (Some(queue), Some(message)) = (&letter.queue_arn, letter.message()) else {
        return Ok(());
    };
    let role = Caller {
        principal: entry.target.role_arn.clone(),
        ..place.clone()
    };
    let iam = world.iam();
    iam.may_as(world, &role, &entry.name, "sqs:SendMessage", queue)?;
    world
        .call(place, "sqs", "AmazonSQS.SendMessage", &message)
        .await
        .map(drop)
}

impl DeadLetter {
    /// The message for its queue, `arn:aws:sqs:<region>:<account>:<name>`.
    fn message(&self) -> Option<Value> {
        let queue_arn = self.queue_arn.as_deref()?;
        let parts: Vec<&str> = queue_arn.split(':').collect();
        let ["arn", _, "sqs", region, account, name] = parts.as_slice() else {
            return None;
        };
        let attribute = |(name, value): (&String, &String)| {
            (
                name.clone(),
                json!({ "DataType": "String", "StringValue": value }),
            )
        };
        let attributes: serde_json::Map<String, Value> =
            self.attributes.iter().map(attribute).collect();
        Some(json!({
            "QueueUrl": format!("https://sqs.{region}.amazonaws.com/{account}/{name}"),
            "MessageBody": self.body,
            "MessageAttributes": attributes,
        }))
    }
}

fn attributes<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// A role that somebody described must let schedules of the group assume it.
fn check_role(world: &World, place: &Caller, entry: &Entry) -> Result<(), ApiError> {
    let group = format!(
        "arn:aws:scheduler:{}:{}:schedule-group/{GROUP}",
        place.region, place.account
    );
    let trusted = world.iam().trusts_service(
        world,
        &entry.target.role_arn,
        "scheduler.amazonaws.com",
        &group,
    );
    if trusted == Some(false) {
        return Err(entry::validation(
            "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.",
        ));
    }
    Ok(())
}

fn not_found(name: &str) -> ApiError {
    let text = format!("Schedule {name} does not exist.");
    ApiError::new(404, "ResourceNotFoundException", text)
}
