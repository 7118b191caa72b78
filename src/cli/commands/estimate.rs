//! `logsinkfs estimate`: the objects, requests and cost of logs that are written steadily.

use std::io;
use std::process::ExitCode;

use bytesize::ByteSize;
use serde::Serialize;

use super::print;
use crate::flags::EstimateArgs;

const DAY: f64 = 86_400.0;
/// Days of a month.
const MONTH: f64 = 30.0;
const GIB: f64 = 1_073_741_824.0;

/// What it comes to.
#[derive(Debug, Serialize)]
struct Estimate {
    objects_a_day: f64,
    object_bytes: f64,
    uploaded_bytes_a_day: f64,
    stored_bytes: f64,
    puts_a_month: f64,
    puts_usd_a_month: f64,
    storage_usd_a_month: f64,
    usd_a_month: f64,
}

/// Prints the estimate.
pub fn run(args: &EstimateArgs) -> ExitCode {
    let estimate = Estimate::of(args);
    print(|to| {
        if args.json {
            serde_json::to_writer(&mut *to, &estimate).map_err(io::Error::from)?;
            return writeln!(to);
        }
        estimate.write(to)
    })
}

impl Estimate {
    fn of(args: &EstimateArgs) -> Estimate {
        let (streams, rate) = (args.streams as f64, args.rate as f64);
        // A segment is sealed when the first of the two is reached; of nothing, none is.
        let seconds = args.rotate_interval.as_secs_f64().min(args.rotate_size as f64 / rate);
        let objects_a_day = if args.rate == 0 { 0.0 } else { streams * DAY / seconds };
        let uploaded_bytes_a_day = streams * rate * DAY / args.ratio;
        let stored_bytes = uploaded_bytes_a_day * args.keep.as_secs_f64() / DAY;
        let puts_a_month = objects_a_day * MONTH;
        let puts_usd_a_month = puts_a_month / 1000.0 * args.put_price;
        let storage_usd_a_month = stored_bytes / GIB * args.storage_price;
        Estimate {
            objects_a_day,
            object_bytes: if objects_a_day == 0.0 { 0.0 } else { uploaded_bytes_a_day / objects_a_day },
            uploaded_bytes_a_day,
            stored_bytes,
            puts_a_month,
            puts_usd_a_month,
            storage_usd_a_month,
            usd_a_month: puts_usd_a_month + storage_usd_a_month,
        }
    }

    fn write(&self, to: &mut dyn io::Write) -> io::Result<()> {
        // No estimate is of more bytes than that.
        let bytes = |bytes: f64| ByteSize::b(bytes as u64).display().iec().to_string();
        writeln!(to, "objects        {:>12.0} a day, of {} each", self.objects_a_day, bytes(self.object_bytes))?;
        writeln!(to, "uploaded       {:>12} a day", bytes(self.uploaded_bytes_a_day))?;
        writeln!(to, "stored         {:>12}", bytes(self.stored_bytes))?;
        writeln!(to, "PUT requests   {:>12.0} a month, {:.2} USD", self.puts_a_month, self.puts_usd_a_month)?;
        writeln!(to, "storage        {:>12.2} USD a month", self.storage_usd_a_month)?;
        writeln!(to, "in all         {:>12.2} USD a month", self.usd_a_month)
    }
}
