//! Order and content of the file of a stream, for names that arrive in any order.

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
        modified: Utc::default(),
        whole: None,
    }
}

fn mark(segment: Segment) -> Segment {
    Segment { form: Form::Dropped, ..segment }
}

/// Stored so many microseconds after the others.
fn later(modified: i64, segment: Segment) -> Segment {
    Segment { modified: Utc::from_micros(modified), ..segment }
}

fn torn(segment: Segment) -> Segment {
    Segment { partial: true, ..segment }
}

/// What stands in the file, from place `from` on, in a few letters.
fn shown(timeline: &Timeline, from: usize) -> Vec<String> {
    let word = |place: &TimelineSpan| match &place.content {
        Content::Bytes { segment: s, range } => {
            let (start, end) = (s.offset + range.start, s.offset + range.end);
            let from = s.modified.micros();
            let whose = if from == 0 { String::new() } else { format!(" of {from}") };
            format!("{}{} {start}..{end}{whose}", s.writer, s.generation.0)
        }
        Content::Break => "break".to_owned(),
        Content::Note(text) => {
            let words: Vec<&str> = text.split(' ').collect();
            let kinds = ["missing", "dropped", "claimed twice"];
            let what = kinds.iter().find(|what| text.contains(**what)).expect("a kind of note");
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
fn what_is_missing_or_dropped_is_said_and_what_lies_before_all_is_not() {
    let segments = [
        segment("a", 1, 10..20, 1),
        segment("a", 1, 30..40, 2),
        mark(segment("a", 1, 40..50, 3)),
        mark(segment("a", 1, 30..40, 2)),
        segment("a", 1, 50..60, 4),
    ];
    let expected = ["a1 10..20", "missing 20..30", "a1 30..40", "dropped 40..50", "a1 50..60"];
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

#[test]
fn of_two_that_claim_one_range_the_one_stored_first_is_read_and_a_line_says_so() {
    let longer = later(9, segment("a", 1, 0..11, 1));
    let segments = [segment("a", 1, 0..10, 1), longer.clone(), segment("a", 1, 10..20, 2)];
    let expected = ["a1 0..10", "claimed twice 0..11", "a1 10..20"];
    assert_eq!(all(segments.clone()), expected);
    // Whatever it says of itself, and also where it is seen before the others, or long after.
    let intruders = [
        later(9, segment("a", 1, 0..11, -5)),
        later(9, Segment { form: Form::Plain, stored: 10, ..segment("a", 1, 0..10, 1) }),
        later(9, segment("a", 1, 3..5, 9_000)),
    ];
    for intruder in intruders {
        let found = [intruder.clone(), segments[0].clone(), segments[2].clone()];
        let claimed = format!("claimed twice {}..{}", intruder.offset, intruder.end());
        assert_eq!(all(found.clone()), ["a1 0..10", &claimed, "a1 10..20"]);
        let mut timeline = Timeline::default();
        timeline.add([segments[0].clone(), segments[2].clone()], Utc::LAST);
        for _ in 0..3 {
            timeline.add(found.clone(), Utc::LAST);
        }
        assert_eq!(shown(&timeline, 0), ["a1 0..10", "a1 10..20", &claimed], "and once");
    }
}

#[test]
fn what_nobody_else_has_of_a_segment_is_read() {
    let inner = later(1, segment("a", 1, 10..20, 2));
    let outer = later(2, segment("a", 1, 0..30, 1));
    let expected = ["a1 0..10 of 2", "a1 10..20 of 1", "claimed twice 10..20", "a1 20..30 of 2"];
    assert_eq!(all([outer, inner]), expected);
}

#[test]
fn a_line_is_not_torn_to_say_who_claims_it() {
    let segments =
        [torn(segment("a", 1, 0..10, 1)), later(1, segment("a", 1, 0..10, 1_000)), segment("a", 1, 10..20, 2)];
    assert_eq!(all(segments), ["a1 0..10", "a1 10..20", "claimed twice 0..10"]);
}

#[test]
fn a_file_is_as_long_as_a_file_can_be() {
    let mut timeline = Timeline::default();
    for length in [LEN_MAX - 10, 20, 10, 1] {
        let segment = Arc::new(segment("a", 1, 0..length, 1));
        timeline.push(Content::Bytes { segment, range: 0..length });
    }
    assert_eq!((timeline.len(), timeline.places().len()), (LEN_MAX, 2));
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
            if let Content::Bytes { segment, range } = &place.content {
                prop_assert_eq!(range.clone(), 0..segment.length);
                prop_assert!(seen.insert((segment.writer.clone(), segment.generation, segment.offset)));
                bytes += segment.length;
            }
        }
        prop_assert_eq!(at, timeline.len());
        prop_assert_eq!(bytes, segments.iter().map(|s| s.length).sum::<u64>());
    }

    /// Also of objects that claim whatever they like, in whatever order they are found: each byte that some object can
    /// hold is there once, of the object that was stored first.
    #[test]
    fn the_first_stored_is_read_whatever_is_claimed(
        claims in vec((0..40u64, 1..40u64, 0..60u64, any::<bool>()), 1..12).prop_shuffle(),
        cut in any::<prop::sample::Index>(),
    ) {
        let claim = |(n, (offset, length, stored, mark)): (usize, &(u64, u64, u64, bool))| {
            let form = if *mark { Form::Dropped } else { Form::Plain };
            let modified = Utc::from_micros(n as i64 + 1);
            let name = segment("a", 1, *offset..offset + length, n as i64);
            Segment { form, stored: *stored, modified, ..name }
        };
        let segments: Vec<_> = claims.iter().enumerate().map(claim).collect();
        let mut timeline = Timeline::default();
        let first = cut.index(segments.len());
        timeline.add(segments[..first].iter().rev().cloned(), Utc::LAST);
        timeline.add(segments.iter().rev().cloned(), Utc::LAST);
        let mut expected = [None; 80];
        for s in segments.iter().rev() {
            (s.offset..s.possible_end()).for_each(|at| expected[at as usize] = Some(s.modified));
        }
        let (mut found, mut at) = ([None; 80], 0);
        for place in timeline.places() {
            prop_assert_eq!(place.at, at);
            at += place.content.len();
            if let Content::Bytes { segment, range } = &place.content {
                for at in range.clone() {
                    let byte = &mut found[(segment.offset + at) as usize];
                    prop_assert_eq!(byte.replace(segment.modified), None);
                }
            }
        }
        prop_assert_eq!(at, timeline.len());
        prop_assert_eq!(found, expected);
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
