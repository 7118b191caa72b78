//! What the rules look at. Owns what is right; where things are in a manifest is in `manifests`.

use std::collections::BTreeSet;

use clap::CommandFactory;
use logsinkfs::flags::Cli;
use serde_json::Value;

use crate::manifests::{Object, args, is_ours, is_program, list, option, text, volume};

/// Says what is wrong with an object.
pub type Look = fn(&Object) -> Vec<String>;

/// Seconds that a keeper needs beside `--shutdown-timeout`: to detach the mount, and to end.
const DETACH: u64 = 5;
/// The least that an application is given to stop.
const STOP: u64 = 5;

/// What a container is to the mount.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Keeper and worker, beside an application.
    Sidecar,
    Holder,
    Worker,
    Recover,
    DeadMounts,
    /// It is not this program.
    Other,
}

fn part(container: &Value) -> Part {
    let args = args(container);
    let said = |flag: &str| args.iter().any(|arg| arg == flag);
    match args.first().map(String::as_str) {
        Some("mount") if said("--hold") => Part::Holder,
        Some("mount") if said("--attach") => Part::Worker,
        Some("mount") => Part::Sidecar,
        Some("recover") if option(container, "dead-mounts").is_some() => Part::DeadMounts,
        Some("recover") => Part::Recover,
        _ => Part::Other,
    }
}

fn parts(object: &Object, wanted: &[Part]) -> Vec<(Part, Value)> {
    let all = object.containers().map(|container| (part(container), container.clone()));
    all.filter(|(part, _)| wanted.contains(part)).collect()
}

/// Says for each container that a test refuses what is wrong with it.
fn refuse(object: &Object, why: &str, wrong: impl Fn(&Value) -> bool) -> Vec<String> {
    let wrong = object.containers().filter(|container| wrong(container));
    wrong.map(|container| complaint(object, &format!("{}: {why}", text(&container["name"])))).collect()
}

fn complaint(object: &Object, why: &str) -> String {
    format!("{}: {}/{}: {why}", object.folder, object.kind(), object.name())
}

fn unless(holds: bool, object: &Object, why: &str) -> Vec<String> {
    if holds { Vec::new() } else { vec![complaint(object, why)] }
}

fn mounts_as<'a>(container: &'a Value, propagation: &str) -> Vec<&'a Value> {
    let mounts = list(&container["volumeMounts"]).iter();
    mounts.filter(|mount| mount["mountPropagation"] == propagation).collect()
}

pub fn bidirectional(object: &Object) -> Vec<String> {
    refuse(object, "Bidirectional without privileged", |container| {
        !mounts_as(container, "Bidirectional").is_empty() && container["securityContext"]["privileged"] != true
    })
}

pub fn privileged(object: &Object) -> Vec<String> {
    refuse(object, "privileged", |container| {
        container["securityContext"]["privileged"] == true
            && !matches!(part(container), Part::Sidecar | Part::Holder | Part::DeadMounts)
    })
}

pub fn strict_subdirectory(object: &Object) -> Vec<String> {
    refuse(object, "the mount point is not below a Bidirectional volume", |container| {
        let point = args(container).get(2).cloned().unwrap_or_default();
        let below = |mount: &&Value| {
            let rest = point.strip_prefix(text(&mount["mountPath"]));
            rest.is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
        };
        matches!(part(container), Part::Sidecar | Part::Holder)
            && !mounts_as(container, "Bidirectional").iter().any(below)
    })
}

pub fn native_sidecar(object: &Object) -> Vec<String> {
    let native = |container: &Value| {
        let of_init = object.pod().map(|pod| list(&pod["initContainers"])).unwrap_or_default();
        of_init.contains(container) && container["restartPolicy"] == "Always" && !container["startupProbe"].is_null()
    };
    refuse(object, "no init container that stays and is waited for", |container| {
        part(container) == Part::Sidecar && !native(container)
    })
}

pub fn has_sidecar(object: &Object) -> Vec<String> {
    let asks = object.value["metadata"]["labels"]["logsinkfs"] == "sidecar";
    let has = parts(object, &[Part::Sidecar]).len() == 1;
    unless(asks == has, object, "label without sidecar, or sidecar without label")
}

