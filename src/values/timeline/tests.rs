//! Which order and which lines a stream's file has, whatever comes in whatever order.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn segment(writer: &str, generation: u64, range: Range<u64>, start: i64) -> Segment {
    Segment {
        writer: Arc::new(writer.parse().expect("legal")),
        partition: "".into(),
        generation: GenerationNo(generation),
        offset: range.start,
        length: range.end - range.start,
        start: Utc::from_micros(start),
        partial: false,
        form: Form::Gzip,
        stored: 1,
    }
}

fn mark(segment: Segment) -> Segment {
    Segment { form: Form::Dropped, ..segment }
}

fn torn(segment: Segment) -> Segment {
    Segment { partial: true, ..segment }
}

/// What stands in the file, from place `from` on, in a few letters.
fn shown(timeline: &Timeline, from: usize) -> Vec<String> {
    let word = |place: &Place| match &place.content {
        Content::Bytes { segment: s, skip } => {
            format!("{}{} {}..{}", s.writer, s.generation.0, s.offset + skip, s.end())
        }
        Content::Break => "break".to_owned(),
        Content::Note(text) => {
            let words: Vec<&str> = text.split(' ').collect();
            let what = if text.contains("missing") { "missing" } else { "given up" };
            assert!(text.ends_with('\n'));
            format!("{what} {}", words.iter().find(|w| w.contains("..")).expect("a range"))
        }
    };
    timeline.places()[from..].iter().map(word).collect()
}

fn all(segments: impl IntoIterator<Item = Segment>) -> Vec<String> {
    let mut timeline = Timeline::default();
    timeline.add(segments, Utc::LAST);
    shown(&timeline, 0)
}

#[test]
fn writers_are_merged_by_time_and_each_keeps_its_own_order() {
    let segments = [
        segment("b", 1, 0..10, 15),
        segment("a", 1, 10..20, 30),
        // Both logs are written side by side.
        segment("a", 2, 0..10, 12),
        segment("a", 1, 0..10, 10),
    ];
    assert_eq!(all(segments), ["a1 0..10", "b1 0..10", "a1 10..20", "a2 0..10"]);
}

#[test]
fn generations_that_were_numbered_as_they_were_sealed_are_read_by_their_starts() {
    let numbers = [(2, 10), (4, 20), (1, 30), (3, 40)];
    let segments = numbers.map(|(number, start)| segment("a", number, 0..10, start));
    assert_eq!(all(segments), ["a2 0..10", "a4 0..10", "a1 0..10", "a3 0..10"]);
}

#[test]
fn a_generation_whose_beginning_is_not_there_keeps_its_place_among_the_numbers() {
    let segments = [
        segment("a", 1, 0..10, 10),
        segment("a", 2, 50..60, 5),
        segment("a", 3, 0..10, 20),
        segment("a", 4, 70..80, 90),
    ];
    assert_eq!(all(segments), ["a1 0..10", "a2 50..60", "a3 0..10", "a4 70..80"]);
}

#[test]
fn a_line_is_not_torn_by_another_writer_and_closed_where_it_ends_nowhere() {
    let segments = [
        torn(segment("a", 1, 0..10, 1)),
        segment("b", 1, 0..10, 2),
        segment("a", 1, 10..20, 3),
        torn(segment("b", 1, 10..20, 4)),
        segment("a", 2, 0..5, 5),
    ];
    let expected = ["a1 0..10", "a1 10..20", "b1 0..10", "b1 10..20", "break", "a2 0..5"];
    assert_eq!(all(segments), expected);
}

#[test]
fn what_is_missing_or_given_up_is_said_and_what_lies_before_all_is_not() {
    let segments = [
        segment("a", 1, 10..20, 1),
        segment("a", 1, 30..40, 2),
        mark(segment("a", 1, 40..50, 3)),
        mark(segment("a", 1, 30..40, 2)),
        segment("a", 1, 50..60, 4),
    ];
    let expected = ["a1 10..20", "missing 20..30", "a1 30..40", "given up 40..50", "a1 50..60"];
    assert_eq!(all(segments), expected);
}

#[test]
fn what_comes_late_comes_behind_and_once() {
    let mut timeline = Timeline::default();
    let first = [segment("a", 1, 0..10, 1), segment("a", 1, 20..30, 3)];
    timeline.add(first.clone(), Utc::LAST);
    let before = timeline.places().len();
    timeline.add([segment("a", 1, 10..20, 2)], Utc::LAST);
    timeline.add(first.into_iter().chain([segment("a", 1, 10..20, 2)]), Utc::LAST);
    timeline.add([segment("b", 1, 0..10, 0)], Utc::LAST);
    assert_eq!(shown(&timeline, before), ["a1 10..20", "b1 0..10"]);
}

