//! Builds the SDK's client from settings and environment: credentials, endpoint, certificates, and checks before the
//! first request. Owns the client and its region, which changes when S3 names another.

use std::fs;
use std::path::Path;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, Credentials, RequestChecksumCalculation, StalledStreamProtectionConfig};
use aws_types::os_shim_internal::{Env, Fs};
use tracing::warn;

use super::attempts::Attempts;
use super::clock_skew::SkewReport;
use super::request_payer::RequestPayer;
use super::{CONNECT_TIMEOUT, READ_TIMEOUT, READ_TRIES, S3Bucket};
use crate::settings::objects::Checksum;
use crate::settings::writer::{S3Settings, region_of};
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::errors::causes;

/// The variables of the SDK that name an endpoint of S3, the one that it prefers first.
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// The variables that name a file with the certificates of CAs. The TLS library reads the second one, which the program
/// sets by the first one.
const BUNDLES: [&str; 2] = ["AWS_CA_BUNDLE", "SSL_CERT_FILE"];

/// The service's endpoint, as far as flag or environment name one.
pub(super) fn endpoint(settings: &S3Settings) -> Option<String> {
    let named = || ENDPOINTS.into_iter().find_map(|name| std::env::var(name).ok());
    settings.endpoint_url.clone().or_else(named)
}

impl S3Bucket {
    /// Finds out what can be known without asking anybody: a profile that was asked for is defined, and there are CAs,
    /// also in the file that the environment names.
    pub async fn check(&self) -> Result<(), BucketError> {
        let failed = |kind, why: String| BucketError::new(kind, "Connect", "", why).at(&self.place());
        if let Some(profile) = &self.settings.profile {
            let (fs, env, files) = (Fs::real(), Env::real(), Default::default());
            let defined = aws_config::profile::load(&fs, &env, &files, None).await;
            let defined = defined.map_err(|e| failed(Kind::NoCredentials, causes(&e)))?;
            if defined.get_profile(profile).is_none() {
                let why = format!(
                    "the profile `{profile}` is not defined in ~/.aws/config or ~/.aws/credentials (AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE)"
                );
                return Err(failed(Kind::NoCredentials, why));
            }
        }
        self.check_endpoints().map_err(|why| failed(Kind::Refused, why))?;
        if endpoint(&self.settings).is_none_or(|url| url.starts_with("https:")) {
            let bundles = BUNDLES.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
            for (name, file) in bundles.filter(|(_, file)| !file.is_empty()) {
                let unusable = |why| format!("{name} names {}: {why}", file.display());
                has_certificates(Path::new(&file)).map_err(|why| failed(Kind::Untrusted, unusable(why)))?;
            }
            if !has_cas() {
                let why = "this machine has no certificates of CAs (Debian: the package ca-certificates)";
                return Err(failed(Kind::Untrusted, why.to_owned()));
            }
        }
        Ok(())
    }

    /// Finds endpoints wrong that the SDK would refuse with each request.
    fn check_endpoints(&self) -> Result<(), String> {
        let asked = self.settings.endpoints;
        if let (Some(flag), Some(url)) = (asked.amazon_only(), endpoint(&self.settings)) {
            return Err(format!("{flag} is for Amazon's own endpoints, and the endpoint is {url}"));
        }
        if asked.accelerate && self.bucket.contains('.') {
            return Err("--transfer-acceleration works only for buckets without a dot in their name".to_owned());
        }
        Ok(())
    }

    /// The client, made for the first request.
    pub(super) async fn client(&self) -> Result<Client, BucketError> {
        if let Some(moved) = self.moved.lock().clone() {
            return Ok(moved);
        }
        let connect = || async {
            self.check().await?;
            Ok::<_, BucketError>(self.connect().await)
        };
        Ok(self.client.get_or_try_init(connect).await?.clone())
    }

    /// Asks in the region that S3 has named from now on; `false` where it was asked there in vain.
    pub(super) fn follow(&self, region: &str) -> bool {
        let mut moved = self.moved.lock();
        let Some(client) = moved.as_ref().or(self.client.get()) else { return false };
        let asked = client.config().region().map_or("", Region::as_ref);
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if asked == region || !region.chars().all(is_name) {
            // Another request may have been told the same at the same time.
            return asked == region && moved.is_some();
        }
        warn!("the bucket is in the region {region}, not {asked}; --region {region} spares a request");
        let there = client.config().to_builder().region(Region::new(region.to_owned())).build();
        *moved = Some(Client::from_conf(there));
        true
    }

