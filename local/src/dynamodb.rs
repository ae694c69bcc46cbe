//! DynamoDB: the embedded engine `dynoxide`, one database for every account and region.
//!
//! A global table with multi-Region strong consistency is one table that several regions
//! see: that is what its consistent reads and conditional writes amount to. What such a
//! table lacks on AWS, transactions and TTL, is refused; regions that lose each other are
//! not modelled, and neither is a read that does not ask for consistency and gets old data.
//!
//! The engine runs in memory and answers as Amazon's does, error texts included.
//! Its stream and TTL clock is the world's. It never sweeps by itself, so an item
//! past its TTL stays until [`DynamoDb::expire_items`] is called, as on AWS it may
//! stay for days: nothing vanishes because a test moved time. Table creation times
//! and the ten minutes of an idempotency token are the machine's time; nothing in
//! the pipeline looks at the first or waits out the second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use asl_interpreter::Clock;
use async_trait::async_trait;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::recorded::RecordedText;
use crate::request::{ApiError, Caller, Request, Response, response};
use crate::world::{Known, Service};

/// What the engine writes in every ARN.
const ENGINE_ARN_PREFIX: &str = "arn:aws:dynamodb:dynoxide:000000000000:";

/// The operations after which policies may see other keys or tags.
const CHANGE_TABLES: [&str; 5] = [
    "CreateTable",
    "DeleteTable",
    "UpdateTable",
    "TagResource",
    "UntagResource",
];

/// The tables of every account and region.
pub struct DynamoDb {
    clock: Arc<dyn Clock>,
    databases: Mutex<BTreeMap<(String, String), Database>>,
    /// What policies see of a table, by account, region and ARN. They ask at every call, and the engine
    /// counts a table's items to describe it; so it is kept until a table changes.
    known: Mutex<BTreeMap<(String, String, String), Known>>,
    /// Every replica of a global table, by account, region and table: the region whose database holds it.
    replicas: Mutex<BTreeMap<(String, String, String), String>>,
}

