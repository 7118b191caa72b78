//! Files of two versions of the JVM: heap dumps, flight recordings, logs of the collector and of a crash, and its
//! output in a file that is rotated by copying.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use test_harness::files::names;
use test_harness::process::{Proc, command, program};
use test_harness::stage::{DAEMON, KERNEL};
use test_harness::{Rig, eventually, programs};

use super::real_files::{SOON, Worker, rotate, stop_and_compare};

/// Where the programs of each version are: Debian's, and one from PyPI.
fn versions() -> [PathBuf; 2] {
    [program("java").parent().unwrap().to_owned(), programs::java_25().join("bin")]
}

/// A program of the JVM in one file, compiled with the version that has a compiler.
fn java(rig: &Rig, jvm: &Path, class: &str, body: &str, flags: &[impl AsRef<OsStr>]) -> std::process::Command {
    let source = rig.local(&format!("{class}.java"));
    let text = format!("public class {class} {{ public static void main(String[] a) throws Exception {{ {body} }} }}");
    fs::write(&source, text).unwrap();
    let mut javac = command(program("javac"));
    javac.arg("-d").arg(rig.local("classes")).arg(&source);
    Proc::start("javac", javac).success();
    let mut java = command(jvm.join("java"));
    java.args(["-XX:TieredStopAtLevel=1", "-XX:-CreateCoredumpOnCrash", "-cp"]).arg(rig.local("classes"));
    java.args(flags).arg(class).current_dir(rig.local(""));
    java
}

#[test]
fn a_heap_dump_of_the_jvm_arrives_whole() {
    let ways = [(KERNEL, Worker::Lives), (DAEMON, Worker::Lives), (KERNEL, Worker::IsKilled)];
    let [old, new] = versions();
    for (jvm, ways) in [(old, &ways[..1]), (new, &ways[..])] {
        for &(write_path, worker) in ways {
            let rig = Rig::embedded();
            let mount = rig.mount(&[&SOON[..], &["--write-path", write_path]].concat());
            let at = format!("-XX:HeapDumpPath={}", mount.plan.point.display());
            // Where it has several threads, 25 writes a file with each, and puts them together.
            let threads = ["-XX:+UseParallelGC", "-XX:ActiveProcessorCount=8"];
            let flags = [&["-Xmx64m", "-XX:+HeapDumpOnOutOfMemoryError", &at][..], &threads].concat();
            let body = "var l = new java.util.ArrayList<byte[]>(); while (true) l.add(new byte[100000]);";
            let mut java = Proc::start("java", java(&rig, &jvm, "Full", body, &flags));
            eventually("a dump", || (!names(&mount.plan.point).is_empty()).then_some(()));
            if worker == Worker::IsKilled {
                mount.kill_worker();
            }
            assert!(!java.wait().success());
            let name = format!("java_pid{}.hprof", java.pid().as_raw_nonzero());
            assert_eq!(names(&mount.plan.point), [&*name]);
            assert!(fs::metadata(mount.path(&name)).unwrap().len() > 10_000_000);
            stop_and_compare(&rig, mount);
            let versions = rig.bucket().versions(&name);
            assert!(versions.len() == 1 && versions[0].1.starts_with(b"JAVA PROFILE 1.0.2\0"), "{name}");
            let keys: Vec<_> = rig.bucket().keys().into_iter().filter(|key| !key.contains("/.logsinkfs/")).collect();
            assert_eq!(keys.len(), 1, "{keys:?}");
        }
    }
}

#[test]
fn a_flight_recording_arrives_whole() {
    for jvm in versions() {
        let rig = Rig::embedded();
        let mount = rig.mount(&SOON);
        let point = mount.plan.point.display();
        let flags = [
            format!("-XX:StartFlightRecording=filename={point}/exit.jfr,dumponexit=true,settings=profile"),
            format!("-XX:FlightRecorderOptions=repository={point}/repository"),
        ];
        let body = "String s = \"\"; for (int i = 0; i < 3000; i++) s += i; System.out.println(s.length());";
        let java = Proc::start("java", java(&rig, &jvm, "Busy", body, &flags));
        eventually("a repository", || mount.path("repository").exists().then_some(()));
        mount.kill_worker();
        java.success();
        let mut print = command(jvm.join("jfr"));
        print.arg("summary").arg(mount.path("exit.jfr"));
        Proc::start("jfr", print).success();
        stop_and_compare(&rig, mount);
        assert!(rig.bucket().versions("exit.jfr").last().unwrap().1.starts_with(b"FLR\0"));
    }
}

