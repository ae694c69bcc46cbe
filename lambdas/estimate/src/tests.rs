//! Bills that were added up by hand, and what is said of input that cannot be reckoned with.

use std::str::FromStr as _;

use bigdecimal::BigDecimal;
use clap::Parser;

use super::measured::{IDLE_PASS, WHOLE_RESTORE};
use super::prices::{self, Prices};
use super::{Estimate, Needs, Part, estimate, render};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    needs: Needs,
}

/// Two instances with half a TiB for a working day, thirty times.
const NIGHTLY: &str = "--region us-east-1 --storage-gib 512 --instance db.r6g.large --instance db.r6g.large \
                       --hours 10 --restores-per-month 30";

fn parse(line: &str) -> Result<Needs, String> {
    let words = std::iter::once("cost").chain(line.split_whitespace());
    Line::try_parse_from(words)
        .map(|line| line.needs)
        .map_err(|error| error.to_string())
}

fn bill(line: &str) -> Estimate {
    estimate(&parse(line).unwrap()).unwrap()
}

fn refused(line: &str) -> String {
    match parse(line) {
        Ok(needs) => format!("{:#}", estimate(&needs).unwrap_err()),
        Err(error) => error,
    }
}

fn usd(text: &str) -> BigDecimal {
    BigDecimal::from_str(text).unwrap()
}

/// To the millionth of a dollar, which is what is printed.
fn micro(value: &BigDecimal) -> BigDecimal {
    value.with_scale_round(6, bigdecimal::RoundingMode::HalfUp)
}

fn restore_of(estimate: &Estimate, name: &str) -> BigDecimal {
    let item = estimate.items.iter().find(|item| item.name == name);
    micro(
        &item
            .unwrap_or_else(|| panic!("{name}: {estimate:#?}"))
            .restore()
            .unwrap(),
    )
}

fn month_of(estimate: &Estimate, name: &str) -> BigDecimal {
    let item = estimate.items.iter().find(|item| item.name == name);
    micro(
        &item
            .unwrap_or_else(|| panic!("{name}: {estimate:#?}"))
            .month,
    )
}

#[test]
fn the_target_costs_its_instances_storage_and_secret_for_its_hours() {
    let bill = bill(NIGHTLY);
    assert_eq!(restore_of(&bill, "2 x db.r6g.large"), usd("5.20")); // 2 x 10 h x 0.26
    assert_eq!(restore_of(&bill, "storage"), usd("0.701370")); // 512 x 10 / 730 x 0.10
    assert_eq!(
        restore_of(&bill, "secret of the new password"),
        usd("0.005479")
    ); // 10 / 730 x 0.40
    assert_eq!(micro(&bill.restore(Part::Aws)), usd("5.906849"));
    assert_eq!(micro(&bill.month(Part::Aws)), usd("177.205479")); // 30 of them
}

#[test]
fn the_pipeline_adds_what_is_counted_of_a_restore() {
    let bill = bill(NIGHTLY);
    assert_eq!(WHOLE_RESTORE.transitions, 40);
    assert_eq!(restore_of(&bill, "state transitions"), usd("0.001")); // 40 / 1,000 x 0.025
    assert_eq!(WHOLE_RESTORE.invocations, 43);
    assert_eq!(restore_of(&bill, "invocations"), usd("0.000009")); // 43 / 1,000,000 x 0.20
    assert_eq!(WHOLE_RESTORE.calls, 430);
    assert_eq!(restore_of(&bill, "time of functions"), usd("0.000179")); // 430 x 0.1 s x 0.25 GiB x 0.0000166667
    assert_eq!(WHOLE_RESTORE.write_units, 185);
    assert_eq!(
        restore_of(&bill, "writes to the state table"),
        usd("0.000116")
    ); // 185 / 1,000,000 x 0.625
    assert_eq!(WHOLE_RESTORE.metric_hours, 40);
    assert_eq!(restore_of(&bill, "metrics"), usd("0.016438")); // 40 / 730 x 0.30
    assert!(bill.restore(Part::Pipeline) < usd("0.02"));
}