impl DynamoDb {
    /// No tables yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            databases: Mutex::default(),
            known: Mutex::default(),
            replicas: Mutex::default(),
        }
    }

    /// Deletes what is past its TTL on the world's clock, everywhere. Returns how many items went.
    ///
    /// # Errors
    /// The engine's own, none of which is expected.
    pub fn expire_items(&self) -> Result<usize, ApiError> {
        let databases = self.lock().values().cloned().collect::<Vec<_>>();
        let sweep = |database: Database| {
            database
                .sweep_ttl()
                .map_err(|error| ApiError::new(500, "InternalServerError", error.to_string()))
        };
        databases.into_iter().map(sweep).sum()
    }

    /// The region whose database holds this table of a caller's region, if it is a replica of a global table.
    fn home(&self, caller: &Caller, table: &str) -> Option<String> {
        let replicas = self.replicas.lock();
        let replicas = replicas.unwrap_or_else(PoisonError::into_inner);
        let place = (
            caller.account.clone(),
            caller.region.clone(),
            table.to_owned(),
        );
        replicas.get(&place).cloned()
    }

    /// The database that a request about this table goes to.
    fn database_of(&self, caller: &Caller, table: Option<&str>) -> Result<Database, DynoxideError> {
        match table.and_then(|table| self.home(caller, table)) {
            None => self.database(caller),
            Some(region) => self.database(&Caller {
                region,
                ..caller.clone()
            }),
        }
    }

    /// Makes a table a global one, as UpdateTable does with `ReplicaUpdates`: with strong consistency, in three
    /// Regions, of which one may be a witness, and while it is empty.
    fn replicate(&self, caller: &Caller, asked: &Value) -> Result<String, Refusal> {
        let invalid = |text: &str| Refusal::from(ApiError::new(400, "ValidationException", text));
        let table = asked["TableName"].as_str().unwrap_or_default();
        let regions = |member: &str| -> Vec<String> {
            let updates = asked[member].as_array().into_iter().flatten();
            updates
                .filter_map(|update| update["Create"]["RegionName"].as_str())
                .map(str::to_owned)
                .collect()
        };
        let (replicas, witnesses) = (
            regions("ReplicaUpdates"),
            regions("GlobalTableWitnessUpdates"),
        );
        if asked["MultiRegionConsistency"] != "STRONG" {
            return Err(invalid(
                "the local cloud has global tables with MultiRegionConsistency STRONG only",
            ));
        }
        if replicas.is_empty() || replicas.len() + witnesses.len() != 2 {
            return Err(invalid(
                "a table with multi-Region strong consistency is in three Regions, one of which may be a witness",
            ));
        }
        let database = self.database(caller)?;
        let name = json!({ "TableName": table }).to_string();
        let items = run(&database, "Scan", &name)?;
        let items: Value = serde_json::from_str(&items).unwrap_or_default();
        if items["Count"] != 0 {
            return Err(invalid("the table has items: it must be empty"));
        }
        let mut known = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        for region in replicas.into_iter().chain([caller.region.clone()]) {
            let place = (caller.account.clone(), region, table.to_owned());
            known.insert(place, caller.region.clone());
        }
        drop(known);
        let described = run(&database, "DescribeTable", &name)?;
        let described: Value = serde_json::from_str(&described).unwrap_or_default();
        Ok(json!({ "TableDescription": described["Table"] }).to_string())
    }

    /// Refuses what a global table with strong consistency does not have.
    fn permit(&self, caller: &Caller, operation: &str, asked: &Value) -> Result<(), ApiError> {
        let global = |table: &Value| {
            let table = table["TableName"].as_str();
            table.is_some_and(|table| self.home(caller, table).is_some())
        };
        let refused = match operation {
            "UpdateTimeToLive" | "DeleteTable" => global(asked),
            "TransactWriteItems" | "TransactGetItems" => {
                let items = asked["TransactItems"].as_array().into_iter().flatten();
                items
                    .filter_map(Value::as_object)
                    .flat_map(serde_json::Map::values)
                    .any(global)
            }
            _ => false,
        };
        if refused {
            let text = format!("{operation} is not possible with a multi-Region strong table");
            return Err(ApiError::new(400, "ValidationException", text));
        }
        Ok(())
    }

    fn database(&self, caller: &Caller) -> Result<Database, DynoxideError> {
        let place = (caller.account.clone(), caller.region.clone());
        let mut databases = self.lock();
        if let Some(database) = databases.get(&place) {
            return Ok(database.clone());
        }
        let database = Database::memory_with_clock(Arc::new(EngineClock(Arc::clone(&self.clock))))?;
        databases.insert(place, database.clone());
        Ok(database)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(String, String, String), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Database>> {
        self.databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request) -> Result<String, Refusal> {
        let operation = request.json_operation().unwrap_or_default();
        let body = std::str::from_utf8(&request.body)
            .map_err(|error| ApiError::new(400, "SerializationException", error.to_string()))?;
        let own_prefix = format!(
            "arn:aws:dynamodb:{}:{}:",
            request.caller.region, request.caller.account
        );
        let asked: Value = serde_json::from_str(body).unwrap_or_default();
        self.permit(&request.caller, operation, &asked)?;
        let database = self.database_of(&request.caller, asked["TableName"].as_str())?;
        let answer = if operation == "UpdateTable" && asked.get("ReplicaUpdates").is_some() {
            self.replicate(&request.caller, &asked)
        } else {
            run(
                &database,
                operation,
                &body.replace(&own_prefix, ENGINE_ARN_PREFIX),
            )
        };
        if CHANGE_TABLES.contains(&operation) {
            self.known().clear();
        }
        let answer = answer?;
        Ok(answer.replace(ENGINE_ARN_PREFIX, &own_prefix))
    }
}

#[async_trait]
impl Service for DynamoDb {
    async fn handle(&self, request: Request) -> Response {
        match self.answer(&request) {
            Ok(body) => response(200, "application/x-amz-json-1.0", body),
            Err(Refusal::Engine(error)) => response(
                error.status_code(),
                "application/x-amz-json-1.0",
                without_marker(&error.to_json()),
            ),
            Err(Refusal::Api(error)) => error.to_json_response(),
        }
    }

