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
        says: "no probe depends on S3, and none kills who holds the mount",
        look: looks::probes,
        broken: &[
            (POD, "/spec/initContainers/0/startupProbe/httpGet/path", r#""/status""#),
            (POD, "/spec/initContainers/0/livenessProbe", r#"{"httpGet": {"path": "/healthz"}}"#),
            (
                WORKER,
                "/spec/template/spec/containers/0/readinessProbe",
                r#"{"exec": {"command": ["aws", "s3", "ls"]}}"#,
            ),
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
            (
                POD,
                "/spec/initContainers/0/lifecycle/preStop/exec/command",
                r#"["/usr/local/bin/logsinkfs", "flush"]"#,
            ),
            (WORKER, "/spec/template/spec/containers/0/lifecycle", "null"),
        ],
    },
    Rule {
        says: "a spool in an emptyDir is at most 70 % of what the pod may use",
        look: looks::budget,
        broken: &[
            (SMALL, "/spec/template/spec/volumes/1/emptyDir/sizeLimit", r#""1Gi""#),
            (SMALL, "/spec/template/spec/volumes/1/emptyDir", "{}"),
            (
                SMALL,
                "/spec/template/spec/initContainers/0/resources/limits/ephemeral-storage",
                r#""1900Mi""#,
            ),
            (SMALL, "/spec/template/spec/initContainers/0/env/0/value", r#""1500MiB""#),
        ],
    },
    Rule {
        says: "a spool on the node is the pod's own, one on a claim is the claim's",
        look: looks::spool_names,
        broken: &[
            (POD, "/spec/initContainers/0/env/5/value", r#""/spool/one""#),
            (
                "StatefulSet/fixture",
                "/spec/template/spec/initContainers/0/env/0/value",
                r#""/spool/$(POD_UID)""#,
            ),
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
            (SMALL, "/spec/template/spec/initContainers/0/env/0/value", r#""much""#),
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
            (
                WORKER,
                "/spec/template/spec/containers/0/securityContext/readOnlyRootFilesystem",
                "null",
            ),
            (WORKER, "/spec/template/spec/containers/0/securityContext/capabilities", "null"),
            (
                RECOVER,
                "/spec/template/spec/containers/0/securityContext/allowPrivilegeEscalation",
                "null",
            ),
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
