//! `logsinkfs upgrade`: asks the keeper of a mount to replace its worker with the program now on disk.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::cli::UpgradeArgs;
use super::keeper::default_path;
use super::keeper::link::Link;
use super::keeper::protocol::{ToClient, ToKeeper};
use super::mountpoint;

/// Asks, waits, and says what came of it.
pub fn run(args: &UpgradeArgs) -> ExitCode {
    let point = args.mountpoint.display();
    match upgrade(args) {
        Ok(()) => {
            println!("logsinkfs: {point} is served by the program now on disk");
            ExitCode::SUCCESS
        }
        Err((what, hint)) => {
            eprintln!(
                "logsinkfs: error: {point} was not upgraded: {what}\nlogsinkfs: hint: {hint}"
            );
            ExitCode::FAILURE
        }
    }
}

type Failure = (String, &'static str);

fn upgrade(args: &UpgradeArgs) -> Result<(), Failure> {
    let path = match &args.keeper_socket {
        Some(path) => path.clone(),
        None => socket_of(&args.mountpoint)?,
    };
    let talk = |e: &dyn std::fmt::Display| {
        let what = format!("the keeper at {} cannot be asked: {e}", path.display());
        (
            what,
            "--keeper-socket is needed where the mount was given one; the user who mounted, or root, may ask",
        )
    };
    let keeper = Link::connect(&path).map_err(|e| talk(&e))?;
    keeper.send(&ToKeeper::Upgrade).map_err(|e| talk(&e))?;
    match keeper.receive() {
        Ok(Some(ToClient::Upgraded)) => Ok(()),
        Ok(Some(ToClient::Refused { why })) => {
            Err((why, "the old worker serves on; the keeper's log says more"))
        }
        Ok(None) => Err(("the keeper has gone".to_owned(), "look at its log")),
        Err(e) => Err(talk(&e)),
    }
}

/// Where the keeper of a mount listens, unless it was told otherwise.
fn socket_of(mountpoint: &Path) -> Result<PathBuf, Failure> {
    let found = mountpoint::find(mountpoint);
    let mount = found.ok().flatten().ok_or_else(|| {
        ("no file system of logsinkfs is mounted there".to_owned(), "name the mount's directory")
    })?;
    Ok(default_path(&mount.device, mount.user.unwrap_or(0)))
}