    /// A table or an index, by ARN.
    fn look_up(&self, caller: &Caller, name: &str) -> Option<Known> {
        let key = (
            caller.account.clone(),
            caller.region.clone(),
            name.to_owned(),
        );
        // Held until it is kept, so that what a table was before a change is never kept after it.
        let mut known = self.known();
        if let Some(found) = known.get(&key) {
            return Some(found.clone());
        }
        let table = name.split_once(":table/").map(|(_, path)| path);
        let found = describe(&self.database_of(caller, table).ok()?, name)?;
        known.insert(key, found.clone());
        Some(found)
    }

    fn recorded_texts(&self) -> Vec<RecordedText> {
        let databases = self
            .lock()
            .iter()
            .map(|(place, database)| (place.clone(), database.clone()))
            .collect::<Vec<_>>();
        let mut texts = Vec::new();
        for ((account, region), database) in databases {
            for (table, item) in every_item(&database) {
                texts.push(RecordedText::new(
                    format!("dynamodb {account}/{region} {table}"),
                    item.to_string(),
                ));
            }
        }
        texts
    }
}

/// A table or an index, by ARN, as the engine describes it.
fn describe(database: &Database, arn: &str) -> Option<Known> {
    let (_, path) = arn.split_once(":table/")?;
    let (table, index) = match path.split_once("/index/") {
        Some((table, index)) => (table, Some(index)),
        None => (path, None),
    };
    let asked = json!({ "TableName": table }).to_string();
    let described: Value =
        serde_json::from_str(&run(database, "DescribeTable", &asked).ok()?).ok()?;
    let described = &described["Table"];
    let indexes = ["GlobalSecondaryIndexes", "LocalSecondaryIndexes"]
        .into_iter()
        .filter_map(|kind| described[kind].as_array())
        .flatten();
    let keys = match index {
        None => &described["KeySchema"],
        Some(index) => &indexes.into_iter().find(|one| one["IndexName"] == index)?["KeySchema"],
    };
    let partition = keys
        .as_array()?
        .iter()
        .find(|key| key["KeyType"] == "HASH")?;
    Some(Known {
        arn: arn.to_owned(),
        tags: table_tags(database, table),
        partition_key: partition["AttributeName"].as_str().map(str::to_owned),
        ..Known::default()
    })
}

fn table_tags(database: &Database, table: &str) -> BTreeMap<String, String> {
    let asked = json!({ "ResourceArn": format!("{ENGINE_ARN_PREFIX}table/{table}") }).to_string();
    let answer = run(database, "ListTagsOfResource", &asked).unwrap_or_default();
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let tag = |tag: &Value| {
        Some((
            tag["Key"].as_str()?.to_owned(),
            tag["Value"].as_str()?.to_owned(),
        ))
    };
    answer["Tags"]
        .as_array()
        .map(|tags| tags.iter().filter_map(tag).collect())
        .unwrap_or_default()
}

enum Refusal {
    Engine(DynoxideError),
    Api(ApiError),
}

