//! Counts the attempts of the SDK and measures the time to the first byte of each answer: what is billed, and where
//! time goes.

use std::time::SystemTime;

use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use crate::metrics::{METRICS, OPERATIONS};

/// The interceptor.
#[derive(Debug)]
pub(super) struct Attempts;

/// When a try was sent.
#[derive(Debug)]
struct Sent(SystemTime);

impl Storable for Sent {
    type Storer = StoreReplace<Sent>;
}

fn operation(config: &ConfigBag) -> &'static str {
    let name = config.load::<Metadata>().map_or("", Metadata::name);
    OPERATIONS.into_iter().find(|operation| *operation == name).unwrap_or("other")
}

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        METRICS.s3_attempts.get_or_create(&[("operation", operation(config))]).inc();
        if let Some(clock) = components.time_source() {
            config.interceptor_state().store_put(Sent(clock.now()));
        }
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        _: &BeforeDeserializationInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let now = components.time_source().map(|clock| clock.now());
        if let (Some(now), Some(Sent(sent))) = (now, config.load::<Sent>()) {
            let took = now.duration_since(*sent).unwrap_or_default();
            let labels = [("operation", operation(config))];
            let of = METRICS.s3_first_byte_seconds.get_or_create(&labels);
            of.observe(took.as_secs_f64());
        }
        Ok(())
    }
}
