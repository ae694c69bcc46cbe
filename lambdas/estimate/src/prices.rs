//! What AWS charges: a table of a few regions, and what the caller knows better.
//!
//! The table (`prices.json`) says for each price where it is from and of which day. Prices
//! change, and a price that is not in it is asked for, never guessed.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use anyhow::{Context as _, Result, bail};
use bigdecimal::BigDecimal;
use serde::Deserialize;

const TABLE: &str = include_str!("prices.json");

/// Where prices are kept that are the same in all regions.
const ANY_REGION: &str = "any";

/// What the caller's own prices are said to be from.
const GIVEN: &str = "given";

/// The price of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// In US dollars.
    pub usd: BigDecimal,
    /// Service and usage type in AWS' price list, or the page it stands on.
    pub from: String,
    /// The day it was in force (year-month-day).
    pub date: String,
}

#[derive(Deserialize)]
struct Row {
    usd: String,
    from: String,
    date: String,
}

/// The prices of one region, by name.
#[derive(Clone, Debug)]
pub struct Prices {
    /// The region they are of.
    pub region: String,
    by_name: BTreeMap<String, Price>,
}

impl Prices {
    /// The table's prices of a region; none for a region that is not in the table.
    ///
    /// # Errors
    /// When the table is broken, which a test excludes.
    pub fn of(region: &str) -> Result<Self> {
        let mut table = table()?;
        let mut by_name = table.remove(ANY_REGION).unwrap_or_default();
        by_name.extend(table.remove(region).unwrap_or_default());
        Ok(Self {
            region: region.to_owned(),
            by_name,
        })
    }

    /// Whether the table has prices of this region.
    ///
    /// # Errors
    /// As [`Prices::of`].
    pub fn has(region: &str) -> Result<bool> {
        Ok(table()?.contains_key(region))
    }

    /// Replaces a price, or adds one: `aurora.million-ios=0.22`.
    ///
    /// # Errors
    /// When the text is not a name, `=`, and a number of at least 0, or no price has that name.
    pub fn give(&mut self, name: &str, usd: &str) -> Result<()> {
        if !is_a_name(name)? {
            bail!(
                "`{name}` is not the name of a price: `aurora-restore cost --list-prices` shows all, and \
                 `aurora.instance-hour.` takes the class of an instance"
            );
        }
        let price = Price {
            usd: usd_of(usd).with_context(|| format!("at price `{name}`"))?,
            from: GIVEN.to_owned(),
            date: String::new(),
        };
        self.by_name.insert(name.to_owned(), price);
        Ok(())
    }

    /// The price of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Price> {
        self.by_name.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Price)> {
        self.by_name
            .iter()
            .map(|(name, price)| (name.as_str(), price))
    }
}

/// The regions of the table.
///
/// # Errors
/// When the table is broken, which a test excludes.
pub fn regions() -> Result<Vec<String>> {
    let mut regions: Vec<String> = table()?.into_keys().collect();
    regions.retain(|region| region != ANY_REGION);
    Ok(regions)
}

fn table() -> Result<BTreeMap<String, BTreeMap<String, Price>>> {
    let rows: BTreeMap<String, BTreeMap<String, Row>> =
        serde_json::from_str(TABLE).context("the table of prices is broken")?;
    let mut table = BTreeMap::new();
    for (region, rows) in rows {
        let mut prices = BTreeMap::new();
        for (name, row) in rows {
            let price = Price {
                usd: usd_of(&row.usd).with_context(|| format!("at price `{name}` of {region}"))?,
                from: row.from,
                date: row.date,
            };
            prices.insert(name, price);
        }
        table.insert(region, prices);
    }
    Ok(table)
}

/// Whether a price of some region has this name; every class of instance has one.
fn is_a_name(name: &str) -> Result<bool> {
    let of_a_class = ["aurora.instance-hour.db.", "aurora.instance-hour-iopt1.db."];
    let has_class = of_a_class.iter().any(|prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|class| !class.is_empty())
    });
    Ok(has_class || table()?.values().any(|prices| prices.contains_key(name)))
}

fn usd_of(text: &str) -> Result<BigDecimal> {
    at_least_0(text).map_err(anyhow::Error::msg)
}

/// Reads a number that is not negative, exactly as it is written.
///
/// # Errors
/// Says what was found and what was expected.
pub fn at_least_0(text: &str) -> Result<BigDecimal, String> {
    // An exponent of millions would be a number of millions of digits.
    let plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    BigDecimal::from_str(text)
        .ok()
        .filter(|_| plain && text.len() <= 24)
        .ok_or_else(|| format!("`{text}`, expected a number of at least 0, such as 12 or 0.25"))
}
