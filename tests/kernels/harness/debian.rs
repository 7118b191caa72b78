//! Kernels, and an emulator to boot them, from Debian's archive.
//!
//! Owns: `target/kernels`, where apt has lists of each suite apart from the machine's own, and where packages are
//! unpacked, never installed: the newest kernel of each suite, fetched once, and an emulator. Lists are fetched again
//! when they are a day old. What apt takes is signed by the keys of the machine's debian-archive-keyring.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use test_harness::process::{command, program};
use test_harness::s3::root;

/// Why there is nothing to boot.
#[derive(Debug)]
pub struct Missing(pub String);

/// How old lists of packages may be.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// The suite of the emulator. It is unpacked with all its libraries, so that it runs wherever this runs.
const EMULATOR_SUITE: &str = "trixie";

/// What a machine is started with.
pub struct Kernel {
    pub image: PathBuf,
    /// The module with FUSE, where it is not built in.
    pub fuse: Option<PathBuf>,
    /// The folder of the emulator, which has busybox too.
    pub emulator: PathBuf,
}

impl Kernel {
    /// The kernel that a suite has for clouds, and the emulator; fetches what is missing.
    pub fn of(suite: &str) -> Result<Self, Missing> {
        let dir = root().join("target/kernels");
        fs::create_dir_all(&dir).unwrap();
        let lock = File::create(dir.join("lock")).unwrap();
        lock.lock().unwrap();
        let kernel = Suite::open(&dir, suite)?.kernel()?;
        let find = |name: &str| find(&kernel, name);
        Ok(Self {
            image: find("vmlinuz").expect("a kernel's package has a kernel"),
            fuse: find("fuse.ko"),
            emulator: Suite::open(&dir, EMULATOR_SUITE)?.emulator()?,
        })
    }
}

/// A suite of Debian, as an apt of its own sees it.
struct Suite {
    dir: PathBuf,
}

impl Suite {
    fn open(kernels: &Path, name: &str) -> Result<Self, Missing> {
        if !Path::new(KEYRING).exists() {
            return Err(Missing("the package debian-archive-keyring is not installed".to_owned()));
        }
        let suite = Self { dir: kernels.join(name) };
        fs::create_dir_all(suite.dir.join("lists/partial")).unwrap();
        let source = format!("deb [arch=amd64 signed-by={KEYRING}] {} {name} main\n", mirror()?);
        fs::write(suite.dir.join("sources.list"), source).unwrap();
        // Nothing counts as installed, so that whatever a package needs is fetched.
        fs::write(suite.dir.join("status"), "").unwrap();
        fs::write(suite.dir.join("apt.conf"), configuration(&suite.dir)).unwrap();
        suite.update()?;
        Ok(suite)
    }

    /// Fetches the lists of packages; old ones will do where that fails.
    fn update(&self) -> Result<(), Missing> {
        let updated = self.dir.join("updated");
        let age = fs::metadata(&updated).ok().and_then(|of| of.modified().ok()?.elapsed().ok());
        if age.is_some_and(|age| age < FRESH) {
            return Ok(());
        }
        // Without `--error-on`, lists that cannot be fetched are no error.
        match run(self.apt("apt-get").args(["-q", "update", "--error-on=any"])) {
            Ok(_) => fs::write(updated, "").unwrap(),
            Err(Missing(why)) if age.is_some() => eprintln!("old lists are used: {why}"),
            Err(missing) => return Err(missing),
        }
        Ok(())
    }

    /// The folder of the newest kernel for clouds.
    fn kernel(&self) -> Result<PathBuf, Missing> {
        // An empty package that depends on the newest one, which is empty too where image and modules have packages of
        // their own.
        let depends = ["depends", "--recurse", "--important", "linux-image-cloud-amd64"];
        let all = run(self.apt("apt-cache").args(depends))?;
        let kinds = ["linux-image-", "linux-binary-", "linux-modules-"];
        // With a version in its name.
        let is_part = |name: &&str| name.contains('.') && kinds.iter().any(|kind| name.starts_with(kind));
        let mut packages: Vec<&str> = all.lines().filter(is_part).collect();
        packages.sort_unstable();
        packages.dedup();
        self.unpacked("kernel", &["download"], &packages)
    }

    /// The folder of qemu and busybox with all that they need.
    fn emulator(&self) -> Result<PathBuf, Missing> {
        let install = ["install", "--download-only", "--yes"];
        self.unpacked("emulator", &install, &["qemu-system-x86", "busybox-static"])
    }

    /// The folder of this name, with packages unpacked; has them fetched where it has others.
    fn unpacked(&self, name: &str, fetch: &[&str], packages: &[&str]) -> Result<PathBuf, Missing> {
        let (into, of) = (self.dir.join(name), self.dir.join(format!("{name}.packages")));
        if fs::read_to_string(&of).is_ok_and(|of| of == packages.join(" ")) {
            return Ok(into);
        }
        let work = tempfile::tempdir_in(&self.dir).unwrap();
        let (fetched, unpacked) = (work.path().join("fetched"), work.path().join("unpacked"));
        fs::create_dir(&fetched).unwrap();
        let mut apt = self.apt("apt-get");
        // The one comes into the working directory, the other into the cache.
        apt.current_dir(&fetched).arg("-o").arg(format!("Dir::Cache::archives={}", fetched.display()));
        run(apt.arg("-q").args(fetch).args(packages))?;
        for package in fs::read_dir(&fetched).unwrap().map(|entry| entry.unwrap().path()) {
            if package.extension().is_some_and(|extension| extension == "deb") {
                run(command(program("dpkg-deb")).arg("--extract").arg(&package).arg(&unpacked))?;
            }
        }
        let _ = fs::remove_dir_all(&into);
        fs::rename(&unpacked, &into).unwrap();
        fs::write(of, packages.join(" ")).unwrap();
        Ok(into)
    }

    fn apt(&self, name: &str) -> Command {
        let mut apt = command(Path::new("/usr/bin").join(name));
        apt.env("APT_CONFIG", self.dir.join("apt.conf"));
        apt
    }
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where this machine has Debian's packages from.
fn mirror() -> Result<String, Missing> {
    let mut apt = command(Path::new("/usr/bin").join("apt-get"));
    let targets = run(apt.args(["indextargets", "--format", "$(REPO_URI)"]))?;
    let debian = targets.lines().find(|uri| uri.trim_end_matches('/').ends_with("/debian"));
    debian.map(str::to_owned).ok_or_else(|| Missing("apt knows no mirror of Debian".to_owned()))
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Dir::Etc::sourcelist \"{dir}/sources.list\";\n\
         Dir::Etc::sourceparts \"-\";\n\
         Dir::State \"{dir}\";\n\
         Dir::State::lists \"{dir}/lists\";\n\
         Dir::State::status \"{dir}/status\";\n\
         Dir::Cache \"{dir}\";\n\
         APT::Architecture \"amd64\";\n\
         APT::Install-Recommends \"false\";\n\
         APT::Sandbox::User \"\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"1\";\n\
         Acquire::http::Timeout \"20\";\n"
    )
}

fn run(command: &mut Command) -> Result<String, Missing> {
    let done = command.output().map_err(|e| Missing(format!("{command:?}: {e}")))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(Missing(format!("{command:?}: {}: {said}", done.status)));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The file below a folder whose name begins so.
fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().find_map(|path| {
        if path.is_dir() && !path.is_symlink() {
            find(&path, name)
        } else {
            let is_it = path.file_name().unwrap().to_str().is_some_and(|n| n.starts_with(name));
            is_it.then_some(path)
        }
    })
}
