//! Flags for reaching S3: the same flags and environment variables for every command that talks to it.

use clap::Args;

use super::endpoints::EndpointArgs;
use super::objects::ObjectArgs;
use super::settings::UsageError;
use crate::settings::writer::S3Settings;

/// Place in the help of what stands after the flags of a single command.
pub(super) const LAST: usize = 900;

/// How S3 is reached.
#[derive(Clone, Debug, Args)]
pub struct S3Args {
    /// Region of the bucket. Default: from the SDK's chain.
    #[arg(long, env = "LOGSINKFS_REGION", help_heading = "S3")]
    pub region: Option<String>,
    /// Profile in the shared AWS configuration.
    #[arg(long, env = "LOGSINKFS_PROFILE", help_heading = "S3")]
    pub profile: Option<String>,
    /// Endpoint of an S3 service other than Amazon's.
    #[arg(long, env = "LOGSINKFS_ENDPOINT_URL", value_name = "URL", value_parser = parse_url, help_heading = "S3")]
    pub endpoint_url: Option<String>,
    /// Put the bucket name in the path instead of the host name.
    #[arg(long, env = "LOGSINKFS_FORCE_PATH_STYLE", help_heading = "S3")]
    pub force_path_style: bool,
    /// Role to assume with the chain's credentials.
    #[arg(long, env = "LOGSINKFS_ROLE_ARN", value_name = "ARN", help_heading = "S3")]
    pub role_arn: Option<String>,
    /// Do not sign requests: for buckets that everybody may use.
    #[arg(long, env = "LOGSINKFS_NO_SIGN_REQUEST", conflicts_with_all = ["profile", "role_arn"], help_heading = "S3")]
    pub no_sign_request: bool,
    /// Account that must own the bucket.
    #[arg(
        long,
        env = "LOGSINKFS_EXPECTED_BUCKET_OWNER",
        value_name = "ACCOUNT",
        display_order = LAST,
        help_heading = "S3"
    )]
    pub expected_bucket_owner: Option<String>,
    /// Which endpoint is asked, and who pays.
    #[command(flatten)]
    pub endpoints: EndpointArgs,
}

impl S3Args {
    /// The settings that the flags mean; how new objects are stored is another matter.
    pub fn settings(self) -> S3Settings {
        S3Settings {
            region: self.region,
            profile: self.profile,
            endpoint_url: self.endpoint_url,
            force_path_style: self.force_path_style,
            role_arn: self.role_arn,
            anonymous: self.no_sign_request,
            expected_bucket_owner: self.expected_bucket_owner,
            endpoints: self.endpoints.settings(),
            ..S3Settings::default()
        }
    }
}

/// How S3 is reached, and how it stores new objects.
#[derive(Clone, Debug, Args)]
pub struct StorageArgs {
    /// How S3 is reached.
    #[command(flatten)]
    pub s3: S3Args,
    /// Server-side encryption: AES256, aws:kms or aws:kms:dsse.
    #[arg(long, env = "LOGSINKFS_SSE", value_name = "TYPE", value_parser = ["AES256", "aws:kms", "aws:kms:dsse"], help_heading = "S3")]
    pub sse: Option<String>,
    /// Key for aws:kms.
    #[arg(long, env = "LOGSINKFS_SSE_KMS_KEY_ID", value_name = "KEY", requires = "sse", help_heading = "S3")]
    pub sse_kms_key_id: Option<String>,
    /// Storage class of new objects.
    #[arg(long, env = "LOGSINKFS_STORAGE_CLASS", value_name = "CLASS", help_heading = "S3")]
    pub storage_class: Option<String>,
    /// How else they are stored.
    #[command(flatten)]
    pub objects: ObjectArgs,
}

impl StorageArgs {
    /// Finds wrong what each flag alone does not tell.
    pub fn check(&self) -> Result<(), UsageError> {
        self.objects.check(self.sse.as_deref())
    }

    /// The settings that the flags mean.
    pub fn settings(self) -> S3Settings {
        S3Settings {
            sse: self.sse,
            sse_kms_key_id: self.sse_kms_key_id,
            storage_class: self.storage_class,
            objects: self.objects.settings(),
            ..self.s3.settings()
        }
    }
}

fn parse_url(text: &str) -> Result<String, String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        Ok(text.to_owned())
    } else {
        Err("an endpoint begins with http:// or https://".to_owned())
    }
}
