//! What restores cost, and how long they take.
//!
//! The cost: AWS's own part, what the pipeline adds to each, and what it costs
//! to stand there. Numbers are decimal and exact; only what is printed is rounded.
//!
//! Quantities are the caller's ([`Needs`]) or counted in the local cloud ([`measured`]);
//! prices come from a table with their sources ([`prices`]), and each can be replaced.
//! Free tiers, discounts and taxes are left out.

pub mod duration;
pub mod measured;
pub mod planned;
pub mod prices;
pub mod render;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use bigdecimal::{BigDecimal, Zero as _};
use serde_json::Value;

use self::measured::{Counts, IDLE_PASS, WHOLE_RESTORE};
use self::prices::Prices;
#[cfg(any(test, feature = "arguments"))]
use self::prices::at_least_0;

/// Hours of a month, as AWS counts them.
pub const HOURS_OF_A_MONTH: u32 = 730;

/// The reaper comes every five minutes.
const PASSES_OF_A_MONTH: u32 = HOURS_OF_A_MONTH * 12;

/// What the state machine logs of an event of its history, without the data (an upper bound).
const BYTES_OF_AN_EVENT: u32 = 1024;

/// What Lambda itself logs of an invocation: its start, its end, its report (an upper bound).
const BYTES_OF_AN_INVOCATION: u32 = 600;

const SERVERLESS: &str = "db.serverless";

/// What is to be restored, how often, and what stands around it.
#[derive(Clone, Debug)]
#[cfg_attr(any(test, feature = "arguments"), derive(clap::Args))]
pub struct Needs {
    /// The target's region; its prices are taken. Those of us-east-1, us-east-2 and eu-west-2 are known in part, those
    /// of another have to be given.
    #[cfg_attr(any(test, feature = "arguments"), arg(long))]
    pub region: String,
    /// Size of the database, in GiB.
    #[cfg_attr(any(test, feature = "arguments"), arg(long, value_name = "GIB", value_parser = at_least_0, allow_negative_numbers = true))]
    pub storage_gib: BigDecimal,
    /// Class of an instance, such as db.r6g.large; once for each instance of the target.
    #[cfg_attr(any(test, feature = "arguments"), arg(long = "instance", value_name = "CLASS", required = true, value_parser = class))]
    pub instances: Vec<String>,
    /// How long the target lives, in hours; 730 for a target that is kept.
    #[cfg_attr(any(test, feature = "arguments"), arg(long, value_parser = at_least_0, allow_negative_numbers = true))]
    pub hours: BigDecimal,
    /// Restores in a month.
    #[cfg_attr(any(test, feature = "arguments"), arg(long, default_value_t = 1))]
    pub restores_per_month: u32,
    /// Average capacity of each db.serverless instance, in ACU.
    #[cfg_attr(any(test, feature = "arguments"), arg(long, value_name = "ACU", value_parser = at_least_0, allow_negative_numbers = true))]
    pub acus: Option<BigDecimal>,
    /// The target's storage type: aurora, or aurora-iopt1, where I/O is not billed by the request.
    #[cfg_attr(any(test, feature = "arguments"), arg(long, value_enum, default_value_t = StorageType::Aurora))]
    pub storage_type: StorageType,
    /// Requests for I/O while the target lives, in millions; billed with storage type aurora only.
    #[cfg_attr(any(test, feature = "arguments"), arg(long, value_parser = at_least_0, allow_negative_numbers = true, default_value = "0"))]
    pub io_millions: BigDecimal,
    /// Size of the snapshot copy, in GiB, when a restore needs one (another region, account or key).
    #[cfg_attr(any(test, feature = "arguments"), arg(long, value_name = "GIB", value_parser = at_least_0, allow_negative_numbers = true, default_value = "0"))]
    pub copy_gib: BigDecimal,
    /// How long the copy is there, in hours: until Cleanup. As long as its deadline allows when absent.
    #[cfg_attr(any(test, feature = "arguments"), arg(long, value_parser = at_least_0, allow_negative_numbers = true, default_value = "6"))]
    pub copy_hours: BigDecimal,
    /// The copy comes from another region. The transfer is billed there: it is the price of the target's region that is
    /// taken, unless `--price transfer.region-gib=…` says otherwise.
    #[cfg_attr(any(test, feature = "arguments"), arg(long))]
    pub copy_crosses_regions: bool,
    /// The functions' architecture, as in the template.
    #[cfg_attr(any(test, feature = "arguments"), arg(long, value_enum, default_value_t = Architecture::X86_64))]
    pub architecture: Architecture,
    /// Memory of each function, in MiB, as in the template.
    #[cfg_attr(any(test, feature = "arguments"), arg(long, default_value_t = 256))]
    pub function_memory: u32,
    /// How long a call to AWS takes a function, in milliseconds. An assumption: only an account can tell.
    #[cfg_attr(any(test, feature = "arguments"), arg(long, default_value_t = 100))]
    pub call_millis: u32,
    /// Interface endpoints made for the pipeline, times the subnets they are in: 2 in each subnet with
    /// CreateVpcEndpoints, else 0.
    #[cfg_attr(any(test, feature = "arguments"), arg(long, default_value_t = 0))]
    pub interface_endpoints: u32,
    /// Alarms on the pipeline, as in the template for monitoring.
    #[cfg_attr(any(test, feature = "arguments"), arg(long, default_value_t = 0))]
    pub alarms: u32,
    /// A price to take instead of the table's, such as aurora.million-ios=0.22; `--list-prices` shows the names.
    #[cfg_attr(
        any(test, feature = "arguments"),
        arg(long = "price", value_name = "NAME=USD")
    )]
    pub prices: Vec<String>,
    /// Prices to take instead of the table's: a JSON file, {"name": "usd"}. `--price` comes after it.
    #[cfg_attr(
        any(test, feature = "arguments"),
        arg(long = "prices", value_name = "FILE")
    )]
    pub prices_file: Option<PathBuf>,
}