    async fn connect(&self) -> Client {
        let settings = &self.settings;
        let base = self.chain().await;
        let mut config = Builder::from(&base)
            .force_path_style(settings.force_path_style)
            .interceptor(SkewReport::default())
            .interceptor(Attempts)
            .interceptor(self.host.clone())
            .identity_cache(self.credentials.clone());
        config = self.through_endpoints(config);
        // Without the flag it is what the SDK finds, a variable for S3 alone before one for all services.
        let named = endpoint(settings).or_else(|| base.endpoint_url().map(str::to_owned));
        if let Some(endpoint) = named {
            config = config.endpoint_url(with_slash(endpoint));
        }
        if settings.anonymous {
            config = config.allow_no_auth();
        }
        if base.region().is_none() {
            config = config.region(Region::from_static("us-east-1"));
        }
        if let Some(role) = &settings.role_arn {
            let assumed = aws_config::sts::AssumeRoleProvider::builder(role)
                .session_name("logsinkfs")
                .configure(&base)
                .build()
                .await;
            config = config.credentials_provider(assumed);
        }
        Client::from_conf(config.build())
    }

    /// What is not asked for stays as the SDK's chain has it.
    fn through_endpoints(&self, mut config: Builder) -> Builder {
        let asked = self.settings.endpoints;
        if asked.requester_pays {
            config = config.interceptor(RequestPayer);
        }
        if asked.dual_stack {
            config = config.use_dual_stack(true);
        }
        if asked.fips {
            config = config.use_fips(true);
        }
        if self.settings.objects.checksum == Checksum::None {
            // Else the SDK adds one of its own.
            config = config.request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
        }
        if asked.accelerate { config.accelerate(true) } else { config }
    }

    /// What the SDK's chain finds. A profile that was asked for gives the credentials alone: in the chain, the
    /// environment's keys go before it.
    async fn chain(&self) -> SdkConfig {
        let settings = &self.settings;
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::standard().with_max_attempts(READ_TRIES))
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(READ_TIMEOUT).build())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_attempt_timeout(READ_TIMEOUT)
                    .build(),
            );
        if !has_cas() {
            // The SDK's own client panics without any. A service without TLS can be reached all the same.
            loader = loader.http_client(aws_smithy_http_client::Builder::new().build_http());
        }
        // The ARN of an access point has its own, which is that of the signature.
        let of_arn = region_of(&self.bucket).filter(|region| !region.is_empty()).map(str::to_owned);
        if let Some(region) = of_arn.or_else(|| settings.region.clone()) {
            loader = loader.region(Region::new(region));
        }
        if settings.anonymous {
            loader = loader.no_credentials();
        }
        if let Some(keys) = self.fixed.clone() {
            let (id, secret) = (keys.access_key_id, keys.secret_access_key);
            loader = loader.credentials_provider(Credentials::new(id, secret, None, None, "fixed"));
        }
        let Some(profile) = &settings.profile else { return loader.load().await };
        let base = loader.profile_name(profile).load().await;
        let region = ProviderConfig::without_region().with_region(base.region().cloned());
        let credentials = ProfileFileCredentialsProvider::builder().profile_name(profile).configure(&region).build();
        let credentials = SharedCredentialsProvider::new(credentials);
        base.into_builder().credentials_provider(credentials).build()
    }
}

/// The SDK puts the bucket's name right behind the endpoint's path.
fn with_slash(endpoint: String) -> String {
    let has_path = endpoint.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    if has_path && !endpoint.ends_with('/') { endpoint + "/" } else { endpoint }
}

/// Whether this machine, or the environment, has certificates of CAs.
fn has_cas() -> bool {
    !rustls_native_certs::load_native_certs().certs.is_empty()
}

/// Whether there are certificates in a file; why not, if not.
fn has_certificates(file: &Path) -> Result<(), String> {
    let text = fs::read(file).map_err(|e| e.to_string())?;
    let begin = b"-----BEGIN CERTIFICATE-----";
    if text.windows(begin.len()).any(|window| window == begin) {
        Ok(())
    } else {
        Err("there is no certificate in it (PEM)".to_owned())
    }
}
