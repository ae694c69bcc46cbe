//! What Aurora offers: engines, their versions, instance classes.
//!
//! A small excerpt that keeps the traps: the default version is not the newest,
//! and seldom that of the snapshot, so a restore that names no version shows.

use super::Inner;
use super::api::{Answer, Call};
use super::errors::{invalid_combination, invalid_value, not_implemented};
use super::listing;
use super::xml::Xml;
use crate::database::volume::Store;
use crate::request::ApiError;

/// An Aurora engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DbEngine {
    Postgresql,
    Mysql,
}

/// Everything the API calls engines by.
struct EngineFacts {
    name: &'static str,
    description: &'static str,
    port: u16,
    versions: &'static [&'static str],
    default_version: &'static str,
    log_types: &'static [&'static str],
    longest_password: usize,
}

const POSTGRESQL: EngineFacts = EngineFacts {
    name: "aurora-postgresql",
    description: "Amazon Aurora PostgreSQL",
    port: 5432,
    versions: &[
        "14.18", "15.10", "15.12", "15.13", "15.14", "16.8", "16.9", "17.5",
    ],
    default_version: "15.13",
    log_types: &["instance", "postgresql", "iam-db-auth-error"],
    longest_password: 99,
};

const MYSQL: EngineFacts = EngineFacts {
    name: "aurora-mysql",
    description: "Aurora MySQL",
    port: 3306,
    versions: &[
        "8.0.mysql_aurora.3.08.2",
        "8.0.mysql_aurora.3.09.0",
        "8.0.mysql_aurora.3.10.0",
        "8.0.mysql_aurora.3.10.1",
    ],
    default_version: "8.0.mysql_aurora.3.10.0",
    log_types: &[
        "audit",
        "error",
        "general",
        "instance",
        "slowquery",
        "iam-db-auth-error",
    ],
    longest_password: 41,
};

const ENGINES: [DbEngine; 2] = [DbEngine::Postgresql, DbEngine::Mysql];

/// Instance classes on offer, for every engine and version alike.
const CLASSES: [&str; 12] = [
    "db.serverless",
    "db.t3.medium",
    "db.t4g.medium",
    "db.t4g.large",
    "db.r5.large",
    "db.r6g.large",
    "db.r6g.xlarge",
    "db.r6g.2xlarge",
    "db.r7g.large",
    "db.r7g.xlarge",
    "db.r7g.2xlarge",
    "db.r8g.large",
];

/// Storage types, each of which goes with every class ("Storage configurations for Amazon Aurora DB clusters").
const STORAGE_TYPES: [&str; 2] = ["aurora", "aurora-iopt1"];

/// The class of Aurora Serverless v2.
pub(super) const SERVERLESS: &str = "db.serverless";

impl DbEngine {
    pub(super) fn named(name: &str) -> Result<Self, ApiError> {
        ENGINES
            .into_iter()
            .find(|engine| engine.name() == name)
            .ok_or_else(|| invalid_value(format!("Invalid DB engine: {name}")))
    }

    fn facts(self) -> &'static EngineFacts {
        match self {
            Self::Postgresql => &POSTGRESQL,
            Self::Mysql => &MYSQL,
        }
    }

    pub(super) fn name(self) -> &'static str {
        self.facts().name
    }

    pub(super) fn port(self) -> u16 {
        self.facts().port
    }

    pub(super) fn default_version(self) -> &'static str {
        self.facts().default_version
    }

    pub(super) fn longest_password(self) -> usize {
        self.facts().longest_password
    }

    /// A version that exists, or the region's default.
    pub(super) fn version(self, wanted: Option<&str>) -> Result<String, ApiError> {
        let Some(wanted) = wanted else {
            return Ok(self.default_version().to_owned());
        };
        if self.facts().versions.contains(&wanted) {
            return Ok(wanted.to_owned());
        }
        // A major version alone means its newest minor one.
        self.facts()
            .versions
            .iter()
            .rfind(|version| self.major(version) == wanted)
            .map(|version| (*version).to_owned())
            .ok_or_else(|| {
                invalid_combination(format!("Cannot find version {wanted} for {}", self.name()))
            })
    }

    /// The family of parameter groups that fits a version: `aurora-postgresql15`, `aurora-mysql8.0`.
    pub(super) fn family(self, version: &str) -> String {
        format!("{}{}", self.name(), self.major(version))
    }

    /// The part of a version that a family of parameter groups is for: `15` of `15.13`, `8.0` of
    /// `8.0.mysql_aurora.3.10.0`.
    pub(super) fn major(self, version: &str) -> &str {
        let numbers = match self {
            Self::Postgresql => 1,
            Self::Mysql => 2,
        };
        let end = version.match_indices('.').nth(numbers - 1);
        end.map_or(version, |(end, _)| &version[..end])
    }

    /// What RDS says of its licence.
    pub(super) fn license(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql-license",
            Self::Mysql => "general-public-license",
        }
    }

    pub(super) fn check_log_types(self, wanted: &[String]) -> Result<(), ApiError> {
        match wanted
            .iter()
            .find(|wanted| !self.facts().log_types.contains(&wanted.as_str()))
        {
            Some(wrong) => Err(invalid_combination(format!(
                "You cannot use the log types '{wrong}' with engine version {}",
                self.name()
            ))),
            None => Ok(()),
        }
    }
}

