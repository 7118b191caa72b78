//! `logsinkfs upgrade`: has the worker of a mount replaced by the program now on disk.

use std::process::ExitCode;

use crate::cli::find_mount::{end, find};
use crate::flags::MountedArgs;
use crate::supervisor::control_client::{Failure, refused};
use crate::supervisor::protocol::{ToClient, ToKeeper};

/// Has the worker of a mount replaced by the program now on disk.
pub fn run(args: &MountedArgs) -> ExitCode {
    let point = args.mountpoint.as_ref().map_or("the mount".into(), |point| point.to_string_lossy());
    let asked = find(args).and_then(|keeper| keeper.ask(&ToKeeper::Upgrade, None, &mut || ()));
    end(match asked {
        Ok(Some(ToClient::Upgraded)) => {
            println!("logsinkfs: {point} is served by the program now on disk");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Some(other)) => Err(refused(other)),
        Ok(None) => Err(Failure::new("the keeper has gone", "look at its log")),
        Err(e) => Err(e),
    }
    .map_err(|e| Failure { what: format!("{point} was not upgraded: {}", e.what), ..e }))
}
