//! CA certificates: hands the variable that AWS tools use (`AWS_CA_BUNDLE`) on to the TLS library (`SSL_CERT_FILE`).

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Starts this program anew, as the same process, with `SSL_CERT_FILE` set where `AWS_CA_BUNDLE` names a file: what
/// runs cannot change its own environment safely. To be called first.
pub fn adopt_ca_bundle() {
    let bundle = std::env::var_os("AWS_CA_BUNDLE").filter(|file| !file.is_empty());
    if bundle.is_none() || bundle == std::env::var_os("SSL_CERT_FILE") {
        return;
    }
    let mut words = std::env::args_os();
    let failed = std::env::current_exe().map(|program| {
        let mut again = Command::new(program);
        again.envs(bundle.map(|bundle| ("SSL_CERT_FILE", bundle)));
        // mount(8)'s helper knows itself by this name.
        words.next().map(|name| again.arg0(name));
        again.args(words).exec()
    });
    eprintln!("logsinkfs: warning: AWS_CA_BUNDLE has no effect: {}", failed.unwrap_or_else(|e| e));
}