#[test]
fn logs_of_the_garbage_collector_and_of_a_crash_arrive_as_logs() {
    for jvm in versions() {
        let rig = Rig::embedded();
        let mount = rig.mount(&SOON);
        let point = mount.plan.point.display();
        let flags = [
            "-XX:+UseSerialGC".into(),
            "-Xmx32m".into(),
            format!("-Xlog:gc*,safepoint*:file={point}/gc.log::filecount=3,filesize=8k"),
            format!("-XX:ErrorFile={point}/hs_err_%p.log"),
        ];
        let body = "for (long i = 0; ; i++) { byte[] b = new byte[1000000]; if (i % 1000 == 0) Thread.sleep(1); }";
        let mut java = Proc::start("java", java(&rig, &jvm, "Garbage", body, &flags));
        eventually("rotation", || mount.path("gc.log.2").exists().then_some(()));
        java.signal(Signal::SEGV);
        assert!(!java.wait().success());
        let crash = format!("hs_err_{}.log", java.pid().as_raw_nonzero());
        stop_and_compare(&rig, mount);
        let text = String::from_utf8(rig.bucket().content(&crash)).unwrap();
        assert!(text.contains("SIGSEGV") && text.trim_end().ends_with("END."), "{crash}");
        assert!(rig.bucket().keys().iter().all(|key| !key.contains(".files/")), "{:?}", rig.bucket().keys());
    }
}

/// As Tomcat's start script does it, and as its readers wish that it did.
#[test]
fn the_output_of_a_jvm_that_the_shell_redirects_is_there_once_when_it_is_copied_and_truncated() {
    for (redirect, worker) in [(">>", Worker::Lives), (">", Worker::IsKilled)] {
        let rig = Rig::embedded();
        let mount = rig.mount(&[&SOON[..], &["--rotate-size", "32KiB"]].concat());
        let (log, stop) = (mount.path("catalina.out"), rig.local("stop"));
        let body = format!(
            "var stop = java.nio.file.Path.of(\"{}\"); long n = 0; while (!java.nio.file.Files.exists(stop)) {{ \
             System.out.println(\"29-Nov-2026 12:00:00.000 INFO [main] line \" + n++); \
             if (n % 100 == 0) Thread.sleep(1); }} System.err.println(n);",
            stop.display()
        );
        let java = java(&rig, &versions()[1], "Catalina", &body, &["-Xmx32m"]);
        let mut shell = command(program("bash"));
        shell.args(["-c", &format!("exec \"$@\" {redirect} {}", log.display()), "bash"]);
        shell.arg(java.get_program()).args(java.get_args());
        let mut catalina = Proc::start("catalina", shell);
        for rotation in 0..5 {
            eventually("a log", || fs::metadata(&log).is_ok_and(|file| file.len() > 20_000).then_some(()));
            let dated = format!("dateext\n dateformat -%Y%m%d-{rotation}");
            let rotate = rotate(&rig, &log, if rotation % 2 == 0 { "compress" } else { &dated });
            if worker == Worker::IsKilled {
                mount.kill_worker();
            }
            rotate.success();
        }
        fs::write(&stop, "").unwrap();
        assert!(catalina.wait().success(), "{}", catalina.last_words());
        let count: usize = catalina.last_words().trim().parse().unwrap();
        mount.stop();
        let lines = rig.bucket().content("catalina.out");
        let lines = String::from_utf8(lines).unwrap();
        let expected = (0..count).map(|n| format!("29-Nov-2026 12:00:00.000 INFO [main] line {n}"));
        assert!(lines.lines().eq(expected), "{count} lines, each once ({redirect})");
        assert_eq!(rig.bucket().streams().into_iter().collect::<Vec<_>>(), ["catalina.out"]);
    }
}
