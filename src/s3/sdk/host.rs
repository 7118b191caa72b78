//! Remembers the host of the last request, for error messages: the SDK forms it from bucket, region and endpoint.

use std::sync::Arc;

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use parking_lot::Mutex;

/// The interceptor; `https://logs.s3.eu-west-1.amazonaws.com`, empty before the first request.
#[derive(Clone, Debug, Default)]
pub(super) struct Host(Arc<Mutex<String>>);

impl Host {
    pub(super) fn last(&self) -> String {
        self.0.lock().clone()
    }
}

impl Intercept for Host {
    fn name(&self) -> &'static str {
        "Host"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let uri = context.request().uri();
        let path = uri.find("://").map_or(0, |at| at + 3);
        let host = &uri[..uri[path..].find('/').map_or(uri.len(), |at| path + at)];
        let mut last = self.0.lock();
        if *last != host {
            host.clone_into(&mut last);
        }
        Ok(())
    }
}
