//! AWS clients: made once per process, with explicit timeouts and attempts.
//!
//! A client opens its own connections, so RDS clients are kept per region; reads go
//! to the source's region and effects to the target's.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
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

/// AWS clients.
#[derive(Clone)]
pub struct Clients {
    config: SdkConfig,
    region: String,
    dynamodb: aws_sdk_dynamodb::Client,
    secrets_manager: aws_sdk_secretsmanager::Client,
    sfn: aws_sdk_sfn::Client,
    sns: aws_sdk_sns::Client,
    ssm: aws_sdk_ssm::Client,
    sts: aws_sdk_sts::Client,
    rds: Arc<Mutex<HashMap<String, aws_sdk_rds::Client>>>,
}

impl Clients {
    /// Clients of this configuration.
    pub fn new(config: SdkConfig) -> Self {
        Self {
            region: config
                .region()
                .map(|region| region.as_ref().to_owned())
                .unwrap_or_default(),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            secrets_manager: aws_sdk_secretsmanager::Client::new(&config),
            sfn: aws_sdk_sfn::Client::new(&config),
            sns: aws_sdk_sns::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            rds: Arc::default(),
            config,
        }
    }

    /// The pipeline's own region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// RDS in a region.
    pub fn rds(&self, region: &str) -> aws_sdk_rds::Client {
        let mut clients = self.rds.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let config = aws_sdk_rds::config::Builder::from(&self.config)
                .region(Region::new(region.to_owned()))
                .build();
            aws_sdk_rds::Client::from_conf(config)
        };
        clients
            .entry(region.to_owned())
            .or_insert_with(make)
            .clone()
    }

    /// KMS in a region.
    pub fn kms(&self, region: &str) -> aws_sdk_kms::Client {
        let config = aws_sdk_kms::config::Builder::from(&self.config)
            .region(Region::new(region.to_owned()))
            .build();
        aws_sdk_kms::Client::from_conf(config)
    }

    /// DynamoDB.
    pub fn dynamodb(&self) -> &aws_sdk_dynamodb::Client {
        &self.dynamodb
    }

    /// Secrets Manager.
    pub fn secrets_manager(&self) -> &aws_sdk_secretsmanager::Client {
        &self.secrets_manager
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
            _ => self.secrets_manager.clone(),
        }
    }

    /// Step Functions.
    pub fn sfn(&self) -> &aws_sdk_sfn::Client {
        &self.sfn
    }

    /// SNS.
    pub fn sns(&self) -> &aws_sdk_sns::Client {
        &self.sns
    }

    /// Parameter Store.
    pub fn ssm(&self) -> &aws_sdk_ssm::Client {
        &self.ssm
    }

    /// STS.
    pub fn sts(&self) -> &aws_sdk_sts::Client {
        &self.sts
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Clients({})", self.region)
    }
}
