//! EventBridge Scheduler's REST API.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::entry::{Entry, validation};
use super::{GROUP, Scheduler, not_found};
use crate::fields::{Fields, page};
use crate::recorded::RecordedText;
use crate::request::{ApiError, Caller, Request, Response, response};
use crate::world::Service;

/// The service is shared: what it starts in the background holds on to it.
pub(crate) struct SchedulerApi(pub(crate) Arc<Scheduler>);

#[async_trait]
impl Service for SchedulerApi {
    async fn handle(&self, request: Request) -> Response {
        match self.0.answer(&request) {
            Ok(answer) => response(200, "application/json", answer.to_string()),
            Err(error) => error.to_json_response(),
        }
    }

    fn recorded_texts(&self) -> Vec<RecordedText> {
        let deliveries = self.0.deliveries().into_iter();
        let letters = self.0.dead_letters().into_iter();
        deliveries
            .map(|delivery| RecordedText::new(delivery.schedule_arn, delivery.payload))
            .chain(letters.map(|letter| {
                RecordedText::new(
                    "dead letter",
                    format!("{} {:?}", letter.body, letter.attributes),
                )
            }))
            .collect()
    }
}

impl Scheduler {
    fn answer(&self, request: &Request) -> Result<Value, ApiError> {
        let place = &request.caller;
        let query = query(request);
        let path = request.uri.path().trim_matches('/');
        let parts: Vec<String> = path
            .split('/')
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let group = query.get("groupName").map(String::as_str);
        match (&request.method, parts.as_slice()) {
            (&Method::GET, ["schedules"]) => self.list(place, &query),
            (&Method::POST, ["schedules", name]) => self.create(place, name, &request.json_body()?),
            (&Method::PUT, ["schedules", name]) => self.update(place, name, &request.json_body()?),
            (&Method::GET, ["schedules", name]) => {
                check_group(group)?;
                self.find(place, name).map(|entry| entry.described(place))
            }
            (&Method::DELETE, ["schedules", name]) => {
                check_group(group)?;
                self.delete(place, name).map(|()| json!({}))
            }
            (method, _) => Err(ApiError::unknown_operation(
                "EventBridge Scheduler",
                &format!("{method} /{path}"),
            )),
        }
    }

    /// A request that is repeated with its token makes nothing twice.
    fn create(&self, place: &Caller, name: &str, body: &Value) -> Result<Value, ApiError> {
        check_group(Fields::new(body).text("GroupName")?)?;
        if let Ok(existing) = self.find(place, name) {
            let token = Fields::new(body).text("ClientToken")?;
            if token.is_some() && token == existing.properties["ClientToken"].as_str() {
                return Ok(json!({ "ScheduleArn": existing.arn(place) }));
            }
            let text = format!("Schedule {name} already exists.");
            return Err(ApiError::new(409, "ConflictException", text));
        }
        let arn = self.put(place, name, body)?;
        Ok(json!({ "ScheduleArn": arn }))
    }

    /// What is not given again falls back to its default.
    fn update(&self, place: &Caller, name: &str, body: &Value) -> Result<Value, ApiError> {
        check_group(Fields::new(body).text("GroupName")?)?;
        self.find(place, name)?;
        let arn = self.put(place, name, body)?;
        Ok(json!({ "ScheduleArn": arn }))
    }

    fn find(&self, place: &Caller, name: &str) -> Result<Entry, ApiError> {
        let found = self
            .schedules
            .with(place, |schedules| schedules.get(name).cloned());
        found.ok_or_else(|| not_found(name))
    }

    fn list(&self, place: &Caller, query: &BTreeMap<String, String>) -> Result<Value, ApiError> {
        let asked = |name: &str| query.get(name).map(String::as_str);
        check_group(asked("ScheduleGroup"))?;
        let prefix = asked("NamePrefix").unwrap_or_default();
        let enabled = asked("State").map(|state| state == "ENABLED");
        let listed: Vec<Value> = self.schedules.with(place, |schedules| {
            let chosen = schedules.values().filter(|entry| {
                entry.name.starts_with(prefix)
                    && enabled.is_none_or(|enabled| enabled == entry.enabled)
            });
            chosen.map(|entry| entry.listed(place)).collect()
        });
        let size = asked("MaxResults").map_or(Some(100), |size| {
            size.parse().ok().filter(|size| (1..=100).contains(size))
        });
        let size = size.ok_or_else(|| validation("MaxResults must be 1 to 100."))?;
        let (schedules, next) = page(&listed, asked("NextToken"), size)
            .ok_or_else(|| validation("NextToken is not valid."))?;
        let mut answer = json!({ "Schedules": schedules });
        if let Some(next) = next {
            answer["NextToken"] = next.into();
        }
        Ok(answer)
    }
}

fn query(request: &Request) -> BTreeMap<String, String> {
    let query = request.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

fn check_group(group: Option<&str>) -> Result<(), ApiError> {
    match group {
        None | Some(GROUP) => Ok(()),
        Some(other) => {
            let text = format!("Schedule group {other} does not exist.");
            Err(ApiError::new(404, "ResourceNotFoundException", text))
        }
    }
}
