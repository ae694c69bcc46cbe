//! Keys: which one a volume is under, and whether it can be used.
//!
//! KMS is asked, as RDS asks it, with the caller's rights. A world without a
//! KMS has keys that are always usable.
//!
//! A key that is lost takes its clusters with it when it is used again (KMS, "How
//! unusable KMS keys affect data keys"). For seven days there is a way back: the key
//! is made usable and the cluster started (AWS re:Post, "inaccessible encryption
//! state"). Then the status is final.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::api::Call;
use super::lifecycle::{Flow, blocking};
use super::names::Place;
use super::xml::Xml;
use super::{Inner, errors};
use crate::request::{ApiError, Caller};

/// The status of what cannot use its key, while there is a way back.
pub(super) const KEY_LOST: &str = "inaccessible-encryption-credentials-recoverable";
/// The status once there is none.
const KEY_LOST_FOR_GOOD: &str = "inaccessible-encryption-credentials";
/// Days for which there is one.
const RECOVERABLE_DAYS: i64 = 7;

/// What a volume or a snapshot is encrypted with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// Nothing.
    None,
    /// A key AWS owns and shows nobody: for copies and sharing, as good as none.
    AwsOwned,
    /// A key in KMS.
    Key(Key),
}

/// A key in KMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) arn: String,
    /// Under `alias/aws/rds`; what it encrypts cannot be shared.
    pub(super) aws_managed: bool,
}

impl Encryption {
    pub(super) fn key(&self) -> Option<&Key> {
        match self {
            Self::Key(key) => Some(key),
            Self::None | Self::AwsOwned => None,
        }
    }

    pub(super) fn write(&self, xml: &mut Xml) {
        let kind = match self {
            Self::None => "none",
            Self::AwsOwned => "sse-rds",
            Self::Key(_) => "sse-kms",
        };
        xml.text("StorageEncrypted", self.key().is_some())
            .text("StorageEncryptionType", kind)
            .some("KmsKeyId", self.key().map(|key| key.arn.as_str()));
    }
}

impl Key {
    /// The region in the key's ARN.
    pub(super) fn region(&self) -> &str {
        self.arn.split(':').nth(3).unwrap_or_default()
    }
}

impl Inner {
    /// What a new volume is encrypted with.
    pub(super) async fn chosen_encryption(&self, call: &Call) -> Result<Encryption, ApiError> {
        let wanted = call.form.flag("StorageEncrypted")?;
        match (call.form.text("KmsKeyId"), wanted) {
            (Some(_), Some(false)) => Err(errors::invalid_combination(
                "KmsKeyId can only be given for an encrypted DB cluster",
            )),
            (Some(key), _) => Ok(Encryption::Key(
                self.usable_key(&call.caller, "specified", key).await?,
            )),
            (None, Some(true)) => Ok(Encryption::Key(
                self.usable_key(&call.caller, "default", "alias/aws/rds")
                    .await?,
            )),
            (None, _) => Ok(self.unkeyed()),
        }
    }

    /// What a volume is encrypted with when nobody named a key.
    pub(super) fn unkeyed(&self) -> Encryption {
        if self.settings.aws_owned_key_by_default {
            Encryption::AwsOwned
        } else {
            Encryption::None
        }
    }

    /// A key of the caller's region that the caller may use now. `which` is its role in the message.
    pub(super) async fn usable_key(
        &self,
        caller: &Caller,
        which: &str,
        key_id: &str,
    ) -> Result<Key, ApiError> {
        let key = self
            .describe_key(caller, key_id)
            .await
            .ok_or_else(|| errors::key_not_accessible(which, key_id))?;
        if key.region() != caller.region {
            return Err(errors::key_not_accessible(which, key_id));
        }
        Ok(key)
    }

    /// Whether what is encrypted like this can still be read by this caller, wherever its key is.
    pub(super) async fn readable(&self, caller: &Caller, encryption: &Encryption) -> bool {
        let Some(key) = encryption.key() else {
            return true;
        };
        let there = Caller {
            region: key.region().to_owned(),
            ..caller.clone()
        };
        self.describe_key(&there, &key.arn).await.is_some()
    }

    /// Looks now and then whether a cluster's key can still be used, as long as there is the cluster.
    pub(super) fn watch_key(self: &Arc<Self>, cluster: &str) {
        let id = cluster.to_owned();
        let pause = self.lasting(self.settings.durations.notice_lost_key, "notice a lost key");
        self.flow(move |flow| async move {
            loop {
                let (owner, encryption) = flow.cluster(&id, |cluster, _| {
                    cluster.encryption.key()?;
                    Some((cluster.owner.clone(), cluster.encryption.clone()))
                })?;
                flow.sleep(pause).await;
                let rds = flow.with(|rds| Some(Arc::clone(rds)))?;
                let readable = rds.readable(&owner, &encryption).await;
                drop(rds);
                if !readable {
                    lose_key(&flow, &id).await?;
                }
            }
        });
    }

    async fn describe_key(&self, caller: &Caller, key_id: &str) -> Option<Key> {
        let world = self.world.upgrade()?;
        match world
            .call(
                caller,
                "kms",
                "TrentService.DescribeKey",
                &json!({ "KeyId": key_id }),
            )
            .await
        {
            Ok(answer) => key_if_enabled(&answer["KeyMetadata"]),
            // The world's word for a service it does not have.
            Err(error) if error.status == 501 => Some(assumed_key(caller, key_id)),
            Err(_) => None,
        }
    }
}

/// Lets a cluster and its instances read that their key is lost, for good after seven days.
async fn lose_key(flow: &Flow, cluster: &str) -> Option<()> {
    let volume = flow.edit(|book| {
        let found = book.clusters.get(cluster)?;
        let (since, status) = found.status.history().last()?;
        let status = match status.as_str() {
            "creating" | "deleting" | KEY_LOST_FOR_GOOD => return Some(None),
            KEY_LOST if flow.now() - *since < time::Duration::days(RECOVERABLE_DAYS) => {
                return Some(None);
            }
            KEY_LOST => KEY_LOST_FOR_GOOD,
            _ => KEY_LOST,
        };
        let volume = Arc::clone(&found.volume);
        book.set_all(cluster, status, flow.now());
        Some(Some(volume))
    })?;
    if let Some(volume) = volume
        && let Err(error) = blocking(move || volume.stop()).await
    {
        tracing::error!(%error, "a database server was not stopped");
    }
    Some(())
}

fn key_if_enabled(metadata: &Value) -> Option<Key> {
    let text = |name: &str| metadata.get(name).and_then(Value::as_str);
    if text("KeyState").is_some_and(|state| state != "Enabled") {
        return None;
    }
    Some(Key {
        arn: text("Arn")?.to_owned(),
        aws_managed: text("KeyManager") == Some("AWS"),
    })
}

fn assumed_key(caller: &Caller, key_id: &str) -> Key {
    let aws_managed = key_id == "alias/aws/rds" || key_id.ends_with(":alias/aws/rds");
    if key_id.starts_with("arn:") {
        return Key {
            arn: key_id.to_owned(),
            aws_managed,
        };
    }
    let place = Place::of(caller);
    let id = if key_id.starts_with("alias/") {
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{place}/{key_id}").as_bytes()).to_string()
    } else {
        key_id.to_owned()
    };
    Key {
        arn: format!("arn:aws:kms:{}:{}:key/{id}", place.region, place.account),
        aws_managed,
    }
}
