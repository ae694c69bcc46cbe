//! Who is calling: the signature's credential scope, and the keys it may name.
//!
//! What a signature *says* counts, as on AWS: the access key names the account and
//! the principal, the scope names region and service. Whether it is right is only
//! looked at where it is all that protects what answers: at the HTTP APIs behind API
//! Gateway (`authenticate`). Elsewhere on the loopback interface there
//! is nobody to prove anything to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use http::HeaderMap;
use time::OffsetDateTime;

use crate::randomness::Randomness;
use crate::request::{ApiError, Caller};
use crate::signature::{KeySecret, Wire, unknown_token, verify};

/// The account of keys nobody issued, such as `test`, unless the world is told otherwise.
pub const DEFAULT_ACCOUNT: &str = "123456789012";

/// The secret of an account's root key, whose id is the account's twelve digits.
pub const ROOT_SECRET: &str = "local";

/// Credentials as a client is configured with them.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: String,
    /// When they end, on the world's clock; `None` for a function's own, which AWS renews.
    pub expiration: Option<OffsetDateTime>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Whom a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    account: String,
    principal: String,
    expiration: Option<OffsetDateTime>,
    /// `None` when any secret will do, and so none proves anything.
    secret: Option<KeySecret>,
}

/// Every key the world has issued.
pub struct Credentials {
    default_account: String,
    issued: RwLock<BTreeMap<String, Holder>>,
}

/// What a signature says: the caller and the service's signing name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Who is calling, from where.
    pub caller: Caller,
    /// Such as `rds`.
    pub service: String,
}

impl Credentials {
    /// No keys yet; unknown ones belong to `default_account`.
    #[must_use]
    pub fn new(default_account: &str) -> Self {
        Self {
            default_account: default_account.to_owned(),
            issued: RwLock::default(),
        }
    }

    /// The account of keys nobody issued.
    #[must_use]
    pub fn default_account(&self) -> &str {
        &self.default_account
    }

    /// A new key for a principal, such as a function's role.
    pub fn issue(
        &self,
        account: &str,
        principal: &str,
        expiration: Option<OffsetDateTime>,
        randomness: &Randomness,
    ) -> AccessKey {
        let key = AccessKey {
            access_key_id: format!("ASIA{}", randomness.base32(16)),
            secret_access_key: randomness.alphanumeric(40),
            session_token: format!("local{}", randomness.alphanumeric(91)),
            expiration,
        };
        let holder = Holder {
            account: account.to_owned(),
            principal: principal.to_owned(),
            expiration,
            secret: Some(KeySecret {
                secret_access_key: key.secret_access_key.clone(),
                session_token: Some(key.session_token.clone()),
            }),
        };
        self.issued
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.access_key_id.clone(), holder);
        key
    }

    /// Reads what the `Authorization` header says.
    ///
    /// # Errors
    /// `MissingAuthenticationToken` without a signature, `IncompleteSignature` when
    /// its scope cannot be read, `ExpiredTokenException` when the key has ended.
    pub fn read(&self, headers: &HeaderMap, now: OffsetDateTime) -> Result<Signature, ApiError> {
        let header = headers.get(http::header::AUTHORIZATION).ok_or_else(|| {
            ApiError::new(
                403,
                "MissingAuthenticationToken",
                "Missing Authentication Token",
            )
        })?;
        let scope = header
            .to_str()
            .ok()
            .and_then(credential_scope)
            .ok_or_else(|| {
                ApiError::new(
                    400,
                    "IncompleteSignature",
                    "Authorization header has no credential scope",
                )
            })?;
        let holder = self.holder(scope.access_key_id);
        if holder.expiration.is_some_and(|end| end <= now) {
            return Err(ApiError::new(
                403,
                "ExpiredTokenException",
                format!(
                    "The security token included in the request is expired (it is {now} on the world's clock)"
                ),
            ));
        }
        Ok(Signature {
            caller: Caller {
                account: holder.account,
                region: scope.region.to_owned(),
                principal: holder.principal,
            },
            service: scope.service.to_owned(),
        })
    }

    /// Reads what the `Authorization` header says, and proves it: the key is one the world knows, and the request as
    /// it came was signed with its secret, for this service.
    ///
    /// # Errors
    /// As [`Credentials::read`] and as API Gateway refuses signatures.
    pub(crate) fn authenticate(
        &self,
        wire: Wire<'_>,
        service: &str,
        now: OffsetDateTime,
    ) -> Result<Signature, ApiError> {
        let signature = self.read(wire.headers, now)?;
        let header = wire.headers.get(http::header::AUTHORIZATION);
        let scope = header
            .and_then(|header| header.to_str().ok())
            .and_then(credential_scope);
        let secret = scope
            .and_then(|scope| self.holder(scope.access_key_id).secret)
            .ok_or_else(unknown_token)?;
        verify(wire, service, &secret)?;
        Ok(signature)
    }

    fn holder(&self, access_key_id: &str) -> Holder {
        let issued = self.issued.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(holder) = issued.get(access_key_id) {
            return holder.clone();
        }
        let is_account =
            access_key_id.len() == 12 && access_key_id.bytes().all(|byte| byte.is_ascii_digit());
        let account = if is_account {
            access_key_id
        } else {
            &self.default_account
        };
        Holder {
            account: account.to_owned(),
            principal: format!("arn:aws:iam::{account}:root"),
            expiration: None,
            secret: is_account.then(|| KeySecret {
                secret_access_key: ROOT_SECRET.to_owned(),
                session_token: None,
            }),
        }
    }
}

