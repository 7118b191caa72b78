//! A machine that boots a kernel with the program in its memory, and what it brings back.
//!
//! Owns: the initramfs, the emulator's process, and the folder of results. The machine has no network and no disk; its
//! first serial line is the console, its second takes the archive of the results.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::debian::Kernel;
use test_harness::bucket::Bucket;
use test_harness::process::{command, program};
use test_harness::s3::{Kind, Server, logsinkfs, root};

/// How long a machine may run, in seconds; the guest itself ends what hangs. It takes half a minute where nothing else
/// runs.
const LIFETIME: &str = "280";

/// Runs `guest/init.sh` on a kernel.
pub fn boot(kernel: &Kernel) -> Results {
    let dir = tempfile::Builder::new().prefix("logsinkfs-kernel-").tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    make_initramfs(kernel, &at("initramfs"), &at("initramfs.cpio"));
    let usr = kernel.emulator.join("usr");
    let mut machine = command(program("timeout"));
    machine.arg(LIFETIME).arg(program("setpriv")).args(["--pdeathsig", "KILL", "--"]);
    // With its own libraries, down to the C library.
    machine.arg(usr.join("lib64/ld-linux-x86-64.so.2"));
    machine.arg("--library-path").arg(usr.join("lib/x86_64-linux-gnu"));
    machine.arg(usr.join("bin/qemu-system-x86_64"));
    for firmware in ["share/qemu", "share/seabios"] {
        machine.arg("-L").arg(usr.join(firmware));
    }
    machine.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"]);
    machine.args(["-nodefaults", "-nic", "none", "-display", "none", "-no-reboot"]);
    machine.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(at("initramfs.cpio"));
    machine.args(["-append", "console=ttyS0 panic=-1 quiet"]);
    for file in ["console", "results.tgz"] {
        machine.arg("-serial").arg(format!("file:{}", at(file).display()));
    }
    let done = machine.output().unwrap();
    let results = Results { dir };
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{machine:?}: {}: {said}", done.status);
    fs::create_dir(results.path("")).unwrap();
    let mut unpack = command(program("tar"));
    unpack.arg("-xzf").arg(results.dir.path().join("results.tgz")).arg("-C").arg(results.path(""));
    assert!(unpack.status().unwrap().success(), "the results are no archive");
    results
}

/// Puts the program, its libraries and the scripts of the guest into an archive that a kernel unpacks into its memory.
fn make_initramfs(kernel: &Kernel, tree: &Path, archive: &Path) {
    let add = |from: &Path, to: &str| {
        let to = tree.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    let busybox = kernel.emulator.join("usr/bin/busybox");
    add(&busybox, "bin/busybox");
    symlink("busybox", tree.join("bin/sh")).unwrap();
    let guest = root().join("tests/kernels/guest");
    add(&guest.join("init.sh"), "init");
    fs::set_permissions(tree.join("init"), Permissions::from_mode(0o755)).unwrap();
    add(&guest.join("writer.sh"), "writer.sh");
    if let Some(fuse) = &kernel.fuse {
        add(fuse, "fuse.ko");
    }
    // The SDK does not start without.
    let certificates = "/etc/ssl/certs/ca-certificates.crt";
    add(Path::new(certificates), certificates);
    for library in libraries(Path::new(logsinkfs())) {
        add(&library, library.to_str().unwrap());
    }
    // Symbols are most of a debug build.
    let mut strip = command(program("strip"));
    strip.arg("-o").arg(tree.join("bin/logsinkfs")).arg(logsinkfs());
    assert!(strip.status().unwrap().success());
    let mut pack = command(program("sh"));
    pack.args(["-ec", "cd \"$0\"; find . | \"$1\" cpio -o -H newc >\"$2\""]);
    let packed = pack.arg(tree).arg(&busybox).arg(archive).stderr(Stdio::null()).status();
    assert!(packed.unwrap().success());
    fs::remove_dir_all(tree).unwrap();
}

/// The libraries of a program and its loader, as ldd finds them.
fn libraries(of: &Path) -> Vec<PathBuf> {
    let found = Command::new(program("ldd")).arg(of).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let paths = found.split_whitespace().filter(|word| word.starts_with('/'));
    paths.map(PathBuf::from).collect()
}

/// What a machine brought back.
pub struct Results {
    dir: TempDir,
}

impl Results {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("results").join(name)
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The bucket of the machine, below a prefix, served anew.
    pub fn bucket(&self, prefix: &str) -> (Server, Bucket) {
        let server = Server::start(Kind::Embedded, &self.path("bucket"));
        let bucket = Bucket::new(&server.access, prefix);
        (server, bucket)
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let console = fs::read(self.dir.path().join("console")).unwrap_or_default();
            eprintln!("---- the console says:\n{}", String::from_utf8_lossy(&console));
        }
    }
}
