//! A bill as a table, and as JSON.

use bigdecimal::{BigDecimal, RoundingMode};
use serde_json::{Value, json};

use super::prices::Prices;
use super::{Estimate, Item, Part};

/// Decimals that are shown of quantities and of US dollars: a millionth.
const DECIMALS: i64 = 6;

/// Decimals of what does not come out even, such as months, in JSON.
const DECIMALS_OF_JSON: i64 = 12;

/// Renders the bill for reading.
#[must_use]
pub fn table(estimate: &Estimate) -> String {
    let header = [
        "item",
        "quantity",
        "unit",
        "unit price",
        "one restore",
        "a month",
        "share",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    for part in Part::ALL {
        rows.extend(estimate.of(part).map(|item| row(estimate, item)));
        rows.push(sum(estimate, part));
    }
    rows.push(total(estimate));
    let mut lines = aligned(&rows);
    lines.push(String::new());
    lines.push(verdict(estimate));
    lines.join("\n")
}

/// Renders the prices of a region as rows of a Markdown table.
#[must_use]
pub fn prices(prices: &Prices) -> String {
    let mut lines = vec![
        format!("| {} | USD | from | date |", prices.region),
        "|---|---|---|---|".to_owned(),
    ];
    lines.extend(prices.iter().map(|(name, price)| {
        format!(
            "| `{name}` | {} | {} | {} |",
            price.usd.to_plain_string(),
            price.from,
            price.date
        )
    }));
    lines.join("\n")
}

/// The bill as JSON. Numbers of money and quantities are strings with at most twelve
/// decimals.
#[must_use]
pub fn json(estimate: &Estimate) -> Value {
    let items: Vec<Value> = estimate
        .items
        .iter()
        .map(|item| {
            json!({
                "part": item.part.name(),
                "item": item.name,
                "quantity": precise(&item.quantity),
                "unit": item.unit,
                "price": item.price,
                "unitPrice": precise(&item.unit_price),
                "oneRestore": item.restore().map(|usd| precise(&usd)),
                "month": precise(&item.month),
                "sharePercent": percent(&estimate.share(&item.month)),
            })
        })
        .collect();
    let of = |part: Part| json!({"oneRestore": precise(&estimate.restore(part)), "month": precise(&estimate.month(part))});
    json!({
        "region": estimate.region,
        "currency": "USD",
        "restoresPerMonth": estimate.restores_per_month,
        "items": items,
        "totals": {
            "aws": of(Part::Aws),
            "pipeline": of(Part::Pipeline),
            "standing": {"month": precise(&estimate.month(Part::Standing))},
            "month": precise(&estimate.total()),
        },
    })
}

fn row(estimate: &Estimate, item: &Item) -> [String; 7] {
    [
        item.name.clone(),
        rounded(&item.quantity),
        item.unit.to_owned(),
        // A price is shown as it is: some have ten decimals.
        exact(&item.unit_price),
        item.restore().map(|usd| rounded(&usd)).unwrap_or_default(),
        rounded(&item.month),
        share(estimate, &item.month),
    ]
}

fn sum(estimate: &Estimate, part: Part) -> [String; 7] {
    let (name, restore) = match part {
        Part::Aws => ("AWS's own part", rounded(&estimate.restore(part))),
        Part::Pipeline => ("the pipeline adds", rounded(&estimate.restore(part))),
        Part::Standing => ("the pipeline stands", String::new()),
    };
    let month = estimate.month(part);
    line(name, restore, rounded(&month), share(estimate, &month))
}

fn total(estimate: &Estimate) -> [String; 7] {
    let restore = estimate.restore(Part::Aws) + estimate.restore(Part::Pipeline);
    let total = estimate.total();
    line(
        "total",
        rounded(&restore),
        rounded(&total),
        share(estimate, &total),
    )
}

fn line(name: &str, restore: String, month: String, share: String) -> [String; 7] {
    let empty = String::new;
    [
        format!("= {name}"),
        empty(),
        empty(),
        empty(),
        restore,
        month,
        share,
    ]
}

/// What the pipeline adds, compared with what AWS costs anyway.
fn verdict(estimate: &Estimate) -> String {
    let pipeline = estimate.month(Part::Pipeline) + estimate.month(Part::Standing);
    format!(
        "USD, {}, {} restores a month. The pipeline: {} of {} a month ({}).",
        estimate.region,
        estimate.restores_per_month,
        rounded(&pipeline),
        rounded(&estimate.total()),
        share(estimate, &pipeline)
    )
}

/// Names to the left, units to the left, numbers to the right.
fn aligned(rows: &[[String; 7]]) -> Vec<String> {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    rows.iter()
        .map(|row| {
            let cells = row
                .iter()
                .zip(widths)
                .enumerate()
                .map(|(column, (cell, width))| match column {
                    0 | 2 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

fn share(estimate: &Estimate, usd: &BigDecimal) -> String {
    format!("{} %", percent(&estimate.share(usd)))
}

fn percent(share: &BigDecimal) -> String {
    share
        .with_scale_round(2, RoundingMode::HalfUp)
        .to_plain_string()
}

/// To the millionth, without zeros at the end but those of cents.
fn rounded(value: &BigDecimal) -> String {
    exact(&value.with_scale_round(DECIMALS, RoundingMode::HalfUp))
}

/// US dollars for people.
#[must_use]
pub fn usd(value: &BigDecimal) -> String {
    rounded(value)
}

/// As much of it as JSON tells.
fn precise(value: &BigDecimal) -> String {
    exact(&value.with_scale_round(DECIMALS_OF_JSON, RoundingMode::HalfUp))
}

/// All digits; whole numbers as such, fractions with two at least.
fn exact(value: &BigDecimal) -> String {
    let normal = value.normalized();
    let decimals = normal.fractional_digit_count().max(0);
    match decimals {
        0 => normal.to_plain_string(),
        1 => normal.with_scale(2).to_plain_string(),
        _ => normal.to_plain_string(),
    }
}
