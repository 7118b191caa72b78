//! `logsinkfs quarantine`: what a spool has set aside and given up, shown and copied. Owns what people are told; what is
//! there, the spool says.
//!
//! Invariant: nothing leaves a quarantine that was not copied, durably; and no link in one is followed, since its owner may
//! be somebody else.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use bytesize::ByteSize;
use rustix::fs::OFlags;

use super::ask::{self, Failure};
use super::cli::{PlaceArgs, QuarantineArgs, QuarantineCommand};
use super::stop::EXIT_DATA_LEFT;
use crate::local::spool::{GivenUp, Quarantine, SetAside};
use crate::values::errors::{AtPath, LocalError};
use crate::values::escape::for_terminal;

/// Shows it, or copies it.
pub fn run(args: &QuarantineArgs) -> ExitCode {
    ask::end(match &args.command {
        QuarantineCommand::List { place, json } => list(place, *json),
        QuarantineCommand::Export { place, to, remove } => export(place, to, *remove),
    })
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Failure {
        let hint = "run this as the spool's owner, or as root, and look whether there is room";
        Failure::new(error.to_string(), hint)
    }
}

/// The quarantine of a spool, or of the spool of a mount.
fn find(place: &PlaceArgs) -> Result<Quarantine, Failure> {
    let dir = &place.place;
    let spool = match dir.join("spool.json").symlink_metadata() {
        Ok(_) => dir.clone(),
        Err(_) => ask::spool_of(dir, place.keeper_socket.as_deref())?,
    };
    let quarantine = Quarantine::of(&spool);
    match quarantine.path().symlink_metadata() {
        Ok(found) if found.is_dir() => Ok(quarantine),
        _ => Err(Failure::new(
            format!("{} is no spool, nor a mount that has one", dir.display()),
            "name a spool (`logsinkfs status` says where it is), or the directory of a mount",
        )),
    }
}

fn list(place: &PlaceArgs, json: bool) -> Result<ExitCode, Failure> {
    let quarantine = find(place)?;
    let (files, ranges) = (quarantine.set_aside_files()?, quarantine.given_up()?);
    if json {
        files.iter().for_each(|file| println!("{}", json_of(file)));
        for GivenUp { key, bytes, at } in &ranges {
            println!(
                "{}",
                serde_json::json!({"given_up": key, "bytes": bytes, "at": at.to_name()})
            );
        }
    } else {
        files.iter().for_each(|file| print!("{}", readable(file)));
        for GivenUp { key, bytes, at } in &ranges {
            println!("given up: {bytes} bytes of {}, {}", for_terminal(key), at.to_name());
        }
        if files.is_empty() && ranges.is_empty() {
            println!("nothing was set aside, and nothing given up");
        }
    }
    let lost = !(files.is_empty() && ranges.is_empty());
    Ok(if lost { ExitCode::from(EXIT_DATA_LEFT) } else { ExitCode::SUCCESS })
}

fn json_of(SetAside { path, bytes, note }: &SetAside) -> serde_json::Value {
    let marker = note.as_ref().and_then(|note| note.marker.as_ref());
    serde_json::json!({
        "set_aside": path.display().to_string(),
        "bytes": bytes,
        "why": note.as_ref().map(|note| &note.why),
        "at": note.as_ref().map(|note| note.at.to_name()),
        "key": marker.map(|marker| &marker.key),
    })
}

fn readable(SetAside { path, bytes, note }: &SetAside) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let size = ByteSize::b(*bytes).display().iec();
    let mut text = format!("set aside: {} ({size})\n", for_terminal(&name));
    if let Some(note) = note {
        text +=
            &format!("  since   {}\n  why     {}\n", note.at.to_name(), for_terminal(&note.why));
        if let Some(marker) = &note.marker {
            text += &format!("  was     {}\n", for_terminal(&marker.key));
        }
    }
    text
}

fn export(place: &PlaceArgs, to: &Path, remove: bool) -> Result<ExitCode, Failure> {
    let quarantine = find(place)?;
    fs::create_dir_all(to).at("create", to)?;
    if remove {
        // The daemon may add to it meanwhile: what comes from here on is another list.
        quarantine.close_list()?;
    }
    let mut copied = Vec::new();
    let mut left = 0;
    for entry in fs::read_dir(quarantine.path()).at("list", quarantine.path())? {
        let entry = entry.at("list", quarantine.path())?;
        match copy(&entry.path(), &to.join(entry.file_name())) {
            Ok(()) => copied.push(entry.path()),
            Err(e) => {
                left += 1;
                eprintln!("logsinkfs: not copied: {e}");
            }
        }
    }
    File::open(to).and_then(|dir| dir.sync_all()).at("sync", to)?;
    if remove {
        for path in &copied {
            let is_dir = path.symlink_metadata().is_ok_and(|found| found.is_dir());
            let removed = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            removed.at("remove", path)?;
        }
    }
    println!("logsinkfs: {} files are in {}", copied.len(), to.display());
    Ok(if left > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Copies a file, or a folder with what is in it, durably.
fn copy(from: &Path, to: &Path) -> Result<(), LocalError> {
    let found = from.symlink_metadata().at("stat", from)?;
    if found.is_dir() {
        fs::create_dir(to).at("create", to)?;
        for entry in fs::read_dir(from).at("list", from)? {
            let entry = entry.at("list", from)?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return File::open(to).and_then(|dir| dir.sync_all()).at("sync", to);
    }
    let mut source = open_regular(from).at("open", from)?;
    let mut target = File::create_new(to).at("create", to)?;
    io::copy(&mut source, &mut target).at("copy to", to)?;
    target.sync_all().at("sync", to)
}

/// Opens a file that is no link, device or pipe.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}
