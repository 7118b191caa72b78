//! A spool that no longer says who it is: its logs go on, under another writer id, unless what waits in it belongs
//! elsewhere.

use logsinkfs::settings::writer::Source;
use logsinkfs::spool::SpoolError;

use super::check::segments;
use super::daemon::{World, run};
use super::damage::{arrived, go_on, is_kept, part, spool_with_three_ranges};

#[test]
fn a_spool_whose_identity_is_damaged_goes_on_as_another_writer() {
    run(async {
        for damage in [&b""[..], b"{", b"[]", b"\xff\0"] {
            let world = World::new();
            let mut image = spool_with_three_ranges(&world).await;
            *image.bytes("spool.json") = damage.to_vec();
            let daemon = go_on(&world, &image).await;
            let parts = [part(0, "one\n"), part(4, "two\n"), part(8, "three\n"), part(14, "tail\n")];
            assert_eq!(arrived(&world, "app.log"), parts);
            assert!(is_kept(&daemon.image(), damage));
        }
    });
}

#[test]
fn what_was_sealed_keeps_its_key_when_the_identity_is_gone() {
    run(async {
        let world = World::new();
        let mut image = spool_with_three_ranges(&world).await;
        let text = String::from_utf8(image.bytes("spool.json").clone()).unwrap();
        image.remove("spool.json");
        go_on(&world, &image).await;
        let before = |writer: &str| text.contains(&format!("{writer:?}"));
        let of_log = segments(&world).into_values().filter(|(name, _)| name.stream == b"app.log");
        let mut writers: Vec<_> = of_log.map(|(name, _)| (name.offset, before(&name.writer.to_string()))).collect();
        writers.sort();
        assert_eq!(writers, [(0, true), (4, true), (8, true), (14, false)]);
    });
}

#[test]
fn a_spool_that_lost_its_identity_sends_nothing_below_another_prefix() {
    run(async {
        for damage in [None, Some(b"")] {
            let mut world = World::new();
            let mut image = spool_with_three_ranges(&world).await;
            match damage {
                Some(bytes) => *image.bytes("spool.json") = bytes.to_vec(),
                None => image.remove("spool.json"),
            }
            world.settings.spool.source = Source::S3 { bucket: "bucket".into(), prefix: "of others/".into() };
            let refused = world.try_boot_from(&image).err().unwrap();
            assert!(matches!(refused, SpoolError::OtherSource { .. }), "{refused}");
        }
    });
}

#[test]
fn the_spool_of_a_later_version_is_left_alone() {
    run(async {
        let world = World::new();
        let mut image = spool_with_three_ranges(&world).await;
        *image.bytes("spool.json") = b"{\"format\":4,\"what\":\"is not known yet\"}".to_vec();
        let refused = world.try_boot_from(&image).err().unwrap();
        assert!(matches!(refused, SpoolError::TooNew(..)), "{refused}");
    });
}
