//! AWS clients: made once per process, with explicit timeouts and attempts.
//!
//! A client opens its own connections, so RDS clients are kept per region; reads go
//! to the source's region and effects to the target's.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};

use crate::rds;

/// Attempts per call inside the SDK. The state machine retries on top of it.
pub const SDK_ATTEMPTS: u32 = 3;

/// How long a call may take: establishing a connection, waiting for an answer's first byte, one attempt,
/// and all attempts with the pauses between them.
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .read_timeout(Duration::from_secs(10))
        .operation_attempt_timeout(Duration::from_secs(15))
        .operation_timeout(Duration::from_secs(40))
        .build()
}

/// The configuration of a deployed function: region, credentials and endpoint from its environment.
pub async fn configuration() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts())
        .retry_config(RetryConfig::standard().with_max_attempts(SDK_ATTEMPTS))
        .load()
        .await
}

/// AWS clients, each made when it is first asked for: a function that starts cold makes what it needs and no more.
#[derive(Clone)]
pub struct Clients {
    config: SdkConfig,
    region: String,
    made: Arc<Made>,
}

/// The clients made so far; those of the target's and the source's region by region.
#[derive(Default)]
struct Made {
    dynamodb: OnceLock<aws_sdk_dynamodb::Client>,
    iam: OnceLock<aws_sdk_iam::Client>,
    route53: OnceLock<aws_sdk_route53::Client>,
    secrets_manager: OnceLock<aws_sdk_secretsmanager::Client>,
    sfn: OnceLock<aws_sdk_sfn::Client>,
    sns: OnceLock<aws_sdk_sns::Client>,
    ssm: OnceLock<aws_sdk_ssm::Client>,
    sts: OnceLock<aws_sdk_sts::Client>,
    rds: Mutex<HashMap<String, aws_sdk_rds::Client>>,
}

impl Clients {
    /// Clients of this configuration.
    pub fn new(config: SdkConfig) -> Self {
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        Self {
            config,
            region,
            made: Arc::default(),
        }
    }

    /// The pipeline's own region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// RDS in a region.
    pub fn rds(&self, region: &str) -> aws_sdk_rds::Client {
        let mut clients = self.made.rds.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let config = aws_sdk_rds::config::Builder::from(&self.config);
            aws_sdk_rds::Client::from_conf(config.region(Region::new(region.to_owned())).build())
        };
        clients
            .entry(region.to_owned())
            .or_insert_with(make)
            .clone()
    }

    /// KMS in a region.
    pub fn kms(&self, region: &str) -> aws_sdk_kms::Client {
        let config = aws_sdk_kms::config::Builder::from(&self.config);
        aws_sdk_kms::Client::from_conf(config.region(Region::new(region.to_owned())).build())
    }

    /// The Cloud Control API in a region, which tells how something is without the SDK of its service.
    pub fn cloud_control(&self, region: &str) -> aws_sdk_cloudcontrol::Client {
        let config = aws_sdk_cloudcontrol::config::Builder::from(&self.config);
        aws_sdk_cloudcontrol::Client::from_conf(
            config.region(Region::new(region.to_owned())).build(),
        )
    }

    /// Secrets Manager where a secret is: in the region its ARN names, or the pipeline's own for a name.
    pub fn secrets_manager_of(&self, secret_id: &str) -> aws_sdk_secretsmanager::Client {
        let region = if rds::is_arn(secret_id) {
            rds::arn_field(secret_id, 3)
        } else {
            None
        };
        match region {
            Some(region) if region != self.region => {
                let config = aws_sdk_secretsmanager::config::Builder::from(&self.config);
                aws_sdk_secretsmanager::Client::from_conf(
                    config.region(Region::new(region.to_owned())).build(),
                )
            }
            _ => self.secrets_manager().clone(),
        }
    }

    /// DynamoDB.
    pub fn dynamodb(&self) -> &aws_sdk_dynamodb::Client {
        self.made
            .dynamodb
            .get_or_init(|| aws_sdk_dynamodb::Client::new(&self.config))
    }

    /// IAM, which is the same in every region.
    pub fn iam(&self) -> &aws_sdk_iam::Client {
        self.made
            .iam
            .get_or_init(|| aws_sdk_iam::Client::new(&self.config))
    }

    /// Secrets Manager.
    pub fn secrets_manager(&self) -> &aws_sdk_secretsmanager::Client {
        self.made
            .secrets_manager
            .get_or_init(|| aws_sdk_secretsmanager::Client::new(&self.config))
    }

    /// Route 53, which is the same in every region.
    pub fn route53(&self) -> &aws_sdk_route53::Client {
        self.made
            .route53
            .get_or_init(|| aws_sdk_route53::Client::new(&self.config))
    }

    /// Step Functions.
    pub fn sfn(&self) -> &aws_sdk_sfn::Client {
        self.made
            .sfn
            .get_or_init(|| aws_sdk_sfn::Client::new(&self.config))
    }

    /// SNS.
    pub fn sns(&self) -> &aws_sdk_sns::Client {
        self.made
            .sns
            .get_or_init(|| aws_sdk_sns::Client::new(&self.config))
    }

    /// Parameter Store.
    pub fn ssm(&self) -> &aws_sdk_ssm::Client {
        self.made
            .ssm
            .get_or_init(|| aws_sdk_ssm::Client::new(&self.config))
    }

    /// STS.
    pub fn sts(&self) -> &aws_sdk_sts::Client {
        self.made
            .sts
            .get_or_init(|| aws_sdk_sts::Client::new(&self.config))
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Clients({})", self.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_client_has_explicit_timeouts_and_attempts() {
        let clients = Clients::new(configuration().await);
        let elsewhere = "arn:aws:secretsmanager:xx-other-1:123456789012:secret:x";
        macro_rules! assert_bounded {
            ($($client:expr),* $(,)?) => {$(
                let client = $client.clone();
                let config = client.config();
                assert_eq!(config.timeout_config(), Some(&timeouts()), stringify!($client));
                let attempts = config.retry_config().map(RetryConfig::max_attempts);
                assert_eq!(attempts, Some(SDK_ATTEMPTS), stringify!($client));
            )*};
        }
        assert_bounded!(
            clients.rds("eu-west-1"),
            clients.kms("eu-west-1"),
            clients.cloud_control("eu-west-1"),
            clients.secrets_manager_of(elsewhere),
            clients.dynamodb(),
            clients.iam(),
            clients.route53(),
            clients.secrets_manager(),
            clients.sfn(),
            clients.sns(),
            clients.ssm(),
            clients.sts(),
        );
        let timeouts = timeouts();
        assert!(
            timeouts.has_timeouts()
                && timeouts.connect_timeout().is_some()
                && timeouts.read_timeout().is_some()
                && timeouts.operation_attempt_timeout().is_some()
                && timeouts.operation_timeout().is_some()
        );
    }
}