pub fn probes(object: &Object) -> Vec<String> {
    let local = |probe: &Value| {
        let command: Vec<&str> = list(&probe["exec"]["command"]).iter().map(text).collect();
        match command[..] {
            [program, "status"] => is_program(program),
            ["/bin/bash", "-c", script, path] => {
                script.starts_with("exec 3<>/dev/tcp/127.0.0.1/9847 ") && ["/readyz", "/healthz"].contains(&path)
            }
            _ => false,
        }
    };
    refuse(object, "a probe that is not the mount's and the spool's alone", |container| {
        let probes = ["startupProbe", "readinessProbe", "livenessProbe"];
        let mut set = probes.iter().map(|name| &container[name]).filter(|probe| !probe.is_null());
        let keeps = matches!(part(container), Part::Sidecar | Part::Holder);
        part(container) != Part::Other && !set.all(local) || keeps && !container["livenessProbe"].is_null()
    })
}

pub fn listens(object: &Object) -> Vec<String> {
    refuse(object, "it listens for everybody, or at a port that is not said", |container| {
        let own = option(container, "admin").is_none_or(|at| at.starts_with("127.0.0.1:"));
        is_ours(container) && own != container["ports"].is_null()
    })
}

pub fn grace(object: &Object) -> Vec<String> {
    let Some(pod) = object.pod() else { return Vec::new() };
    let needs = parts(object, &[Part::Sidecar, Part::Holder]).into_iter().map(|(part, container)| {
        let uploads = option(&container, "shutdown-timeout").and_then(|time| time.strip_suffix('s'));
        let uploads: u64 = uploads.and_then(|s| s.parse().ok()).expect("--shutdown-timeout in seconds");
        uploads + DETACH + if part == Part::Sidecar { STOP } else { 0 }
    });
    let needs = needs.max().unwrap_or(0);
    let has = pod["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    unless(has >= needs, object, &format!("{has} s of grace, {needs} are needed"))
}

pub fn flush(object: &Object) -> Vec<String> {
    refuse(object, "no preStop that flushes", |container| {
        let hook = hook(container);
        let has = |word: &str| hook.iter().any(|said| said.starts_with(word));
        match part(container) {
            Part::Sidecar => !has("flush") || !has("--no-wait"),
            Part::Worker => !has("flush") || !has("--timeout="),
            _ => false,
        }
    })
}

/// What the program is called with before the container is stopped.
fn hook(container: &Value) -> Vec<String> {
    let words = list(&container["lifecycle"]["preStop"]["exec"]["command"]).iter().map(text);
    let mut words = words.map(str::to_owned);
    if words.next().is_some_and(|program| is_program(&program)) { words.collect() } else { Vec::new() }
}

/// Where the spool of a container is mounted.
fn spool_mount(container: &Value) -> &Value {
    let dir = option(container, "spool-dir").unwrap_or_default();
    let mut mounts = list(&container["volumeMounts"]).iter();
    mounts.find(|mount| dir.starts_with(text(&mount["mountPath"]))).unwrap_or(&Value::Null)
}

/// The volume with it.
fn spool<'a>(pod: &'a Value, container: &Value) -> &'a Value {
    volume(pod, &spool_mount(container)["name"])
}

pub fn evicts_nobody(object: &Object) -> Vec<String> {
    let Some(pod) = object.pod() else { return Vec::new() };
    refuse(object, "a limit for which kubelet evicts the pod", |container| {
        let limits = &container["resources"]["limits"];
        let bounded = option(container, "spool-max").is_some();
        is_ours(container) && !limits["ephemeral-storage"].is_null()
            || part(container) == Part::Sidecar
                && (!bounded || !spool(pod, container)["emptyDir"]["sizeLimit"].is_null())
    })
}

pub fn spool_names(object: &Object) -> Vec<String> {
    let Some(pod) = object.pod() else { return Vec::new() };
    refuse(object, "other pods share its spool, or the pod after it does not", |container| {
        let own = spool_mount(container)["subPathExpr"] == "$(POD_NAMESPACE)/$(POD_UID)";
        part(container) == Part::Sidecar && own != spool(pod, container)["hostPath"].is_object()
    })
}