/// Storage types of Aurora.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "arguments"), derive(clap::ValueEnum))]
pub enum StorageType {
    /// I/O is billed by the request.
    Aurora,
    /// I/O is part of the price.
    #[cfg_attr(any(test, feature = "arguments"), value(name = "aurora-iopt1"))]
    AuroraIopt1,
}

impl StorageType {
    fn suffix(self) -> &'static str {
        match self {
            Self::Aurora => "",
            Self::AuroraIopt1 => "-iopt1",
        }
    }
}

/// Processors of Lambda.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(any(test, feature = "arguments"), derive(clap::ValueEnum))]
pub enum Architecture {
    /// Intel and AMD.
    #[cfg_attr(any(test, feature = "arguments"), value(name = "x86_64"))]
    X86_64,
    /// Graviton.
    Arm64,
}

impl Architecture {
    fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

#[cfg(any(test, feature = "arguments"))]
fn class(text: &str) -> Result<String, String> {
    if text.starts_with("db.") && text.len() > 3 && !text.contains(char::is_whitespace) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}`, expected a class such as db.r6g.large"))
    }
}

/// Who causes a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// What every restore of this kind costs at AWS, however it is done.
    Aws,
    /// What the pipeline adds to each restore.
    Pipeline,
    /// What the pipeline costs in a month in which nothing is restored.
    Standing,
}

impl Part {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Aws, Self::Pipeline, Self::Standing];

    /// As it is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Pipeline => "pipeline",
            Self::Standing => "standing",
        }
    }
}

/// One line of the bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Who causes it.
    pub part: Part,
    /// What it is.
    pub name: String,
    /// How much of it: of one restore, or of a month where it stands.
    pub quantity: BigDecimal,
    /// In what.
    pub unit: &'static str,
    /// The name of its price.
    pub price: String,
    /// The price, in US dollars.
    pub unit_price: BigDecimal,
    /// What a month costs, in US dollars.
    pub month: BigDecimal,
}

impl Item {
    /// What one restore costs, in US dollars; nothing where it stands without restores, too.
    #[must_use]
    pub fn restore(&self) -> Option<BigDecimal> {
        (self.part != Part::Standing).then(|| &self.quantity * &self.unit_price)
    }
}

/// A bill.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// The region of its prices.
    pub region: String,
    /// How many restores a month has.
    pub restores_per_month: u32,
    /// What is on it; what is not needed is not.
    pub items: Vec<Item>,
}

impl Estimate {
    /// The cost of one restore in one part.
    #[must_use]
    pub fn restore(&self, part: Part) -> BigDecimal {
        self.of(part).filter_map(Item::restore).sum()
    }

    /// The cost of a month in one part.
    #[must_use]
    pub fn month(&self, part: Part) -> BigDecimal {
        self.of(part).map(|item| item.month.clone()).sum()
    }

    /// The cost of a month.
    #[must_use]
    pub fn total(&self) -> BigDecimal {
        self.items.iter().map(|item| item.month.clone()).sum()
    }

    /// How much of the month's cost this is, in percent.
    #[must_use]
    pub fn share(&self, usd: &BigDecimal) -> BigDecimal {
        let total = self.total();
        if total.is_zero() {
            return BigDecimal::zero();
        }
        usd * BigDecimal::from(100) / total
    }

    fn of(&self, part: Part) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.part == part)
    }
}

/// Makes the bill.
///
/// # Errors
/// When a number or a price cannot be read, an average capacity is missing, or prices are: names all that are.
pub fn estimate(needs: &Needs) -> Result<Estimate> {
    let mut bill = Bill {
        prices: prices(needs)?,
        restores_per_month: needs.restores_per_month,
        items: Vec::new(),
        missing: Vec::new(),
    };
    bill.of_aws(needs)?;
    bill.of_a_restore(needs);
    bill.of_standing(needs);
    bill.close()
}

/// The table's prices of the region, with the caller's laid over them.
fn prices(needs: &Needs) -> Result<Prices> {
    let mut prices = Prices::of(&needs.region)?;
    if let Some(file) = &needs.prices_file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        give_all(&mut prices, &text).with_context(|| format!("in {}", file.display()))?;
    }
    for given in &needs.prices {
        let Some((name, usd)) = given.split_once('=') else {
            bail!(
                "--price is `{given}`, expected a name, `=` and US dollars, such as aurora.million-ios=0.22"
            );
        };
        prices.give(name, usd)?;
    }
    Ok(prices)
}

fn give_all(prices: &mut Prices, text: &str) -> Result<()> {
    let given: Value = serde_json::from_str(text).context("not JSON")?;
    let Some(given) = given.as_object() else {
        bail!("not a JSON object of names and prices");
    };
    for (name, usd) in given {
        match usd {
            Value::String(usd) => prices.give(name, usd)?,
            Value::Number(usd) => prices.give(name, &usd.to_string())?,
            other => bail!("at price `{name}`: `{other}`, expected US dollars, such as \"0.22\""),
        }
    }
    Ok(())
}

/// A bill that is being made.
struct Bill {
    prices: Prices,
    restores_per_month: u32,
    items: Vec<Item>,
    missing: Vec<String>,
}

impl Bill {
    /// Puts an item on the bill, unless there is nothing of it.
    fn add(
        &mut self,
        part: Part,
        name: impl Into<String>,
        quantity: BigDecimal,
        unit: &'static str,
        price: &str,
    ) {
        if quantity.is_zero() {
            return;
        }
        let Some(found) = self.prices.find(price) else {
            self.missing.push(price.to_owned());
            return;
        };
        let times = match part {
            Part::Standing => 1,
            Part::Aws | Part::Pipeline => self.restores_per_month,
        };
        self.items.push(Item {
            part,
            name: name.into(),
            unit,
            price: price.to_owned(),
            unit_price: found.usd.clone(),
            month: &quantity * &found.usd * BigDecimal::from(times),
            quantity,
        });
    }

    /// The target and the copy, which are there however they were made.
    fn of_aws(&mut self, needs: &Needs) -> Result<()> {
        let part = Part::Aws;
        let suffix = needs.storage_type.suffix();
        for (class, count) in counted(&needs.instances) {
            let hours = &needs.hours * BigDecimal::from(count);
            if class == SERVERLESS {
                let acus = needs.acus.as_ref().context(
                    "--acus is missing: a db.serverless instance is billed by its average capacity, such as --acus 2",
                )?;
                let price = format!("aurora.acu-hour{suffix}");
                self.add(
                    part,
                    format!("{count} x {class}"),
                    hours * acus,
                    "ACU-hour",
                    &price,
                );
            } else {
                let price = format!("aurora.instance-hour{suffix}.{class}");
                self.add(part, format!("{count} x {class}"), hours, "hour", &price);
            }
        }
        let storage = months(&needs.storage_gib * &needs.hours);
        let price = format!("aurora.storage-gib-month{suffix}");
        self.add(part, "storage", storage, "GiB-month", &price);
        if needs.storage_type == StorageType::Aurora {
            let ios = needs.io_millions.clone();
            self.add(part, "I/O", ios, "million", "aurora.million-ios");
        }
        let copy = months(&needs.copy_gib * &needs.copy_hours);
        self.add(
            part,
            "snapshot copy",
            copy,
            "GiB-month",
            "aurora.backup-gib-month",
        );
        if needs.copy_crosses_regions {
            let copy = needs.copy_gib.clone();
            self.add(
                part,
                "transfer of the copy",
                copy,
                "GiB",
                "transfer.region-gib",
            );
        }
        let secret = months(needs.hours.clone());
        let price = "secrets-manager.secret-month";
        self.add(part, "secret of the new password", secret, "month", price);
        Ok(())
    }

    fn of_a_restore(&mut self, needs: &Needs) {
        let restore = WHOLE_RESTORE;
        let one = BigDecimal::from(1);
        let part = Part::Pipeline;
        let transitions = thousandths(restore.transitions);
        self.add(
            part,
            "state transitions",
            transitions,
            "thousand",
            "step-functions.thousand-transitions",
        );
        let events = BigDecimal::from(restore.history_events * BYTES_OF_AN_EVENT);
        self.add(
            part,
            "logs of the state machine",
            gib(events),
            "GiB",
            "cloudwatch.log-gib",
        );
        self.counted(part, needs, &restore, &one);
        let metrics = months(BigDecimal::from(restore.metric_hours));
        self.add(part, "metrics", metrics, "month", "cloudwatch.metric-month");
    }

    fn of_standing(&mut self, needs: &Needs) {
        let part = Part::Standing;
        self.counted(
            part,
            needs,
            &IDLE_PASS,
            &BigDecimal::from(PASSES_OF_A_MONTH),
        );
        let metrics = BigDecimal::from(IDLE_PASS.metric_hours);
        self.add(
            part,
            "reaper: metrics",
            metrics,
            "month",
            "cloudwatch.metric-month",
        );
        let alarms = BigDecimal::from(needs.alarms);
        self.add(part, "alarms", alarms, "month", "cloudwatch.alarm-month");
        let hours =
            BigDecimal::from(needs.interface_endpoints) * BigDecimal::from(HOURS_OF_A_MONTH);
        self.add(
            part,
            "interface endpoints",
            hours,
            "hour",
            "vpc.endpoint-hour",
        );
        self.add(
            part,
            "key of logs and messages",
            BigDecimal::from(1),
            "month",
            "kms.key-month",
        );
    }

    /// What is counted of a restore, or of as many passes of the reaper.
    fn counted(&mut self, part: Part, needs: &Needs, counts: &Counts, times: &BigDecimal) {
        let whose = if part == Part::Standing {
            "reaper: "
        } else {
            ""
        };
        let name = |what: &str| format!("{whose}{what}");
        let of = |count: u32| BigDecimal::from(count) * times;
        let invocations = of(counts.invocations);
        let requests = millionths(invocations.clone());
        self.add(
            part,
            name("invocations"),
            requests,
            "million",
            "lambda.million-requests",
        );
        let traces = millionths(invocations.clone());
        self.add(
            part,
            name("traces"),
            traces,
            "million",
            "x-ray.million-traces",
        );
        let time = gib_seconds(of(counts.calls), needs);
        let price = format!("lambda.gib-second-{}", needs.architecture.name());
        self.add(part, name("time of functions"), time, "GiB-second", &price);
        let writes = millionths(of(counts.write_units));
        self.add(
            part,
            name("writes to the state table"),
            writes,
            "million",
            "dynamodb.million-write-units",
        );
        let reads = millionths(of(counts.read_units));
        self.add(
            part,
            name("reads of the state table"),
            reads,
            "million",
            "dynamodb.million-read-units",
        );
        let calls = ten_thousandths(of(counts.secret_calls));
        self.add(
            part,
            name("calls to Secrets Manager"),
            calls,
            "ten thousand",
            "secrets-manager.ten-thousand-calls",
        );
        let calls = ten_thousandths(of(counts.key_calls));
        self.add(
            part,
            name("calls to KMS"),
            calls,
            "ten thousand",
            "kms.ten-thousand-calls",
        );
        let bytes = of(counts.log_bytes) + invocations * BigDecimal::from(BYTES_OF_AN_INVOCATION);
        self.add(
            part,
            name("logs of functions"),
            gib(bytes),
            "GiB",
            "cloudwatch.log-gib",
        );
        let messages = millionths(of(counts.messages));
        self.add(
            part,
            name("messages"),
            messages,
            "million",
            "sns.million-publishes",
        );
    }

    fn close(mut self) -> Result<Estimate> {
        if !self.missing.is_empty() {
            self.missing.sort();
            self.missing.dedup();
            let flags: Vec<String> = self
                .missing
                .iter()
                .map(|name| format!("--price {name}=USD"))
                .collect();
            bail!(
                "these prices of {} are not in the table: {}. Look them up (docs/cost.md says how) and give them: {}",
                self.prices.region,
                self.missing.join(", "),
                flags.join(" ")
            );
        }
        self.items.sort_by_key(|item| item.part);
        Ok(Estimate {
            region: self.prices.region,
            restores_per_month: self.restores_per_month,
            items: self.items,
        })
    }
}

/// Each class, and how often it is there, in the order given.
fn counted(classes: &[String]) -> Vec<(&str, u32)> {
    let mut counted: Vec<(&str, u32)> = Vec::new();
    for class in classes {
        match counted.iter_mut().find(|(known, _)| known == class) {
            Some((_, count)) => *count += 1,
            None => counted.push((class, 1)),
        }
    }
    counted
}

/// Calls take as long as the caller says, in functions of this memory.
fn gib_seconds(calls: BigDecimal, needs: &Needs) -> BigDecimal {
    let gib = BigDecimal::from(needs.function_memory) / BigDecimal::from(1024);
    calls * BigDecimal::from(needs.call_millis) * gib / BigDecimal::from(1000)
}

fn months(hours: BigDecimal) -> BigDecimal {
    hours / BigDecimal::from(HOURS_OF_A_MONTH)
}

fn gib(bytes: BigDecimal) -> BigDecimal {
    bytes / BigDecimal::from(1_u32 << 30)
}

fn thousandths(count: u32) -> BigDecimal {
    BigDecimal::from(count) / BigDecimal::from(1_000)
}

fn ten_thousandths(count: BigDecimal) -> BigDecimal {
    count / BigDecimal::from(10_000)
}

fn millionths(count: BigDecimal) -> BigDecimal {
    count / BigDecimal::from(1_000_000)
}
