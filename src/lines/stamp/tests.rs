//! Times as programs write them.

use proptest::prelude::*;

use super::*;

const AROUND: &str = "20261123T090000.000000Z";

fn stamps() -> Stamps {
    Stamps::new(None, TimeZone::UTC)
}

fn of(stamps: &Stamps, line: &str) -> Option<String> {
    stamps.of(line.as_bytes(), Utc::from_name(AROUND).expect("a time")).map(Utc::to_name)
}

#[test]
fn common_forms_are_recognised_at_the_beginning_of_a_line() {
    for line in [
        "2026-11-23T08:15:02Z started",
        "2026-11-23T08:15:02.000+00:00 started",
        "2026-11-23T09:15:02+0100 started",
        "2026-11-23 08:15:02,000 INFO started",
        "2026-11-23 08:15:02 - INFO - started",
        "2026/11/23 08:15:02 [error] 7#7: nginx",
        "2026-11-23 06:45:02 -0130 started",
        "20261123T081502Z started",
        "[2026-11-23 08:15:02] app.INFO: started",
        "INFO  2026-11-23 08:15:02 started",
        "INFO [main] [2026-11-23T08:15:02Z] started",
        "time=\"2026-11-23T08:15:02Z\" level=info",
        "level=info ts=2026-11-23T08:15:02Z",
        "10.0.0.7 - - [23/Nov/2026:08:15:02 +0000] \"GET / HTTP/1.1\" 200",
        "23-Nov-2026 08:15:02.000 INFO [main] org.apache.catalina",
        "Nov 23 08:15:02 web-1 sshd[7]: started",
        "<34>Nov 23 08:15:02 web-1 su: started",
        "<34>1 2026-11-23T08:15:02.000Z web-1 su - - - started",
        "[Mon Nov 23 08:15:02.000000 2026] [core:notice] started",
        "I1123 08:15:02.000000       1 main.go:7] started",
        "1795421702 started",
        "1795421702.000 started",
        "1795421702000 started",
        "[1795421702] started",
        r#"{"level":"info","ts":1795421702.0,"msg":"started"}"#,
        r#"{"ctx":{"time":"1999-01-01T00:00:00Z"},"time":"2026-11-23T08:15:02Z"}"#,
        r#"{"@timestamp":"2026-11-23T08:15:02.000Z"}"#,
        r#"{"timestamp":1795421702000,"msg":"cut off her"#,
    ] {
        assert_eq!(of(&stamps(), line).as_deref(), Some("20261123T081502.000000Z"), "{line}");
    }
    let fraction = of(&stamps(), "2026-11-23 08:15:02,123456789 x");
    assert_eq!(fraction.as_deref(), Some("20261123T081502.123456Z"));
}

#[test]
fn what_goes_on_from_the_line_before_has_no_time() {
    for line in [
        "",
        "    at com.example.Main(Main.java:2026)",
        "\t2026-11-23T08:15:02Z within",
        "Caused by: java.lang.IllegalStateException",
        "2026-13-23T08:15:02Z",
        "12345678901 lines",
        "12345 lines",
        "1795421702abc",
        "{\"msg\":\"no time\"}",
        "{\"time\":null,\"ts\":{}}",
        "{",
        "Max 23 08:15:02",
        "+",
    ] {
        assert_eq!(of(&stamps(), line), None, "{line}");
    }
}

#[test]
fn a_time_without_a_zone_is_of_the_zone_that_is_given() {
    let east = Stamps::new(None, TimeZone::fixed(jiff::tz::offset(2)));
    assert_eq!(of(&east, "2026-11-23 08:15:02 x").as_deref(), Some("20261123T061502.000000Z"));
    assert_eq!(of(&east, "2026-11-23T08:15:02Z x").as_deref(), Some("20261123T081502.000000Z"));
}

#[test]
fn a_time_without_a_year_or_a_day_is_the_nearest_one() {
    let at = |line: &str, around: &str, stamps: &Stamps| {
        stamps.of(line.as_bytes(), Utc::from_name(around).expect("a time")).map(Utc::to_name)
    };
    let new_year = at("Dec 31 23:59:59 host x", "20270101T000100.000000Z", &stamps());
    assert_eq!(new_year.as_deref(), Some("20261231T235959.000000Z"));
    let leap = at("Feb 29 00:00:00 host x", "20240229T000100.000000Z", &stamps());
    assert_eq!(leap.as_deref(), Some("20240229T000000.000000Z"));
    let clock = Stamps::new(Some(StampFormat::parse("%H:%M:%S").expect("a format")), TimeZone::UTC);
    let midnight = at("23:59:59 x", "20270101T000100.000000Z", &clock);
    assert_eq!(midnight.as_deref(), Some("20261231T235959.000000Z"));
}

#[test]
fn a_format_may_be_given() {
    for (format, line) in [
        ("%d.%m.%Y %H:%M:%S", "23.11.2026 08:15:02 x"),
        ("%d.%m.%Y %H:%M:%S", "INFO [23.11.2026 08:15:02] x"),
        ("%s", "1795421702 x"),
        ("%m/%d %H:%M:%S", "11/23 08:15:02 x"),
        ("%Y-%m-%dT%H:%M:%S%z", "2026-11-23T10:15:02+0200 x"),
    ] {
        let stamps = Stamps::new(Some(StampFormat::parse(format).expect(format)), TimeZone::UTC);
        assert_eq!(of(&stamps, line).as_deref(), Some("20261123T081502.000000Z"), "{format}");
    }
    for bad in ["", "%Y-%m-%d", "%Q", "abc", "%"] {
        let why = StampFormat::parse(bad).expect_err(bad).to_string();
        assert!(why.contains("%H:%M:%S"), "{why}");
    }
}

proptest! {
    #[test]
    fn no_line_is_too_odd(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = stamps().of(&line, Utc::default());
    }

    #[test]
    fn nearly_a_time_is_no_reason_to_fail(line in "[0-9TZJanMo:/. +{\"ts,\\[-]{0,60}") {
        let _ = stamps().of(line.as_bytes(), Utc::LAST);
    }

    #[test]
    fn every_instant_is_read_back(micros in 0i64..4_000_000_000_000_000) {
        let instant = Timestamp::from_microsecond(micros).expect("in range");
        let at = Utc::from_micros(micros);
        prop_assert_eq!(stamps().of(format!("{instant} x").as_bytes(), Utc::default()), Some(at));
    }
}
