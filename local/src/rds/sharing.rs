//! Sharing snapshots with other accounts.

use super::api::{Answer, Call};
use super::snapshot::{Snapshot, SnapshotType};
use super::xml::Xml;
use super::{Inner, errors, names};
use crate::request::ApiError;

/// The one attribute there is: who may restore, and so copy, a snapshot.
const RESTORE: &str = "restore";

pub(super) fn modify(rds: &Inner, call: &Call) -> Answer {
    let form = &call.form;
    let attribute = form.required("AttributeName")?;
    if attribute != RESTORE {
        return Err(errors::invalid_value(format!(
            "Invalid value for AttributeName: {attribute}"
        )));
    }
    let added = form.list("ValuesToAdd").unwrap_or_default();
    let removed = form.list("ValuesToRemove").unwrap_or_default();
    if let Some(wrong) = added.iter().find(|value| !is_account(value)) {
        return Err(errors::invalid_value(format!(
            "Invalid account id: {wrong}"
        )));
    }
    rds.edit(|book| {
        let (place, id) = names::locate(
            &call.place,
            "cluster-snapshot",
            form.required("DBClusterSnapshotIdentifier")?,
        )?;
        let snapshot = book.snapshot_mut(&place, &id)?;
        own(snapshot, call)?;
        if !added.is_empty() {
            check_shareable(snapshot, &added)?;
        }
        let mut shared_with = snapshot.shared_with.clone();
        shared_with.extend(added);
        shared_with.retain(|account| !removed.contains(account));
        if shared_with.len() > rds.settings.quotas.accounts_per_snapshot {
            return Err(errors::sharing_quota());
        }
        snapshot.shared_with = shared_with;
        Ok(write(snapshot))
    })
}

pub(super) fn describe(rds: &Inner, call: &Call) -> Answer {
    rds.read(|book| {
        let (place, id) = names::locate(
            &call.place,
            "cluster-snapshot",
            call.form.required("DBClusterSnapshotIdentifier")?,
        )?;
        let snapshot = book.snapshot(&place, &id)?;
        own(snapshot, call)?;
        Ok(write(snapshot))
    })
}

fn own(snapshot: &Snapshot, call: &Call) -> Result<(), ApiError> {
    if snapshot.place == call.place {
        Ok(())
    } else {
        Err(errors::snapshot_not_found(&snapshot.id))
    }
}

fn check_shareable(snapshot: &Snapshot, with: &[String]) -> Result<(), ApiError> {
    if snapshot.kind != SnapshotType::Manual {
        return Err(errors::snapshot_state(
            "Automated snapshots cannot be shared: copy the snapshot and share the copy",
        ));
    }
    if !snapshot.status.is("available") {
        return Err(errors::snapshot_state(format!(
            "The snapshot {} is not in available state",
            snapshot.id
        )));
    }
    match snapshot.encryption.key() {
        Some(key) if key.aws_managed => Err(errors::invalid_combination(
            "Sharing snapshots encrypted with the default service key for RDS is currently not supported",
        )),
        Some(_) if with.iter().any(|account| account == "all") => Err(errors::invalid_combination(
            "Encrypted snapshots cannot be made public",
        )),
        _ => Ok(()),
    }
}

fn is_account(text: &str) -> bool {
    text == "all" || (text.len() == 12 && text.chars().all(|digit| digit.is_ascii_digit()))
}

fn write(snapshot: &Snapshot) -> Xml {
    Xml::of(|xml| {
        xml.within("DBClusterSnapshotAttributesResult", |xml| {
            xml.text("DBClusterSnapshotIdentifier", &snapshot.id).list(
                "DBClusterSnapshotAttributes",
                "DBClusterSnapshotAttribute",
                [RESTORE],
                |xml, name| {
                    xml.text("AttributeName", name).strings(
                        "AttributeValues",
                        "AttributeValue",
                        &snapshot.shared_with,
                    );
                },
            );
        });
    })
}