#[test]
fn the_pipeline_stands_for_its_reaper_key_alarms_and_endpoints() {
    let bill = bill(&format!("{NIGHTLY} --alarms 8 --interface-endpoints 4"));
    assert_eq!(month_of(&bill, "reaper: invocations"), usd("0.001752")); // 8,760 / 1,000,000 x 0.20
    let metrics = usd("0.30") * BigDecimal::from(IDLE_PASS.metric_hours);
    assert_eq!(month_of(&bill, "reaper: metrics"), micro(&metrics));
    assert_eq!(month_of(&bill, "key of logs and messages"), usd("1"));
    assert_eq!(month_of(&bill, "alarms"), usd("0.80")); // 8 x 0.10
    assert_eq!(month_of(&bill, "interface endpoints"), usd("29.20")); // 4 x 730 x 0.01
    assert!(
        bill.items
            .iter()
            .filter(|item| item.part == Part::Standing)
            .all(|item| item.restore().is_none())
    );
}

#[test]
fn a_copy_costs_its_storage_until_cleanup_and_its_way_between_regions() {
    let near = bill(&format!("{NIGHTLY} --copy-gib 512"));
    assert_eq!(restore_of(&near, "snapshot copy"), usd("0.088373")); // 512 x 6 / 730 x 0.021
    assert!(
        !near
            .items
            .iter()
            .any(|item| item.name == "transfer of the copy")
    );
    let far = bill(&format!(
        "{NIGHTLY} --copy-gib 512 --copy-crosses-regions --copy-hours 1"
    ));
    assert_eq!(restore_of(&far, "snapshot copy"), usd("0.014729")); // 512 / 730 x 0.021
    assert_eq!(restore_of(&far, "transfer of the copy"), usd("10.24")); // 512 x 0.02
}

#[test]
fn io_is_billed_by_the_request_unless_it_is_part_of_the_price() {
    let standard = bill(&format!("{NIGHTLY} --io-millions 2.5"));
    assert_eq!(restore_of(&standard, "I/O"), usd("0.50"));
    let optimized = bill(&format!(
        "{NIGHTLY} --io-millions 2.5 --storage-type aurora-iopt1"
    ));
    assert!(!optimized.items.iter().any(|item| item.name == "I/O"));
    assert_eq!(restore_of(&optimized, "2 x db.r6g.large"), usd("6.76")); // 2 x 10 h x 0.338
    assert_eq!(restore_of(&optimized, "storage"), usd("1.578082")); // 512 x 10 / 730 x 0.225
}

#[test]
fn a_serverless_instance_costs_its_average_capacity() {
    let line = "--region us-east-1 --storage-gib 10 --instance db.serverless --instance db.r6g.large --hours 4";
    let bill = bill(&format!("{line} --acus 2.5"));
    assert_eq!(restore_of(&bill, "1 x db.serverless"), usd("1.20")); // 4 h x 2.5 ACU x 0.12
    assert_eq!(restore_of(&bill, "1 x db.r6g.large"), usd("1.04"));
    assert!(
        refused(line).contains("--acus is missing"),
        "{}",
        refused(line)
    );
}

#[test]
fn parts_add_up_to_the_whole_and_shares_to_a_hundred() {
    let bill = bill(NIGHTLY);
    let parts: BigDecimal = Part::ALL.iter().map(|part| bill.month(*part)).sum();
    assert_eq!(parts, bill.total());
    let shares: BigDecimal = bill.items.iter().map(|item| bill.share(&item.month)).sum();
    assert_eq!(micro(&shares), usd("100"));
}

#[test]
fn sums_are_exact_where_binary_fractions_are_not() {
    let line = "--region us-east-1 --storage-gib 0 --instance db.r6g.large --hours 0.1 --restores-per-month 3 \
                --price aurora.instance-hour.db.r6g.large=1";
    let item = bill(line).items.remove(0);
    assert_eq!(item.month, usd("0.3"));
}

