//! Route 53: hosted zones with simple records.
//!
//! REST with XML, as the "Amazon Route 53 API Reference" (2013-04-01) has it. Zones are
//! one per name and belong to an account, not to a region. A change is `PENDING` for a
//! minute, as the reference says of how long name servers take, and is seen by
//! `ListResourceRecordSets` at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use http::Method;
use roxmltree::{Document, Node};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::recorded::RecordedText;
use crate::request::{ApiError, Request, Response, escape_xml, response};
use crate::world::{Service, World};

const NAMESPACE: &str = "https://route53.amazonaws.com/doc/2013-04-01/";

/// Changes reach all name servers within this time ("GetChange").
const IN_SYNC_AFTER: time::Duration = time::Duration::seconds(60);

/// Route 53.
pub(crate) struct Route53 {
    world: Weak<World>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    zones: BTreeMap<String, Zone>,
    changes: BTreeMap<String, OffsetDateTime>,
}

struct Zone {
    account: String,
    name: String,
    /// By reversed labels and type: the order of `ListResourceRecordSets`.
    records: BTreeMap<(String, String), Record>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    name: String,
    kind: String,
    ttl: String,
    values: Vec<String>,
}

impl Route53 {
    pub(crate) fn new(world: Weak<World>) -> Arc<Self> {
        Arc::new(Self {
            world,
            book: Mutex::default(),
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request) -> Result<(u16, String), ApiError> {
        let path = request.uri.path().trim_end_matches('/');
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (&request.method, parts.as_slice()) {
            (&Method::POST, ["2013-04-01", "hostedzone"]) => self.create_zone(request),
            (&Method::GET, ["2013-04-01", "hostedzone", zone, "rrset"]) => self.list(request, zone),
            (&Method::POST, ["2013-04-01", "hostedzone", zone, "rrset"]) => {
                self.change(request, zone)
            }
            (&Method::GET, ["2013-04-01", "change", id]) => self.get_change(id),
            (method, _) => Err(ApiError::unknown_operation(
                "Route 53",
                &format!("{method} {path}"),
            )),
        }
    }

    fn world(&self) -> Result<Arc<World>, ApiError> {
        let stopped = || ApiError::new(500, "InternalError", "the world has stopped");
        self.world.upgrade().ok_or_else(stopped)
    }

    fn create_zone(&self, request: &Request) -> Result<(u16, String), ApiError> {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let document = parsed(&text)?;
        let name = absolute(&needed(document.root_element(), "Name")?);
        let world = self.world()?;
        let id = zone_id(&name);
        let zone = Zone {
            account: request.caller.account.clone(),
            name: name.clone(),
            records: BTreeMap::new(),
        };
        self.book().zones.insert(id.clone(), zone);
        let change = self.new_change(&world);
        let body = format!(
            "<CreateHostedZoneResponse xmlns=\"{NAMESPACE}\"><HostedZone><Id>/hostedzone/{id}</Id>\
             <Name>{}</Name><CallerReference>local</CallerReference></HostedZone>{change}\
             <DelegationSet><NameServers/></DelegationSet></CreateHostedZoneResponse>",
            escape_xml(&name)
        );
        Ok((201, body))
    }

    fn list(&self, request: &Request, id: &str) -> Result<(u16, String), ApiError> {
        let query = request.uri.query().unwrap_or_default();
        let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let most = query.get("maxitems").map_or(Ok(300), |most| most.parse());
        let most: usize = most.map_err(|_| invalid("maxitems is not a number"))?;
        let from = query.get("name").map(|name| {
            let kind = query.get("type").cloned().unwrap_or_default();
            (reversed(&absolute(name)), kind)
        });
        let book = self.book();
        let zone = book.zone(&request.caller.account, id)?;
        let after = |key: &&(String, String)| from.as_ref().is_none_or(|from| *key >= from);
        let keys: Vec<_> = zone.records.keys().filter(after).take(most + 1).collect();
        let mut sets = String::new();
        for key in keys.iter().take(most) {
            if let Some(record) = zone.records.get(*key) {
                record.write(&mut sets);
            }
        }
        let truncated = keys.len() > most;
        let next = keys.get(most).map_or(String::new(), |(_, kind)| {
            let name = zone
                .records
                .get(keys[most])
                .map_or("", |record| &record.name);
            format!(
                "<NextRecordName>{}</NextRecordName><NextRecordType>{kind}</NextRecordType>",
                escape_xml(name)
            )
        });
        let body = format!(
            "<ListResourceRecordSetsResponse xmlns=\"{NAMESPACE}\"><ResourceRecordSets>{sets}</ResourceRecordSets>\
             <IsTruncated>{truncated}</IsTruncated>{next}<MaxItems>{most}</MaxItems></ListResourceRecordSetsResponse>"
        );
        Ok((200, body))
    }

    /// A batch is made whole or not at all.
    fn change(&self, request: &Request, id: &str) -> Result<(u16, String), ApiError> {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let document = parsed(&text)?;
        let world = self.world()?;
        let mut book = self.book();
        let zone = book.zone(&request.caller.account, id)?;
        let mut records = zone.records.clone();
        for change in document
            .descendants()
            .filter(|node| node.has_tag_name_of("Change"))
        {
            let record = Record::read(change, &zone.name)?;
            let key = (reversed(&record.name), record.kind.clone());
            let there = records.get(&key);
            match (needed(change, "Action")?.as_str(), there) {
                ("UPSERT", _) | ("CREATE", None) => drop(records.insert(key, record)),
                ("CREATE", Some(_)) => {
                    return Err(invalid_batch(&record, "but it already exists"));
                }
                ("DELETE", Some(there)) if *there == record => drop(records.remove(&key)),
                ("DELETE", _) => return Err(invalid_batch(&record, "but it was not found")),
                (other, _) => return Err(invalid(&format!("unknown action {other}"))),
            }
        }
        if let Some(zone) = book.zones.get_mut(id) {
            zone.records = records;
        }
        drop(book);
        let change = self.new_change(&world);
        let body = format!(
            "<ChangeResourceRecordSetsResponse xmlns=\"{NAMESPACE}\">{change}</ChangeResourceRecordSetsResponse>"
        );
        Ok((200, body))
    }

    fn new_change(&self, world: &World) -> String {
        let (id, now) = (world.randomness().uuid().replace('-', ""), world.now());
        self.book().changes.insert(id.clone(), now);
        change_info(&id, now, now)
    }

    fn get_change(&self, id: &str) -> Result<(u16, String), ApiError> {
        let now = self.world()?.now();
        let book = self.book();
        let at = book.changes.get(id).ok_or_else(|| {
            ApiError::new(
                404,
                "NoSuchChange",
                format!("A change with the id {id} does not exist."),
            )
        })?;
        let info = change_info(id, *at, now);
        Ok((
            200,
            format!("<GetChangeResponse xmlns=\"{NAMESPACE}\">{info}</GetChangeResponse>"),
        ))
    }
}

/// The id of the zone of this name: it follows from the name, so that whoever deploys can name it before it is made.
#[must_use]
pub fn zone_id(name: &str) -> String {
    let hash = Sha256::digest(absolute(name).as_bytes());
    let digits: String = hash
        .iter()
        .take(10)
        .map(|byte| format!("{byte:02X}"))
        .collect();
    format!("Z{digits}")
}

fn change_info(id: &str, at: OffsetDateTime, now: OffsetDateTime) -> String {
    let status = if now - at >= IN_SYNC_AFTER {
        "INSYNC"
    } else {
        "PENDING"
    };
    let at = at.format(&Rfc3339).unwrap_or_default();
    format!(
        "<ChangeInfo><Id>/change/{id}</Id><Status>{status}</Status><SubmittedAt>{at}</SubmittedAt></ChangeInfo>"
    )
}

impl Book {
    fn zone(&self, account: &str, id: &str) -> Result<&Zone, ApiError> {
        let own = self.zones.get(id).filter(|zone| zone.account == account);
        own.ok_or_else(|| {
            ApiError::new(
                404,
                "NoSuchHostedZone",
                format!("No hosted zone found with ID: {id}"),
            )
        })
    }
}

impl Record {
    fn read(change: Node<'_, '_>, zone: &str) -> Result<Self, ApiError> {
        let name = absolute(&needed(change, "Name")?);
        if name != zone && !name.ends_with(&format!(".{zone}")) {
            let text = format!("RRSet with DNS name {name} is not permitted in zone {zone}");
            return Err(invalid_change(&text));
        }
        let values = change
            .descendants()
            .filter(|node| node.has_tag_name_of("Value"));
        Ok(Self {
            name,
            kind: needed(change, "Type")?,
            ttl: needed(change, "TTL")?,
            values: values
                .filter_map(|value| value.text())
                .map(str::to_owned)
                .collect(),
        })
    }

    fn write(&self, xml: &mut String) {
        let Self {
            name,
            kind,
            ttl,
            values,
        } = self;
        let name = escape_xml(name);
        // Writing to a string cannot fail.
        let _ = write!(
            xml,
            "<ResourceRecordSet><Name>{name}</Name><Type>{kind}</Type><TTL>{ttl}</TTL><ResourceRecords>"
        );
        for value in values {
            let value = escape_xml(value);
            let _ = write!(
                xml,
                "<ResourceRecord><Value>{value}</Value></ResourceRecord>"
            );
        }
        xml.push_str("</ResourceRecords></ResourceRecordSet>");
    }
}

/// Elements are known by their local names: every one is in the same namespace.
trait Named {
    fn has_tag_name_of(&self, name: &str) -> bool;
}

impl Named for Node<'_, '_> {
    fn has_tag_name_of(&self, name: &str) -> bool {
        self.tag_name().name() == name
    }
}

fn parsed(text: &str) -> Result<Document<'_>, ApiError> {
    Document::parse(text).map_err(|error| invalid(&error.to_string()))
}

fn needed(within: Node<'_, '_>, name: &str) -> Result<String, ApiError> {
    let found = within.descendants().find(|node| node.has_tag_name_of(name));
    let text = found.and_then(|node| node.text());
    text.map(str::to_owned)
        .ok_or_else(|| invalid(&format!("{name} is missing")))
}

/// With the dot at its end that Route 53 adds.
fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.').to_ascii_lowercase())
}

fn reversed(name: &str) -> String {
    let labels: Vec<&str> = name.trim_end_matches('.').rsplit('.').collect();
    labels.join(".")
}

fn invalid(text: &str) -> ApiError {
    ApiError::new(400, "InvalidInput", text)
}

fn invalid_change(text: &str) -> ApiError {
    ApiError::new(400, "InvalidChangeBatch", text)
}

fn invalid_batch(record: &Record, but: &str) -> ApiError {
    let Record { name, kind, .. } = record;
    invalid_change(&format!(
        "Tried to change resource record set [name='{name}', type='{kind}'] {but}"
    ))
}

#[async_trait]
impl Service for Route53 {
    async fn handle(&self, request: Request) -> Response {
        match self.answer(&request) {
            Ok((status, body)) => response(status, "text/xml", body),
            Err(error) => error.to_xml_response(),
        }
    }

    fn recorded_texts(&self) -> Vec<RecordedText> {
        let book = self.book();
        let records = book.zones.values().flat_map(|zone| zone.records.values());
        records
            .map(|record| {
                RecordedText::new(format!("record {}", record.name), record.values.join(" "))
            })
            .collect()
    }
}