impl Inner {
    /// Where this engine's data is kept; none in a world without data.
    pub(super) fn store(&self, engine: DbEngine) -> Result<Option<Store>, ApiError> {
        match (self.settings.data, engine) {
            (super::Data::Metadata, _) => Ok(None),
            (super::Data::Real, DbEngine::Postgresql) => Ok(self.postgres.clone()),
            (super::Data::Real, DbEngine::Mysql) => self
                .mariadb()
                .map_err(|error| not_implemented(&format!("aurora-mysql with data ({error})"))),
        }
    }
}

/// A version's numbers, to compare by.
pub(super) fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// Refuses a class that is not on offer.
pub(super) fn check_class(class: &str, engine: DbEngine, version: &str) -> Result<(), ApiError> {
    if CLASSES.contains(&class) {
        return Ok(());
    }
    Err(invalid_combination(format!(
        "RDS does not support creating a DB instance with the following combination: DBInstanceClass={class}, Engine={}, \
         EngineVersion={version}, LicenseModel=general-public-license. For supported combinations of instance class and database \
         engine version, see the documentation.",
        engine.name()
    )))
}

pub(super) fn describe_versions(_: &Inner, call: &Call) -> Answer {
    let form = &call.form;
    let default_only = form.flag("DefaultOnly")?.unwrap_or(false);
    let mut found = Vec::new();
    for engine in ENGINES
        .into_iter()
        .filter(|engine| form.text("Engine").is_none_or(|name| name == engine.name()))
    {
        for (number, version) in engine.facts().versions.iter().enumerate() {
            let wanted = form
                .text("EngineVersion")
                .is_none_or(|wanted| *version == wanted || engine.major(version) == wanted)
                && form
                    .text("DBParameterGroupFamily")
                    .is_none_or(|family| family == engine.family(version))
                && (!default_only || *version == engine.default_version());
            if wanted {
                found.push((format!("{}-{number:03}", engine.name()), (engine, *version)));
            }
        }
    }
    let page = listing::page(form, found)?;
    Ok(Xml::of(|xml| {
        xml.some("Marker", page.marker).list(
            "DBEngineVersions",
            "DBEngineVersion",
            page.items,
            |xml, (engine, version)| {
                write_version(xml, engine, version);
            },
        );
    }))
}

fn write_version(xml: &mut Xml, engine: DbEngine, version: &str) {
    let facts = engine.facts();
    let newer = facts
        .versions
        .iter()
        .filter(|other| numbers(other) > numbers(version));
    xml.text("Engine", engine.name())
        .text("MajorEngineVersion", engine.major(version))
        .text("EngineVersion", version)
        .text("DBParameterGroupFamily", engine.family(version))
        .text("DBEngineDescription", facts.description)
        .text(
            "DBEngineVersionDescription",
            format!("{} ({version})", facts.description),
        )
        .list(
            "ValidUpgradeTarget",
            "UpgradeTarget",
            newer,
            |xml, target| {
                xml.text("Engine", engine.name())
                    .text("EngineVersion", target)
                    .text("AutoUpgrade", false)
                    .text(
                        "IsMajorVersionUpgrade",
                        engine.major(target) != engine.major(version),
                    );
            },
        )
        .strings("ExportableLogTypes", "member", facts.log_types)
        .text("SupportsLogExportsToCloudwatchLogs", true)
        .text("SupportsReadReplica", false)
        .strings("SupportedEngineModes", "member", ["provisioned"])
        .text("Status", "available")
        .within("ServerlessV2FeaturesSupport", |xml| {
            xml.text("MinCapacity", 0).text("MaxCapacity", 256);
        });
}

pub(super) fn describe_orderable(_: &Inner, call: &Call) -> Answer {
    let form = &call.form;
    let engine = DbEngine::named(form.required("Engine")?)?;
    let mut found = Vec::new();
    for version in engine.facts().versions.iter().filter(|version| {
        form.text("EngineVersion")
            .is_none_or(|wanted| **version == wanted)
    }) {
        for class in CLASSES.iter().filter(|class| {
            form.text("DBInstanceClass")
                .is_none_or(|wanted| **class == wanted)
        }) {
            for storage in STORAGE_TYPES {
                let key = format!("{version} {class} {storage}");
                found.push((key, (*version, *class, storage)));
            }
        }
    }
    let page = listing::page(form, found)?;
    let region = &call.place.region;
    Ok(Xml::of(|xml| {
        xml.list(
            "OrderableDBInstanceOptions",
            "OrderableDBInstanceOption",
            page.items,
            |xml, (version, class, storage)| {
                xml.text("Engine", engine.name())
                    .text("EngineVersion", version)
                    .text("DBInstanceClass", class)
                    .text("LicenseModel", engine.license())
                    .list(
                        "AvailabilityZones",
                        "AvailabilityZone",
                        ["a", "b", "c"],
                        |xml, zone| {
                            xml.text("Name", format!("{region}{zone}"));
                        },
                    )
                    .text("MultiAZCapable", false)
                    .text("ReadReplicaCapable", false)
                    .text("Vpc", true)
                    .text("SupportsStorageEncryption", true)
                    .text("StorageType", storage)
                    .text("SupportsIops", false)
                    .text("SupportsEnhancedMonitoring", true)
                    .text("SupportsIAMDatabaseAuthentication", true)
                    .text("SupportsPerformanceInsights", true)
                    .strings("SupportedEngineModes", "member", ["provisioned"])
                    .text("SupportsClusters", true);
            },
        )
        .some("Marker", page.marker);
    }))
}
