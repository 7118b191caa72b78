//! The rules that manifests keep beside the schemas, and for each the changes that break it. A rule looks at one object
//! and says what is wrong with it (`looks`).

use crate::looks::{self, Look};

/// What holds for every object, and what shows that this is seen.
pub struct Rule {
    pub says: &'static str,
    pub look: Look,
    /// An object that keeps the rule, and what has to stand at a JSON pointer in it to break it (null: nothing).
    pub broken: &'static [(&'static str, &'static str, &'static str)],
}

const POD: &str = "Pod/logsinkfs-example";
const AGENT: &str = "Pod/jenkins-agent";
const SMALL: &str = "Deployment/fixture";
const HOLDER: &str = "DaemonSet/logsinkfs-holder";
const WORKER: &str = "DaemonSet/logsinkfs-worker";
const RECOVER: &str = "DaemonSet/logsinkfs-recover";
const DEAD_MOUNTS: &str = "DaemonSet/logsinkfs-dead-mounts";
const VOLUME: &str = "PersistentVolume/logsinkfs-team-a";

pub const RULES: &[Rule] = &[
    Rule {
        says: "only a privileged container may propagate its mounts to the node",
        look: looks::bidirectional,
        broken: &[
            (POD, "/spec/initContainers/0/securityContext/privileged", "false"),
            (HOLDER, "/spec/template/spec/containers/0/securityContext/privileged", "null"),
        ],
    },
    Rule {
        says: "nobody is privileged but who makes the mount",
        look: looks::privileged,
        broken: &[
            (WORKER, "/spec/template/spec/containers/0/securityContext/privileged", "true"),
            (POD, "/spec/containers/0/securityContext/privileged", "true"),
        ],
    },
    Rule {
        says: "the mount is below the root of its volume",
        look: looks::strict_subdirectory,
        broken: &[
            (POD, "/spec/initContainers/0/args/2", r#""/logs""#),
            (HOLDER, "/spec/template/spec/containers/0/args/2", r#""/mnt/""#),
        ],
    },
    Rule {
        says: "a sidecar is native, and the application waits until it serves",
        look: looks::native_sidecar,
        broken: &[
            (POD, "/spec/initContainers/0/restartPolicy", "null"),
            (POD, "/spec/initContainers/0/startupProbe", "null"),
        ],
    },
    Rule {
        says: "a workload with the label has the sidecar",
        look: looks::has_sidecar,
        broken: &[(SMALL, "/spec/template/spec/initContainers", "[]")],
    },
    Rule {
        says: "no probe depends on S3 or needs an open port, and none kills who holds the mount",
        look: looks::probes,
        broken: &[
            (POD, "/spec/initContainers/0/startupProbe/exec/command/1", r#""flush""#),
            (POD, "/spec/initContainers/0/startupProbe", r#"{"httpGet": {"path": "/readyz", "port": 9847}}"#),
            (
                POD,
                "/spec/initContainers/0/livenessProbe",
                r#"{"exec": {"command": ["/usr/local/bin/logsinkfs", "status"]}}"#,
            ),
            (WORKER, "/spec/template/spec/containers/0/readinessProbe/exec/command/3", r#""/status""#),
        ],
    },
    Rule {
        says: "the metrics are told to nobody but where a policy says to whom",
        look: looks::listens,
        broken: &[
            (WORKER, "/spec/template/spec/containers/0/env/2/value", r#""0.0.0.0:9847""#),
            (POD, "/spec/initContainers/0/args/-", r#""--admin=0.0.0.0:9847""#),
        ],
    },
    Rule {
        says: "the grace period is enough for the application and the uploads",
        look: looks::grace,
        broken: &[
            (POD, "/spec/terminationGracePeriodSeconds", "34"),
            (POD, "/spec/terminationGracePeriodSeconds", "null"),
            (HOLDER, "/spec/template/spec/terminationGracePeriodSeconds", "29"),
        ],
    },
    Rule {
        says: "before its end a sidecar sends what is there, and a worker waits until it is sent",
        look: looks::flush,
        broken: &[
            (POD, "/spec/initContainers/0/lifecycle", "null"),
            (POD, "/spec/initContainers/0/lifecycle/preStop/exec/command", r#"["/usr/local/bin/logsinkfs", "flush"]"#),
            (WORKER, "/spec/template/spec/containers/0/lifecycle", "null"),
        ],
    },
    Rule {
        says: "no pod is evicted for what the spool takes, which --spool-max bounds",
        look: looks::evicts_nobody,
        broken: &[
            (SMALL, "/spec/template/spec/volumes/1/emptyDir/sizeLimit", r#""2Gi""#),
            (SMALL, "/spec/template/spec/initContainers/0/resources/limits/ephemeral-storage", r#""2Gi""#),
            (SMALL, "/spec/template/spec/initContainers/0/env/1/name", r#""OTHER""#),
        ],
    },
    Rule {
        says: "a sidecar mounts no other pod's spool on the node; one on a claim is the claim's",
        look: looks::spool_names,
        broken: &[
            (POD, "/spec/initContainers/0/volumeMounts/1/subPathExpr", "null"),
            (POD, "/spec/initContainers/0/volumeMounts/1/subPathExpr", r#""$(POD_NAMESPACE)""#),
            (
                "StatefulSet/fixture",
                "/spec/template/spec/initContainers/0/volumeMounts/0/subPathExpr",
                r#""$(POD_NAMESPACE)/$(POD_UID)""#,
            ),
        ],
    },
    Rule {
        says: "what a sidecar brings is called by its name, and there",
        look: looks::sidecar_names,
        broken: &[
            (POD, "/spec/initContainers/0/name", r#""sidecar""#),
            (POD, "/spec/initContainers/0/volumeMounts/0/name", r#""logs""#),
            (POD, "/spec/volumes/1/name", r#""spool""#),
        ],
    },
    Rule {
        says: "an application sees mounts that are made anew, in a folder of its own",
        look: looks::host_to_container,
        broken: &[
            (POD, "/spec/containers/0/volumeMounts/0/mountPropagation", "null"),
            (AGENT, "/spec/containers/0/volumeMounts/0/mountPropagation", "null"),
            (AGENT, "/spec/containers/0/volumeMounts/0/subPathExpr", "null"),
        ],
    },
    Rule {
        says: "the guard of an emptyDir is one that kubelet can remove",
        look: looks::guard,
        broken: &[(POD, "/spec/initContainers/0/args/3", r#""--guard-mountpoint=immutable""#)],
    },
    Rule {
        says: "who takes dead mounts away reaches kubelet's, and neither S3 nor anything else",
        look: looks::dead_mounts,
        broken: &[
            (DEAD_MOUNTS, "/spec/template/spec/containers/0/volumeMounts/0/mountPropagation", r#""HostToContainer""#),
            (DEAD_MOUNTS, "/spec/template/spec/volumes/0/hostPath/path", r#""/var/lib/kubelet""#),
            (DEAD_MOUNTS, "/spec/template/spec/serviceAccountName", r#""logsinkfs""#),
        ],
    },
    Rule {
        says: "a holder stays when the image changes, a worker is replaced beside the old one",
        look: looks::updates,
        broken: &[
            (HOLDER, "/spec/updateStrategy", "null"),
            (WORKER, "/spec/updateStrategy/rollingUpdate/maxUnavailable", "1"),
        ],
    },
    Rule {
        says: "nodes are tolerated one reason at a time, and those that Karpenter empties are left",
        look: looks::tolerations,
        broken: &[
            (HOLDER, "/spec/template/spec/tolerations", r#"[{"operator": "Exists"}]"#),
            (WORKER, "/spec/template/spec/tolerations/0/key", r#""karpenter.sh/disrupted""#),
        ],
    },
    Rule {
        says: "what pods depend on is evicted last",
        look: looks::priority,
        broken: &[(RECOVER, "/spec/template/spec/priorityClassName", "null")],
    },
    Rule {
        says: "there is one image",
        look: looks::image,
        broken: &[(POD, "/spec/initContainers/0/image", r#""logsinkfs:latest""#)],
    },
    Rule {
        says: "the program understands its command lines",
        look: looks::command_lines,
        broken: &[
            (POD, "/spec/initContainers/0/args/-", r#""--no-such-flag""#),
            (SMALL, "/spec/template/spec/initContainers/0/env/1/value", r#""much""#),
            (RECOVER, "/spec/template/spec/containers/0/args/0", r#""recovery""#),
            (POD, "/spec/initContainers/0/lifecycle/preStop/exec/command/1", r#""flosh""#),
        ],
    },
    Rule {
        says: "the program knows its variables",
        look: looks::variables,
        broken: &[
            (POD, "/spec/initContainers/0/env/0/name", r#""LOGSINKFS_SPOOLDIR""#),
            ("ConfigMap/logsinkfs-folders", "/data/LOGSINKFS_REGOIN", r#""eu-central-1""#),
        ],
    },
    Rule {
        says: "resources are set, and the program's CPU is not throttled",
        look: looks::resources,
        broken: &[
            (POD, "/spec/containers/0/resources", "null"),
            (WORKER, "/spec/template/spec/containers/0/resources/limits/cpu", r#""1""#),
        ],
    },
    Rule {
        says: "root's file system is read-only, and who is not root stays so",
        look: looks::hardened,
        broken: &[
            (WORKER, "/spec/template/spec/containers/0/securityContext/readOnlyRootFilesystem", "null"),
            (WORKER, "/spec/template/spec/containers/0/securityContext/capabilities", "null"),
            (RECOVER, "/spec/template/spec/containers/0/securityContext/allowPrivilegeEscalation", "null"),
        ],
    },
    Rule {
        says: "the token of the role is readable for the worker",
        look: looks::token,
        broken: &[
            (WORKER, "/spec/template/spec/securityContext/fsGroup", "null"),
            (POD, "/spec/securityContext", "null"),
        ],
    },
    Rule {
        says: "a volume for applications is made by the mount, for one claim alone",
        look: looks::volumes,
        broken: &[
            (VOLUME, "/spec/hostPath/type", r#""DirectoryOrCreate""#),
            (VOLUME, "/spec/hostPath/path", r#""/var/lib/logsinkfs/mnt/team-a""#),
            (VOLUME, "/spec/claimRef", "null"),
        ],
    },
    Rule {
        says: "a sidecar lists nothing",
        look: looks::view,
        broken: &[(POD, "/spec/initContainers/0/args/4", r#""--view=bucket""#)],
    },
    Rule {
        says: "what a container left in the spool is in the status of its pod",
        look: looks::last_words,
        broken: &[
            (POD, "/spec/initContainers/0/terminationMessagePolicy", "null"),
            (WORKER, "/spec/template/spec/containers/0/terminationMessagePolicy", r#""File""#),
        ],
    },
];