pub fn sidecar_names(object: &Object) -> Vec<String> {
    let Some(pod) = object.pod() else { return Vec::new() };
    refuse(object, "a name that may be the application's, or a volume that is missing", |container| {
        let own = |name: &Value| text(name).starts_with("logsinkfs");
        let is_there = |name: &Value| volume(pod, name).is_object();
        let mut mounts = list(&container["volumeMounts"]).iter().map(|mount| &mount["name"]);
        part(container) == Part::Sidecar && !(own(&container["name"]) && mounts.all(|name| own(name) && is_there(name)))
    })
}

pub fn host_to_container(object: &Object) -> Vec<String> {
    let Some(pod) = object.pod() else { return Vec::new() };
    let sidecar = !parts(object, &[Part::Sidecar]).is_empty();
    refuse(object, "no HostToContainer, or no folder of the pod's own", |container| {
        let wrong = |mount: &Value| {
            let claim = volume(pod, &mount["name"])["persistentVolumeClaim"]["claimName"] == "logs";
            (claim || sidecar && mount["name"] == "logsinkfs-logs")
                && (mount["mountPropagation"] != "HostToContainer" || claim && mount["subPathExpr"] != "$(POD_NAME)")
        };
        part(container) == Part::Other && list(&container["volumeMounts"]).iter().any(wrong)
    })
}

pub fn guard(object: &Object) -> Vec<String> {
    let Some(pod) = object.pod() else { return Vec::new() };
    refuse(object, "the wrong guard", |container| {
        let mounts = mounts_as(container, "Bidirectional");
        let empty = mounts.iter().any(|mount| volume(pod, &mount["name"])["emptyDir"].is_object());
        let wanted = if empty { "mode" } else { "immutable" };
        matches!(part(container), Part::Sidecar | Part::Holder) && option(container, "guard-mountpoint") != Some(wanted)
    })
}

pub fn dead_mounts(object: &Object) -> Vec<String> {
    let Some(pod) = object.pod() else { return Vec::new() };
    refuse(object, "it does not reach kubelet's mounts, or more than these", |container| {
        let dir = option(container, "dead-mounts").unwrap_or_default();
        let mounts = list(&container["volumeMounts"]);
        let mount = &mounts.first().unwrap_or(&Value::Null);
        part(container) == Part::DeadMounts
            && (mounts.len() != 1
                || mount["mountPropagation"] != "Bidirectional"
                || mount["mountPath"] != dir
                || volume(pod, &mount["name"])["hostPath"]["path"] != dir
                || !container["envFrom"].is_null()
                || !pod["serviceAccountName"].is_null())
    })
}

pub fn updates(object: &Object) -> Vec<String> {
    let strategy = &object.value["spec"]["updateStrategy"];
    let rolling = &strategy["rollingUpdate"];
    let holds = |part| match part {
        Part::Holder => strategy["type"] == "OnDelete",
        Part::Worker => rolling["maxUnavailable"] == 0 && rolling["maxSurge"] == 1,
        _ => true,
    };
    unless(object.containers().map(part).all(holds), object, "updateStrategy")
}

pub fn tolerations(object: &Object) -> Vec<String> {
    let Some(pod) = object.pod() else { return Vec::new() };
    let named = |toleration: &Value| {
        let key = text(&toleration["key"]);
        !key.is_empty() && key != "karpenter.sh/disrupted"
    };
    let holds = list(&pod["tolerations"]).iter().all(named);
    unless(holds, object, "tolerates too much")
}

pub fn priority(object: &Object) -> Vec<String> {
    let Some(pod) = object.pod() else { return Vec::new() };
    let of_node = [Part::Holder, Part::Worker, Part::Recover, Part::DeadMounts];
    let of_node = !parts(object, &of_node).is_empty();
    let holds = !of_node || pod["priorityClassName"] == "system-node-critical";
    unless(holds, object, "its priority is an application's")
}

pub fn image(object: &Object) -> Vec<String> {
    refuse(object, "another image", |container| {
        is_ours(container) && container["image"] != concat!("logsinkfs:", env!("CARGO_PKG_VERSION"))
    })
}

/// A word of a command line with its variables filled in, as kubelet does, by examples.
fn filled(word: &str) -> String {
    let mut words = word.replace("$(LOGSINKFS_SOURCE)", "s3://bucket/prefix");
    while let Some((before, (_, after))) =
        words.split_once("$(").and_then(|(before, rest)| Some((before, rest.split_once(')')?)))
    {
        words = format!("{before}example{after}");
    }
    words
}