struct CredentialScope<'a> {
    access_key_id: &'a str,
    region: &'a str,
    service: &'a str,
}

/// Reads `... Credential=AKID/20261121/eu-west-1/rds/aws4_request, ...`.
fn credential_scope(authorization: &str) -> Option<CredentialScope<'_>> {
    let (_, after) = authorization.split_once("Credential=")?;
    let credential = after.split(',').next()?.trim();
    // A key id may itself hold slashes in theory; the last four parts never do.
    let mut parts = credential.rsplitn(5, '/');
    let (terminator, service, region) = (parts.next()?, parts.next()?, parts.next()?);
    let (_date, access_key_id) = (parts.next()?, parts.next()?);
    (terminator == "aws4_request").then_some(CredentialScope {
        access_key_id,
        region,
        service,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(credential: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value =
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=00");
        headers.insert(http::header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    fn read(credential: &str) -> Signature {
        Credentials::new(DEFAULT_ACCOUNT)
            .read(&signed(credential), OffsetDateTime::UNIX_EPOCH)
            .unwrap()
    }

    #[test]
    fn the_scope_names_region_and_service_and_the_key_the_account() {
        let signature = read("210987654321/20261121/eu-west-1/rds/aws4_request");
        assert_eq!(signature.service, "rds");
        assert_eq!(signature.caller.region, "eu-west-1");
        assert_eq!(signature.caller.account, "210987654321");
        assert_eq!(signature.caller.principal, "arn:aws:iam::210987654321:root");
    }

    #[test]
    fn a_key_nobody_issued_belongs_to_the_default_account() {
        assert_eq!(
            read("test/20261121/eu-west-1/rds/aws4_request")
                .caller
                .account,
            DEFAULT_ACCOUNT
        );
    }

    #[test]
    fn an_issued_key_is_its_principal_until_it_ends() {
        let credentials = Credentials::new(DEFAULT_ACCOUNT);
        let end = OffsetDateTime::UNIX_EPOCH + time::Duration::HOUR;
        let key = credentials.issue(
            "210987654321",
            "arn:aws:sts::x",
            Some(end),
            &Randomness::seeded(1),
        );
        let headers = signed(&format!(
            "{}/20261121/eu-west-1/rds/aws4_request",
            key.access_key_id
        ));
        let signature = credentials
            .read(&headers, OffsetDateTime::UNIX_EPOCH)
            .unwrap();
        assert_eq!(signature.caller.principal, "arn:aws:sts::x");
        assert_eq!(signature.caller.account, "210987654321");
        assert_eq!(
            credentials.read(&headers, end).unwrap_err().code,
            "ExpiredTokenException"
        );
    }

    #[test]
    fn without_a_signature_there_is_no_answer() {
        let error = Credentials::new(DEFAULT_ACCOUNT)
            .read(&HeaderMap::new(), OffsetDateTime::UNIX_EPOCH)
            .unwrap_err();
        assert_eq!(
            (error.status, error.code.as_str()),
            (403, "MissingAuthenticationToken")
        );
    }
}
