//! `logsinkfs quarantine`: lists, exports, and has the daemon retry what a spool has quarantined or dropped. Owns the
//! output; the spool knows what is there.
//!
//! Invariant: nothing leaves a quarantine that was not copied durably, and no link in one is followed, since its owner
//! may be another user.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::ExitCode;

use bytesize::ByteSize;

use crate::cli::find_mount;
use crate::flags::{PlaceArgs, QuarantineArgs, QuarantineCommand};
use crate::spool::disk::open_regular;
use crate::spool::{DroppedRange, IDENTITY, Quarantine, QuarantinedFile};
use crate::supervisor::control_client;
use crate::supervisor::control_client::Failure;
use crate::supervisor::protocol::{Request, ToClient};
use crate::types::errors::{AtPath, LocalError};
use crate::types::escape::for_terminal;
use crate::types::exit_code::EXIT_DATA_LEFT;

/// Shows it, or copies it.
pub fn run(args: &QuarantineArgs) -> ExitCode {
    find_mount::end(match &args.command {
        QuarantineCommand::List { place, json } => list(place, *json),
        QuarantineCommand::Retry { place, names } => retry(place, names),
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
    let spool = match dir.join(IDENTITY).symlink_metadata() {
        Ok(_) => dir.clone(),
        Err(_) => find_mount::spool_of(dir, place.keeper_socket.as_deref())?,
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
    let (files, ranges) = (quarantine.files()?, quarantine.dropped()?);
    if json {
        files.iter().for_each(|file| println!("{}", json_of(file)));
        for DroppedRange { key, bytes, at } in &ranges {
            println!("{}", serde_json::json!({"dropped": key, "bytes": bytes, "at": at.to_name()}));
        }
    } else {
        files.iter().for_each(|file| print!("{}", readable(file)));
        for DroppedRange { key, bytes, at } in &ranges {
            println!("dropped: {bytes} bytes of {}, {}", for_terminal(key), at.to_name());
        }
        if files.is_empty() && ranges.is_empty() {
            println!("nothing was quarantined, and nothing dropped");
        }
    }
    let lost = !(files.is_empty() && ranges.is_empty());
    Ok(if lost { ExitCode::from(EXIT_DATA_LEFT) } else { ExitCode::SUCCESS })
}

fn json_of(QuarantinedFile { path, bytes, note }: &QuarantinedFile) -> serde_json::Value {
    let marker = note.as_ref().and_then(|note| note.marker.as_ref());
    serde_json::json!({
        "quarantined": path.display().to_string(),
        "bytes": bytes,
        "why": note.as_ref().map(|note| &note.why),
        "at": note.as_ref().map(|note| note.at.to_name()),
        "key": marker.map(|marker| &marker.key),
    })
}

fn readable(QuarantinedFile { path, bytes, note }: &QuarantinedFile) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let size = ByteSize::b(*bytes).display().iec();
    let mut text = format!("quarantined: {} ({size})\n", for_terminal(&name));
    if let Some(note) = note {
        text += &format!("  since   {}\n  why     {}\n", note.at.to_name(), for_terminal(&note.why));
        if let Some(marker) = &note.marker {
            text += &format!("  was     {}\n", for_terminal(&marker.key));
        }
    }
    text
}

/// Has the daemon send them, one after the other.
fn retry(place: &PlaceArgs, names: &[String]) -> Result<ExitCode, Failure> {
    let keeper = find_mount::keeper_of(&place.place, place.keeper_socket.as_deref())?;
    let names = match names {
        [] => find(place)?.files()?.iter().map(QuarantinedFile::name).collect(),
        names => names.to_vec(),
    };
    if names.is_empty() {
        println!("logsinkfs: nothing was quarantined");
    }
    let mut stays = false;
    for name in names {
        let shown = for_terminal(&name).into_owned();
        match keeper.ask_worker(Request::Retry { name }, None)? {
            ToClient::Retried(Ok(())) => println!("logsinkfs: S3 has {shown}"),
            ToClient::Retried(Err(why)) => {
                stays = true;
                eprintln!("logsinkfs: stays quarantined: {shown}: {}", for_terminal(&why));
            }
            other => return Err(control_client::refused(other)),
        }
    }
    Ok(if stays { ExitCode::from(EXIT_DATA_LEFT) } else { ExitCode::SUCCESS })
}

fn export(place: &PlaceArgs, to: &Path, remove: bool) -> Result<ExitCode, Failure> {
    let (copied, left) = copy_all(&find(place)?, to, remove)?;
    println!("logsinkfs: {copied} files are in {}", to.display());
    Ok(if left > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Gives how many files were copied, and how many could not be.
fn copy_all(quarantine: &Quarantine, to: &Path, remove: bool) -> Result<(usize, usize), LocalError> {
    fs::create_dir_all(to).at("create", to)?;
    let mut all = Vec::new();
    if remove {
        // What the daemon drops from here on is another list.
        quarantine.close_list()?;
    } else {
        all.extend(quarantine.list().map(|list| vec![list]));
    }
    all.extend(quarantine.files()?.iter().map(QuarantinedFile::files));
    let (mut copied, mut left) = (Vec::new(), 0);
    for files in all {
        let copies = files.iter().map(|file| copy(file, &to.join(file.file_name().unwrap_or_default())));
        match copies.collect::<Result<Vec<_>, _>>() {
            Ok(_) => copied.extend(files),
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
    Ok((copied.len(), left))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::FileExt;
    use std::thread;

    use super::*;
    use crate::spool::Note;
    use crate::types::ids::{SpoolOffset, SpoolRange};
    use crate::types::time::Utc;

    /// Takes away what there is again and again, while something is added so many times; gives where it is then.
    fn taken_while(times: usize, add: impl Fn(&Quarantine, usize) + Sync) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let quarantine = Quarantine::of(dir.path());
        fs::create_dir(quarantine.path()).expect("made");
        let take = |n: usize| {
            let to = dir.path().join(format!("out/{n:06}"));
            copy_all(&quarantine, &to, true).expect("copied");
        };
        thread::scope(|scope| {
            let adding = scope.spawn(|| (0..times).for_each(|n| add(&quarantine, n)));
            let rounds = (0..).take_while(|_| !adding.is_finished());
            rounds.for_each(take);
        });
        take(999_999);
        dir
    }

    /// What is in the files that were copied, by their names.
    fn copies(dir: &tempfile::TempDir) -> Vec<(String, String)> {
        let rounds = fs::read_dir(dir.path().join("out")).expect("a folder").flatten();
        let files = rounds.flat_map(|round| fs::read_dir(round.path()).expect("a folder").flatten());
        let read = |path: &Path| fs::read_to_string(path).expect("text");
        files.map(|file| (file.file_name().to_string_lossy().into_owned(), read(&file.path()))).collect()
    }

    #[test]
    fn a_list_that_grows_while_it_is_taken_away_loses_nothing() {
        const RANGES: usize = 3000;
        let dir = taken_while(RANGES, |quarantine, n| {
            let range = DroppedRange { key: format!("key {n}"), bytes: 1, at: Utc::from_micros(0) };
            quarantine.note_dropped(&range).expect("noted");
        });
        let mut found = BTreeSet::new();
        for (_, list) in copies(&dir) {
            let ranges = list.lines().filter_map(|line| serde_json::from_str(line).ok());
            found.extend(ranges.map(|range: DroppedRange| range.key));
        }
        assert_eq!(found.len(), RANGES);
    }

    #[test]
    fn what_is_just_being_quarantined_is_not_taken_by_halves() {
        const FILES: usize = 100;
        const BYTES: u64 = 1 << 20;
        let dir = taken_while(FILES, |quarantine, n| {
            let mut source = tempfile::tempfile().expect("a file");
            source.set_len(BYTES).expect("long");
            io::Write::write_all(&mut source, format!("{n}").as_bytes()).expect("written");
            let range = SpoolRange { start: SpoolOffset(0), end: SpoolOffset(BYTES) };
            let note = Note { why: "a test".to_owned(), at: Utc::from_micros(0), marker: None };
            let read = |to: &mut [u8], at: SpoolOffset| source.read_exact_at(to, at.0);
            quarantine.keep_copy(read, range, &format!("copy {n}"), &note).expect("kept");
        });
        let copies = copies(&dir);
        let whole = copies.iter().filter(|(_, bytes)| bytes.len() as u64 == BYTES).count();
        let notes = copies.iter().filter(|(name, _)| name.ends_with(".json")).count();
        assert_eq!((whole, notes, copies.len()), (FILES, FILES, 2 * FILES));
    }
}