impl From<DynoxideError> for Refusal {
    fn from(error: DynoxideError) -> Self {
        Self::Engine(error)
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// The world's clock, as the engine wants it.
struct EngineClock(Arc<dyn Clock>);

impl dynoxide::storage_backend::Clock for EngineClock {
    fn now_unix_secs(&self) -> u64 {
        u64::try_from(self.0.now().unix_timestamp()).unwrap_or_default()
    }

    fn now_unix_secs_f64(&self) -> f64 {
        crate::fields::epoch_seconds(self.0.now())
    }
}

fn run(database: &Database, operation: &str, body: &str) -> Result<String, Refusal> {
    match operation {
        "CreateTable" => typed(body, |request| database.create_table(request)),
        "DeleteTable" => typed(body, |request| database.delete_table(request)),
        "DescribeTable" => typed(body, |request| database.describe_table(request)),
        "ListTables" => typed(body, |request| database.list_tables(request)),
        "UpdateTable" => typed(body, |request| database.update_table(request)),
        "PutItem" => typed(body, |request| database.put_item(request)),
        "GetItem" => typed(body, |request| database.get_item(request)),
        "DeleteItem" => typed(body, |request| database.delete_item(request)),
        "UpdateItem" => typed(body, |request| database.update_item(request)),
        "Query" => typed(body, |request| database.query(request)),
        "Scan" => typed(body, |request| database.scan(request)),
        "BatchGetItem" => typed(body, |request| database.batch_get_item(request)),
        "BatchWriteItem" => typed(body, |request| database.batch_write_item(request)),
        "TransactWriteItems" => typed(body, |request| database.transact_write_items(request)),
        "TransactGetItems" => typed(body, |request| database.transact_get_items(request)),
        "UpdateTimeToLive" => typed(body, |request| database.update_time_to_live(request)),
        "DescribeTimeToLive" => typed(body, |request| database.describe_time_to_live(request)),
        "ExecuteStatement" => typed(body, |request| database.execute_statement(request)),
        "ExecuteTransaction" => typed(body, |request| database.execute_transaction(request)),
        "BatchExecuteStatement" => typed(body, |request| database.batch_execute_statement(request)),
        "TagResource" => typed(body, |request| database.tag_resource(request)),
        "UntagResource" => typed(body, |request| database.untag_resource(request)),
        "ListTagsOfResource" => typed(body, |request| database.list_tags_of_resource(request)),
        other => Err(ApiError::unknown_operation("DynamoDB", other).into()),
    }
}

fn typed<I: DeserializeOwned, O: Serialize>(
    body: &str,
    act: impl FnOnce(I) -> Result<O, DynoxideError>,
) -> Result<String, Refusal> {
    let request = serde_json::from_str(body).map_err(|error| unreadable(&error))?;
    let answer = act(request)?;
    serde_json::to_string(&answer)
        .map_err(|error| ApiError::new(500, "InternalServerError", error.to_string()).into())
}

/// A request the engine's types do not take. Its own words come with a marker in
/// front and a position behind; the class follows from the marker as in its server.
fn unreadable(error: &serde_json::Error) -> DynoxideError {
    let text = error.to_string();
    let text = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(text, _)| text);
    if let Some(text) = text.strip_prefix("SERIALIZATION:") {
        return DynoxideError::SerializationException(text.to_owned());
    }
    let bare = text
        .strip_prefix("VALIDATION:")
        .or_else(|| text.strip_prefix("VALIDATION_REQUEST:"));
    match bare {
        Some(text) => DynoxideError::ValidationException(text.to_owned()),
        None if error.is_syntax() || error.is_eof() => {
            DynoxideError::SerializationException(text.to_owned())
        }
        None => DynoxideError::ValidationException(text.to_owned()),
    }
}

/// The class an SDK reads is the part after `#`; the part before stays, as on AWS.
fn without_marker(body: &str) -> String {
    body.replace("VALIDATION_REQUEST:", "")
        .replace("VALIDATION:", "")
}

fn every_item(database: &Database) -> Vec<(String, Value)> {
    let ask = |operation: &str, request: Value| -> Value {
        let answer = run(database, operation, &request.to_string()).unwrap_or_default();
        serde_json::from_str(&answer).unwrap_or_default()
    };
    let mut found = Vec::new();
    for table in every_page(
        &ask,
        "ListTables",
        &json!({}),
        "TableNames",
        "LastEvaluatedTableName",
        "ExclusiveStartTableName",
    ) {
        let request = json!({ "TableName": table });
        for item in every_page(
            &ask,
            "Scan",
            &request,
            "Items",
            "LastEvaluatedKey",
            "ExclusiveStartKey",
        ) {
            found.push((table.as_str().unwrap_or_default().to_owned(), item));
        }
    }
    found
}

fn every_page(
    ask: &impl Fn(&str, Value) -> Value,
    operation: &str,
    request: &Value,
    items: &str,
    last: &str,
    start: &str,
) -> Vec<Value> {
    let mut request = request.clone();
    let mut found = Vec::new();
    loop {
        let mut answer = ask(operation, request.clone());
        if let Some(Value::Array(page)) = answer.get_mut(items).map(Value::take) {
            found.extend(page);
        }
        match answer
            .get_mut(last)
            .map(Value::take)
            .filter(|last| !last.is_null())
        {
            Some(last) => request[start] = last,
            None => return found,
        }
    }
}
