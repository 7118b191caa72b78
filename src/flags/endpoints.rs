//! Flags for which of Amazon's endpoints is asked and who pays: the same for every command that talks to S3.

use clap::Args;

use crate::settings::objects::EndpointOptions;

/// Which endpoint is asked, and who pays.
#[derive(Clone, Debug, Args)]
pub struct EndpointArgs {
    /// Pay for requests and transfer yourself, instead of the bucket's owner.
    #[arg(long, env = "LOGSINKFS_REQUESTER_PAYS", help_heading = "S3")]
    pub requester_pays: bool,
    /// Use Amazon's dual-stack endpoints (IPv6 and IPv4).
    #[arg(long, env = "LOGSINKFS_DUAL_STACK", conflicts_with = "endpoint_url", help_heading = "S3")]
    pub dual_stack: bool,
    /// Use Amazon's FIPS endpoints.
    #[arg(long, env = "LOGSINKFS_FIPS", conflicts_with = "endpoint_url", help_heading = "S3")]
    pub fips: bool,
    /// Use S3 Transfer Acceleration, which the bucket must have enabled.
    #[arg(
        long,
        env = "LOGSINKFS_TRANSFER_ACCELERATION",
        conflicts_with_all = ["endpoint_url", "force_path_style", "fips"],
        help_heading = "S3"
    )]
    pub transfer_acceleration: bool,
}

impl EndpointArgs {
    /// The settings that the flags mean.
    pub(super) fn settings(&self) -> EndpointOptions {
        EndpointOptions {
            requester_pays: self.requester_pays,
            dual_stack: self.dual_stack,
            fips: self.fips,
            accelerate: self.transfer_acceleration,
        }
    }
}