#[test]
fn what_is_behind_a_fresh_gap_waits_for_what_fills_it() {
    let mut timeline = Timeline::default();
    let found = [segment("a", 1, 0..10, 1), segment("a", 1, 20..30, 3)];
    timeline.add(found, Utc::from_micros(2));
    assert_eq!(shown(&timeline, 0), ["a1 0..10"]);
    timeline.add([segment("a", 1, 10..20, 2)], Utc::from_micros(2));
    assert_eq!(shown(&timeline, 1), ["a1 10..20", "a1 20..30"]);
    timeline.add([segment("a", 1, 40..50, 5)], Utc::from_micros(4));
    assert_eq!(shown(&timeline, 3), Vec::<String>::new());
    timeline.add([], Utc::from_micros(5));
    assert_eq!(shown(&timeline, 3), ["missing 30..40", "a1 40..50"]);
}

#[test]
fn a_generation_waits_for_the_one_before_it_as_long_as_that_may_be_on_its_way() {
    let mut timeline = Timeline::default();
    let late = segment("a", 3, 0..10, 30);
    let found = [segment("a", 2, 0..10, 10), segment("a", 4, 0..10, 40)];
    timeline.add(found, Utc::from_micros(35));
    assert_eq!(shown(&timeline, 0), ["a2 0..10"], "nothing is older than what is shown first");
    timeline.add([late], Utc::from_micros(35));
    assert_eq!(shown(&timeline, 1), ["a3 0..10", "a4 0..10"]);
    timeline.add([segment("a", 6, 0..10, 60)], Utc::from_micros(50));
    timeline.add([], Utc::from_micros(60));
    assert_eq!(shown(&timeline, 3), ["a6 0..10"], "it does not come any more");
}

prop_compose! {
    /// Two writers with generations cut into segments, in any order, in two portions.
    fn any_stream()(
        lengths in vec((0..2usize, 1..4u64, 1..50u64, 0..100i64, any::<bool>()), 1..30),
    )(
        segments in Just({
            let mut ends = BTreeMap::new();
            let cut = |(writer, generation, length, start, partial): (usize, u64, u64, i64, bool)| {
                let end: &mut u64 = ends.entry((writer, generation)).or_default();
                let range = *end..*end + length;
                *end = range.end;
                let name = ["a", "b"][writer];
                Segment { partial, ..segment(name, generation, range, start) }
            };
            lengths.into_iter().map(cut).collect::<Vec<_>>()
        }).prop_shuffle(),
        at in any::<prop::sample::Index>(),
    ) -> (Vec<Segment>, usize) {
        let at = at.index(segments.len());
        (segments, at)
    }
}

proptest! {
    #[test]
    fn each_byte_has_one_place_and_what_has_one_keeps_it((segments, cut) in any_stream()) {
        let mut timeline = Timeline::default();
        timeline.add(segments[..cut].iter().cloned(), Utc::LAST);
        let before = timeline.places().to_vec();
        timeline.add(segments.iter().cloned(), Utc::LAST);
        prop_assert_eq!(&timeline.places()[..before.len()], &before[..]);
        let mut at = 0;
        let mut bytes = 0;
        let mut seen = std::collections::BTreeSet::new();
        for place in timeline.places() {
            prop_assert_eq!(place.at, at);
            prop_assert_eq!(timeline.find(at), timeline.places().iter().position(|p| p == place).unwrap_or(0));
            at += place.content.len();
            if let Content::Bytes { segment, skip } = &place.content {
                prop_assert_eq!(*skip, 0);
                prop_assert!(seen.insert((segment.writer.clone(), segment.generation, segment.offset)));
                bytes += segment.length;
            }
        }
        prop_assert_eq!(at, timeline.len());
        prop_assert_eq!(bytes, segments.iter().map(|s| s.length).sum::<u64>());
    }

    #[test]
    fn a_line_that_ends_nowhere_is_followed_by_its_rest_or_a_break((segments, _) in any_stream()) {
        let mut timeline = Timeline::default();
        timeline.add(segments, Utc::LAST);
        for pair in timeline.places().windows(2) {
            if let Content::Bytes { segment: first, .. } = &pair[0].content
                && first.partial
            {
                match &pair[1].content {
                    Content::Break => {}
                    Content::Bytes { segment: next, .. } => prop_assert_eq!(
                        (&next.writer, next.generation, next.offset),
                        (&first.writer, first.generation, first.end())
                    ),
                    Content::Note(_) => prop_assert!(false, "a note in the middle of a line"),
                }
            }
        }
    }
}