#[test]
fn a_price_is_replaced_by_a_file_and_by_a_flag_which_comes_last() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let given = r#"{"aurora.storage-gib-month": "0.2", "aurora.instance-hour.db.r6g.large": 3}"#;
    std::fs::write(file.path(), given).unwrap();
    let line = format!("{NIGHTLY} --prices {}", file.path().display());
    let from_file = bill(&format!(
        "{line} --price aurora.instance-hour.db.r6g.large=4"
    ));
    assert_eq!(restore_of(&from_file, "storage"), usd("1.402740"));
    assert_eq!(restore_of(&from_file, "2 x db.r6g.large"), usd("80"));
}

#[test]
fn prices_that_are_not_known_are_asked_for_all_at_once() {
    let said = refused("--region mx-central-1 --storage-gib 1 --instance db.r9g.large --hours 1");
    assert!(
        said.contains("these prices of mx-central-1 are not in the table"),
        "{said}"
    );
    assert!(
        said.contains("--price aurora.instance-hour.db.r9g.large=USD"),
        "{said}"
    );
    assert!(
        said.contains("--price dynamodb.million-read-units=USD"),
        "{said}"
    );
    assert!(
        !said.contains("kms.key-month"),
        "the same everywhere: {said}"
    );
}

#[test]
fn input_that_cannot_be_reckoned_with_is_named_with_what_was_expected() {
    let with = |flag: &str| refused(&format!("{NIGHTLY} {flag}"));
    for (flag, expected) in [
        ("--io-millions -1", "`-1`, expected a number of at least 0"),
        (
            "--copy-gib 1e999999999",
            "`1e999999999`, expected a number of at least 0",
        ),
        ("--copy-gib many", "`many`, expected a number of at least 0"),
        (
            "--instance r6g.large",
            "`r6g.large`, expected a class such as db.r6g.large",
        ),
        ("--price storage=1", "`storage` is not the name of a price"),
        (
            "--price kms.key-month",
            "--price is `kms.key-month`, expected a name, `=` and US dollars",
        ),
        (
            "--price kms.key-month=-1",
            "at price `kms.key-month`: `-1`, expected a number of at least 0",
        ),
        (
            "--prices /nowhere/prices.json",
            "cannot read /nowhere/prices.json",
        ),
    ] {
        let said = with(flag);
        assert!(said.contains(expected), "{flag}: {said}");
    }
}

#[test]
fn every_price_says_where_it_is_from_and_of_which_day() {
    for region in prices::regions().unwrap() {
        for (name, price) in Prices::of(&region).unwrap().iter() {
            assert!(!price.from.is_empty(), "{region} {name}");
            let format = time::macros::format_description!("[year]-[month]-[day]");
            assert!(
                time::Date::parse(&price.date, &format).is_ok(),
                "{region} {name}: {}",
                price.date
            );
        }
    }
}

#[test]
fn the_page_on_cost_shows_the_table_of_prices_as_it_is() {
    let page = include_str!("../../../docs/cost.md");
    for region in prices::regions().unwrap() {
        let rows = render::prices(&Prices::of(&region).unwrap());
        assert!(
            page.contains(&rows),
            "docs/cost.md lacks what `aurora-restore cost --list-prices` prints of {region}"
        );
    }
}

#[test]
fn the_page_on_cost_shows_a_real_bill() {
    let page = include_str!("../../../docs/cost.md");
    let (_, after) = page.split_once("$ aurora-restore cost ").unwrap();
    let (command, rest) = after.split_once("\nitem").unwrap();
    let (shown, _) = rest.split_once("\n```").unwrap();
    assert_eq!(
        format!("item{shown}"),
        render::table(&bill(&command.replace('\\', " ")))
    );
}

#[test]
fn the_bill_as_json_has_the_numbers_of_the_table() {
    let json = render::json(&bill(NIGHTLY));
    assert_eq!(json["items"][0]["oneRestore"], "5.20");
    assert_eq!(json["items"][0]["month"], "156");
    assert_eq!(json["items"][0]["sharePercent"], "86.19");
    assert_eq!(
        json["totals"]["standing"]["oneRestore"],
        serde_json::Value::Null
    );
}