/// The flag that a variable stands for.
fn flag_of(variable: &Value) -> Option<String> {
    let commands = Cli::command();
    let mut flags = commands.get_subcommands().flat_map(clap::Command::get_arguments);
    let name = text(&variable["name"]);
    let flag = flags.find(|flag| flag.get_env().is_some_and(|env| env == name))?;
    Some(format!("--{}={}", flag.get_long()?, text(&variable["value"])))
}

pub fn command_lines(object: &Object) -> Vec<String> {
    let mut wrong = Vec::new();
    for container in object.containers() {
        let mut line = args(container);
        if !line.is_empty() {
            line.extend(list(&container["env"]).iter().filter_map(flag_of));
        }
        for line in [line, hook(container)].iter().filter(|line| !line.is_empty()) {
            let words = line.iter().map(|word| filled(word));
            let words = ["logsinkfs".to_owned()].into_iter().chain(words);
            if let Err(e) = Cli::command().try_get_matches_from(words) {
                wrong.push(complaint(object, &e.to_string()));
            }
        }
    }
    wrong
}

pub fn variables(object: &Object) -> Vec<String> {
    let commands = Cli::command();
    let flags = commands.get_subcommands().flat_map(clap::Command::get_arguments);
    let mut known: BTreeSet<String> =
        flags.filter_map(|flag| flag.get_env()).map(|env| env.to_string_lossy().into_owned()).collect();
    // What command lines of the manifests name.
    known.insert("LOGSINKFS_SOURCE".to_owned());
    let of_map = object.value["data"].as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let of_pod = object.containers().flat_map(|c| list(&c["env"])).map(|var| text(&var["name"]));
    let ours = of_map.chain(of_pod).filter(|name| name.starts_with("LOGSINKFS_"));
    let unknown = ours.filter(|name| !known.contains(*name));
    unknown.map(|name| complaint(object, &format!("there is no {name}"))).collect()
}

pub fn resources(object: &Object) -> Vec<String> {
    refuse(object, "resources", |container| {
        let resources = &container["resources"];
        let set = ["/requests/cpu", "/requests/memory", "/limits/memory"];
        !set.iter().all(|path| resources.pointer(path).is_some())
            || is_ours(container) && resources.pointer("/limits/cpu").is_some()
    })
}

pub fn last_words(object: &Object) -> Vec<String> {
    refuse(object, "its end is not explained in the status of the pod", |container| {
        is_ours(container)
            && container["command"].is_null()
            && container["terminationMessagePolicy"] != "FallbackToLogsOnError"
    })
}

pub fn hardened(object: &Object) -> Vec<String> {
    refuse(object, "more rights than it needs", |container| {
        let context = &container["securityContext"];
        let bare = context["privileged"] == true
            || context["allowPrivilegeEscalation"] == false && context["capabilities"]["drop"][0] == "ALL";
        is_ours(container) && (context["readOnlyRootFilesystem"] != true || !bare)
    })
}

pub fn token(object: &Object) -> Vec<String> {
    let speaks = !parts(object, &[Part::Sidecar, Part::Worker, Part::Recover]).is_empty();
    let group = object.pod().map(|pod| &pod["securityContext"]["fsGroup"]);
    unless(!speaks || group.is_some_and(Value::is_number), object, "no fsGroup")
}

pub fn volumes(object: &Object) -> Vec<String> {
    if object.kind() != "PersistentVolume" {
        return Vec::new();
    }
    let spec = &object.value["spec"];
    let (path, claim) = (&spec["hostPath"]["path"], &spec["claimRef"]);
    let namespace = text(&claim["namespace"]);
    let holds = spec["hostPath"]["type"] == "Directory"
        && !namespace.is_empty()
        && *path == format!("/var/lib/logsinkfs/mnt/logs/{namespace}");
    unless(holds, object, "not the folder of its namespace, or made by kubelet")
}

pub fn view(object: &Object) -> Vec<String> {
    refuse(object, "lists the bucket", |container| {
        matches!(part(container), Part::Sidecar | Part::Worker) && option(container, "view") != Some("live")
    })
}
