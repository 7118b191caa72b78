//! `logsinkfs estimate`: what is asked.

use std::time::Duration;

use clap::Args;

use crate::settings::writer;
use crate::types::duration::{parse_duration, parse_interval};

/// `logsinkfs estimate`.
#[derive(Clone, Debug, Args)]
pub struct EstimateArgs {
    /// How many logs are written at the same time, in all mounts together.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub streams: u64,
    /// Bytes that each is written a second, before compression, such as `2KiB`.
    #[arg(long, value_name = "SIZE", value_parser = writer::parse_size)]
    pub rate: u64,
    /// As for mount.
    #[arg(long, env = "LOGSINKFS_ROTATE_SIZE", value_name = "SIZE", default_value = "64MiB", value_parser = writer::parse_rotate_size)]
    pub rotate_size: u64,
    /// As for mount.
    #[arg(long, env = "LOGSINKFS_ROTATE_INTERVAL", value_name = "TIME", default_value = "300s", value_parser = parse_interval)]
    pub rotate_interval: Duration,
    /// How many times smaller compression makes the logs; 1 without compression.
    #[arg(long, value_name = "FACTOR", default_value_t = 8.0, value_parser = parse_positive)]
    pub ratio: f64,
    /// How long objects are kept.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_duration)]
    pub keep: Duration,
    /// Price of 1,000 PUT requests in USD. Default: S3 Standard in us-east-1.
    #[arg(long, value_name = "USD", default_value_t = 0.005, value_parser = parse_price)]
    pub put_price: f64,
    /// Price of 1 GiB stored for a month in USD. Default: S3 Standard in us-east-1.
    #[arg(long, value_name = "USD", default_value_t = 0.023, value_parser = parse_price)]
    pub storage_price: f64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn parse_positive(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 1.0);
    value.ok_or_else(|| "a factor is a number of at least 1, such as 8 or 2.5".to_owned())
}

fn parse_price(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
    value.ok_or_else(|| "a price is a number such as 0.005".to_owned())
}
