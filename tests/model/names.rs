//! What an object says of itself: its key, and metadata within the limit of S3.

use std::time::Duration;

use logsinkfs::format::naming::SegmentName;
use logsinkfs::format::stream_map::StreamRule;

use super::check::{assert_delivered, generations, segments};
use super::daemon::{PREFIX, World, run};

#[test]
fn a_chinese_name_and_long_labels_fit_the_metadata_limit() {
    run(async {
        let mut world = World::new();
        let rule = "(?<服务>[^/]+)/(?<long>.*)\\.log=${服务}.log";
        world.settings.routing.stream_map = vec![StreamRule::parse(rule).unwrap()];
        let daemon = world.boot();
        let long = format!("{}/{}", "x".repeat(250), "日".repeat(80));
        let log = daemon.open(&format!("支付服务/{long}.log"));
        daemon.append(log, "行\n");
        daemon.flush().await;
        assert_delivered(&world, "支付服务.log", &["行\n"]);
        let (_, (_, object)) = segments(&world).pop_first().unwrap();
        let label = |name: &str| object.metadata.get(name).cloned();
        assert_eq!(label("stream").unwrap(), "%E6%94%AF%E4%BB%98%E6%9C%8D%E5%8A%A1.log");
        assert_eq!(label("label-%E6%9C%8D%E5%8A%A1").unwrap(), "%E6%94%AF%E4%BB%98%E6%9C%8D%E5%8A%A1");
        assert!(label("label-long").unwrap().len() > 900);

        let longer = format!("{}/{}", "x".repeat(250), "日".repeat(83));
        let path = format!("支付服务/{longer}/{longer}/{longer}/y.log");
        let log = daemon.open(&path);
        daemon.append(log, "行\n");
        daemon.flush().await;
        let (_, (name, object)) = segments(&world).pop_last().unwrap();
        assert_eq!(name.stream, "支付服务.log".as_bytes());
        assert_eq!(object.metadata.get("label-long"), None, "it does not fit, the rest does");
        assert_eq!(generations(&world).len(), 2);
    });
}

#[test]
fn the_key_says_the_partition_of_the_first_byte() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.pass(Duration::from_secs(29 * 60)).await;
        daemon.append(log, "before nine\n");
        daemon.pass(Duration::from_secs(120)).await;
        daemon.append(log, "after nine\n");
        daemon.flush().await;
        let (key, _) = segments(&world).pop_first().unwrap();
        let name = SegmentName::parse(PREFIX, &key).unwrap();
        assert_eq!(name.partition, "dt=2026-11-23/hour=08");
        assert_eq!(name.start.to_name(), "20261123T085900.000000Z");
        assert_eq!(name.length, 23);
    });
}
