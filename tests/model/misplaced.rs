//! Files of a spool that are of the wrong kind, or have another's content: the one log is quarantined, the others go
//! on, and nothing that a link leads to is touched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::daemon::{Daemon, World, run};
use super::damage::{arrived, go_on, is_kept, markers, part, spool_with_three_ranges};
use super::fuzz::Place;
use super::image::Image;

const ALL: [&str; 4] = ["one\n", "two\n", "three\n", "tail\n"];

/// Starts from a spool in which files were replaced, and has everything uploaded that can be.
async fn go_on_after(world: &World, image: &Image, replace: impl FnOnce(&Path, &Path)) -> Daemon {
    let place = Place::new(image);
    replace(&place.spool(), &place.outside());
    let outside = Image::take(&place.outside());
    let daemon = world.try_boot_in(place.dir, "spool").unwrap();
    daemon.flush().await;
    assert_eq!(arrived(world, "sound.log"), [part(0, "sound\n")], "the other log goes on");
    assert_eq!(Image::take(&daemon.dir().join("outside")), outside);
    daemon
}

#[test]
fn a_folder_or_a_link_in_the_place_of_a_spool_file_stops_nobody_else() {
    run(async {
        for link in [false, true] {
            let world = World::new();
            let image = spool_with_three_ranges(&world).await;
            let data = image.files(".data").remove(0);
            let daemon = go_on_after(&world, &image, |spool, outside| {
                fs::remove_file(spool.join(&data)).unwrap();
                if link {
                    symlink(outside.join("data"), spool.join(&data)).unwrap()
                } else {
                    fs::create_dir(spool.join(&data)).unwrap()
                }
            })
            .await;
            assert_eq!(arrived(&world, "app.log"), []);
            assert_eq!(markers(&daemon.image()).len(), 3, "the keys are kept");
        }
    });
}

#[test]
fn a_link_in_the_place_of_a_folder_is_not_followed() {
    run(async {
        for folder in ["nodes", "quarantine"] {
            let world = World::new();
            let image = spool_with_three_ranges(&world).await;
            let place = Place::new(&image);
            let elsewhere = place.outside().join("folder");
            fs::rename(place.spool().join(folder), &elsewhere).unwrap();
            symlink(elsewhere, place.spool().join(folder)).unwrap();
            assert!(world.try_boot_in(place.dir, "spool").is_err(), "{folder}");
        }
    });
}

#[test]
fn a_folder_in_the_place_of_a_marker_is_quarantined_with_the_bytes() {
    run(async {
        let world = World::new();
        let image = spool_with_three_ranges(&world).await;
        let marker = markers(&image).remove(1);
        let daemon = go_on_after(&world, &image, |spool, _| {
            fs::remove_file(spool.join(&marker)).unwrap();
            fs::create_dir(spool.join(&marker)).unwrap();
        })
        .await;
        assert_eq!(arrived(&world, "app.log"), [part(0, "one\n"), part(8, "three\n"), part(14, "tail\n")]);
        assert!(is_kept(&daemon.image(), b"two\n"));
    });
}

#[test]
fn files_in_the_place_of_folders_and_folders_in_that_of_numbers_are_quarantined() {
    run(async {
        let world = World::new();
        let image = spool_with_three_ranges(&world).await;
        let daemon = go_on_after(&world, &image, |spool, _| {
            fs::write(spool.join("nodes/00000000000000ff.gone"), "a file").unwrap();
            fs::remove_file(spool.join("numbers")).unwrap();
            fs::create_dir_all(spool.join("numbers/inside")).unwrap();
        })
        .await;
        assert_eq!(arrived(&world, "app.log").len(), ALL.len());
        let log = daemon.open("app.log");
        daemon.truncate(log);
        daemon.append(log, "next\n");
        daemon.flush().await;
        assert!(is_kept(&daemon.image(), b"a file"));
        assert!(daemon.image().files(".confirmed").len() < 5, "the number could be remembered");
    });
}

#[test]
fn each_marker_in_turn_may_be_lost_or_be_anothers() {
    run(async {
        for (lost, other) in [(0, None), (1, None), (2, None), (0, Some(1)), (1, Some(2)), (2, Some(0))] {
            let world = World::new();
            let mut image = spool_with_three_ranges(&world).await;
            let markers = markers(&image);
            match other {
                Some(other) => *image.bytes(&markers[lost]) = image.bytes(&markers[other]).clone(),
                None => image.remove(&markers[lost]),
            }
            let daemon = go_on(&world, &image).await;
            let arrived: Vec<_> = arrived(&world, "app.log").into_iter().map(|p| p.1).collect();
            let all = arrived.concat();
            for (n, text) in ALL.iter().enumerate() {
                let times = all.matches(text).count();
                let kept = is_kept(&daemon.image(), text.as_bytes());
                if n == lost && !all.contains(text) {
                    assert!(kept, "{text:?} is lost with marker {lost} as {other:?}")
                } else {
                    assert_eq!(times, 1, "{text:?} with marker {lost} as {other:?}")
                }
            }
        }
    });
}

#[test]
fn a_marker_with_a_key_that_is_not_its_own_is_not_followed() {
    run(async {
        for (from, to) in [("logs/", "dogs/"), ("app.log", "apq.log"), ("_00000001_", "_00000009_")] {
            let world = World::new();
            let mut image = spool_with_three_ranges(&world).await;
            let second = markers(&image).remove(1);
            let text = String::from_utf8(image.bytes(&second).clone()).unwrap();
            assert!(text.contains(from), "{text}");
            *image.bytes(&second) = text.replacen(from, to, 1).into_bytes();
            let daemon = go_on(&world, &image).await;
            let expected = [part(0, "one\n"), part(8, "three\n"), part(14, "tail\n")];
            assert_eq!(arrived(&world, "app.log"), expected, "{to}");
            assert!(is_kept(&daemon.image(), b"two\n"), "{to}");
            assert!(world.bucket.inner().objects().keys().all(|key| !key.contains(to)), "{to}");
        }
    });
}
