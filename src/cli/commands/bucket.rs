//! `logsinkfs bucket`: an embedded bucket on its own, in the foreground, until a signal ends it.

use std::process::ExitCode;

use crate::flags::BucketArgs;
use embedded_s3::EmbeddedBucket;

/// Serves; prints one line of JSON with what a client needs. Started by root, it serves as the directory's owner: a
/// worker that serves it too must be able to read what is put there.
pub fn serve(args: &BucketArgs) -> ExitCode {
    if let Err(e) = crate::sys::privileges::become_owner(&args.dir) {
        eprintln!("logsinkfs: error: {e}\nlogsinkfs: hint: {}", e.hint());
        return ExitCode::FAILURE;
    }
    let server = match EmbeddedBucket::start(&args.dir, &args.name, args.listen) {
        Ok(server) => server,
        Err(e) => {
            eprintln!("logsinkfs: error: {e}");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "{}",
        serde_json::json!({
            "endpoint": server.endpoint(),
            "bucket": server.bucket(),
            "region": server.region(),
            "access_key_id": server.access_key_id(),
            "secret_access_key": server.secret_access_key(),
        })
    );
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("logsinkfs: error: {e}");
            return ExitCode::FAILURE;
        }
    };
    let _ = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut term = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = term.recv() => Ok(()),
            interrupted = tokio::signal::ctrl_c() => interrupted,
        }
    });
    server.stop();
    ExitCode::SUCCESS
}
