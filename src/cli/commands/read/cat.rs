//! `logsinkfs cat`: the lines of streams on standard output, all writers and restarts joined in time order; or the
//! bytes of a whole file's newest version.

use std::pin::pin;
use std::process::ExitCode;

use futures_util::{StreamExt, stream};

use super::explain::open;
use super::merge::merge;
use super::out::{Out, Way};
use super::sources::targets;
use super::waiting::Waiting;
use super::{Location, line_options, tell, to_end};
use crate::flags::CatArgs;

/// Streams that are looked for ahead of the one that is printed.
const AHEAD: usize = 4;

/// Prints streams; exit code 1 when something of them could not be read.
pub fn run(args: CatArgs) -> ExitCode {
    to_end(async {
        let (targets, options, mut out) = {
            let _waiting = Waiting::new("looking for what there is to print");
            let locations = Location::open_all(args.locations.clone(), &args.span).await?;
            let targets = targets(locations, args.lines.recursive).await?;
            let Some(first) = targets.first() else { return Ok(ExitCode::SUCCESS) };
            let options = line_options(&first.location, &args.span, &args.lines, targets.len() > 1, args.merge)?;
            (targets, options, Out::new(args.span.strict, args.lines.color))
        };
        if args.merge {
            merge(&targets, &args.span, &options, &mut out).await?;
            return out.end();
        }
        let span = &args.span;
        let open = |target| async move { (target, open(target, span).await) };
        let mut opened = pin!(stream::iter(&targets).map(open).buffered(AHEAD));
        let mut any = false;
        while let Some((target, file)) = {
            let _waiting = Waiting::new("looking for segments");
            opened.next().await
        } {
            let printed = match file {
                Ok(file) => {
                    any |= !target.location.is_nothing(&file);
                    out.bar.add(file.len());
                    let mut way = Way::new(&file, 0, target.name(), &options);
                    match out.all_of(&mut way).await {
                        Ok(()) => out.rest_of(&mut way),
                        failed => failed,
                    }
                }
                Err(e) => Err(e),
            };
            match printed {
                // The others are printed all the same.
                Err(e) if targets.len() > 1 && e.is_of_one() => {
                    tell(&e);
                    out.fail();
                    any = true;
                }
                printed => printed?,
            }
        }
        if let (false, Some(first)) = (any, targets.first()) {
            first.location.say_empty();
        }
        out.end()
    })
}
