//! The manifests as kustomize renders them, and what has to be said otherwise for podman.
//!
//! Owns: the rewriting, and nothing else of what a pod is: images, arguments, mounts, propagation, rights and limits
//! reach podman as they stand in `k8s/`. What podman has not (native sidecars, probes, hooks, fields of the downward
//! API) is taken out, and the tests do it in its place.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use test_harness::s3::root;

/// The objects of a kustomization, rendered as `kubectl kustomize` does.
pub fn render(kustomization: &str) -> Vec<Value> {
    const AS_JSON: &str = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let venv = root().join("target/venv/bin");
    let run = |command: &mut Command| {
        let done = command.output().unwrap_or_else(|e| panic!("{e}: run tests/setup.sh first"));
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    };
    let dir = tempfile::tempdir().unwrap();
    let yaml = dir.path().join("rendered.yaml");
    let kubectl = venv.join("kubectl");
    std::fs::write(&yaml, run(Command::new(kubectl).arg("kustomize").arg(root().join(kustomization)))).unwrap();
    let mut python = Command::new(venv.join("python3"));
    python.args(["-c", AS_JSON]).stdin(std::fs::File::open(&yaml).unwrap());
    serde_json::from_slice(&run(&mut python)).unwrap()
}

/// The only object of a kind and, where several have it, a name.
pub fn pick(objects: &[Value], kind: &str, name: &str) -> Value {
    let is_it = |object: &&Value| {
        object["kind"] == kind && object["metadata"]["name"].as_str().is_some_and(|n| n.contains(name))
    };
    let mut found = objects.iter().filter(is_it);
    let first = found.next().unwrap_or_else(|| panic!("there is no {kind} {name}"));
    assert!(found.next().is_none(), "more than one {kind} {name}");
    first.clone()
}

/// Where a pod is put: what the API server and a kubelet would tell it.
pub struct Place<'a> {
    pub pod: &'a str,
    pub namespace: &'a str,
    /// The folder that is the root of the node's paths.
    pub node: &'a Path,
    /// A port of the loopback, for what listens at the pod's.
    pub port: u16,
}

/// Makes a pod that podman can run of a Pod, or of what has a template of one; `objects` are those that it may refer
/// to.
pub fn for_podman(of: &Value, objects: &[Value], place: &Place) -> Value {
    let of = if of["kind"] == "Pod" { of } else { &of["spec"]["template"] };
    let metadata = &of["metadata"];
    let mut spec = of["spec"].clone();
    // The bucket is on the machine's loopback.
    spec["hostNetwork"] = json!(true);
    // A test restarts what it has killed when it has looked.
    spec["restartPolicy"] = json!("Never");
    for volume in list(&mut spec, "volumes") {
        rewrite_volume(volume, objects, place);
    }
    let init = spec.as_object_mut().unwrap().remove("initContainers");
    let mut containers = init.map_or(Vec::new(), |init| init.as_array().unwrap().clone());
    containers.append(spec["containers"].as_array_mut().unwrap());
    for container in &mut containers {
        rewrite(container.as_object_mut().unwrap(), metadata, objects, place);
    }
    spec["containers"] = json!(containers);
    sub_paths(&mut spec, metadata, place);
    own_volumes(&mut spec, place.pod);
    let labels = &metadata["labels"];
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": place.pod, "labels": labels}, "spec": spec,
    })
}

/// Podman mounts a path of the node whole: a folder of the pod in it is a path of its own.
fn sub_paths(spec: &mut Value, metadata: &Value, place: &Place) {
    let mounts = list(spec, "containers").flat_map(|container| list(container, "volumeMounts"));
    let below = |mount: &mut Value| {
        let of_pod = mount.as_object_mut().unwrap().remove("subPathExpr")?;
        let fields = [("POD_NAME", "name"), ("POD_NAMESPACE", "namespace"), ("POD_UID", "uid")];
        let variables = fields
            .map(|(variable, field)| (variable.to_owned(), downward(&format!("metadata.{field}"), metadata, place)));
        Some((text(&mount["name"]).to_owned(), expanded(text(&of_pod), &variables)))
    };
    let paths: BTreeMap<String, String> = mounts.filter_map(below).collect();
    for volume in list(spec, "volumes") {
        if let Some(below) = paths.get(text(&volume["name"])) {
            let path = volume.pointer_mut("/hostPath/path").unwrap();
            *path = json!(Path::new(text(path)).join(below));
        }
    }
}

/// Gives volumes the name of their pod: podman shares an emptyDir among all pods that call one so.
fn own_volumes(spec: &mut Value, pod: &str) {
    let own = |volume: &mut Value| volume["name"] = json!(format!("{pod}-{}", text(&volume["name"])));
    list(spec, "volumes").for_each(own);
    list(spec, "containers").for_each(|container| list(container, "volumeMounts").for_each(own));
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &Value) -> &'a Value {
    let found = objects.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == *name);
    found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// Paths of the node are below the folder of the test. Claims become the paths of their volumes, and the files of a
/// ConfigMap lie on the node.
fn rewrite_volume(volume: &mut Value, objects: &[Value], place: &Place) {
    if let Some(claim) = volume.pointer("/persistentVolumeClaim/claimName") {
        let claim = named(objects, "PersistentVolumeClaim", claim);
        let of_claim = named(objects, "PersistentVolume", &claim["spec"]["volumeName"]);
        *volume = json!({"name": volume["name"], "hostPath": of_claim["spec"]["hostPath"]});
    }
    if let Some(config) = volume.pointer("/configMap/name") {
        let files = named(objects, "ConfigMap", config)["data"].as_object().unwrap();
        let dir = place.node.join("configs").join(config.as_str().unwrap());
        std::fs::create_dir_all(&dir).unwrap();
        for (name, text) in files {
            std::fs::write(dir.join(name), text.as_str().unwrap()).unwrap();
        }
        *volume = json!({"name": volume["name"], "hostPath": {"path": dir}});
    } else if let Some(path) = volume.pointer_mut("/hostPath/path") {
        *path = json!(place.node.join(path.as_str().unwrap().trim_start_matches('/')));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn list<'a>(object: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
}

fn rewrite(container: &mut Map<String, Value>, metadata: &Value, objects: &[Value], place: &Place) {
    // A native sidecar becomes an ordinary container; the test starts the others when it serves.
    for absent in ["restartPolicy", "startupProbe", "livenessProbe", "readinessProbe", "lifecycle", "ports"] {
        container.remove(absent);
    }
    // Podman replaces no `$(NAME)` by a variable's value.
    let mut variables = Vec::new();
    for from in container.remove("envFrom").iter().flat_map(|from| from.as_array().unwrap()) {
        let name = &from["configMapRef"]["name"];
        let data = named(objects, "ConfigMap", name)["data"].as_object().unwrap();
        let owned = |(name, value): (&String, &Value)| (name.clone(), text(value).to_owned());
        variables.extend(data.iter().map(owned));
    }
    for env in container.remove("env").iter().flat_map(|env| env.as_array().unwrap()) {
        let value = match env["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some(field) => downward(field, metadata, place),
            None => {
                let value = expanded(env["value"].as_str().unwrap(), &variables);
                value.replace("127.0.0.1:9847", &format!("127.0.0.1:{}", place.port))
            }
        };
        variables.push((env["name"].as_str().unwrap().to_owned(), value));
    }
    let args = container.get_mut("args").and_then(Value::as_array_mut);
    for arg in args.into_iter().flatten() {
        *arg = json!(expanded(arg.as_str().unwrap(), &variables));
    }
    let variables: Vec<Value> =
        variables.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    container.insert("env".to_owned(), json!(variables));
}

/// A text with the values of variables in the place of `$(NAME)`.
fn expanded(text: &str, variables: &[(String, String)]) -> String {
    variables.iter().rfold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

/// A field of the downward API.
fn downward(field: &str, metadata: &Value, place: &Place) -> String {
    match field {
        "metadata.name" => place.pod.to_owned(),
        "metadata.namespace" => place.namespace.to_owned(),
        "metadata.uid" => format!("uid-of-{}", place.pod),
        "spec.nodeName" => "node-1".to_owned(),
        label => {
            let name = label.strip_prefix("metadata.labels['").and_then(|l| l.strip_suffix("']"));
            let name = name.unwrap_or_else(|| panic!("{field} is not known"));
            metadata["labels"][name].as_str().unwrap_or_default().to_owned()
        }
    }
}

/// A container of a pod, by its name.
pub fn container<'a>(pod: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    let found = containers.iter_mut().find(|container| container["name"] == name);
    found.unwrap_or_else(|| panic!("there is no container {name}")).as_object_mut().unwrap()
}

/// Mounts a folder of the machine into a container.
pub fn add_folder(pod: &mut Value, into: &str, name: &str, folder: &Path, at: &str) {
    let mounts = container(pod, into).entry("volumeMounts").or_insert_with(|| json!([]));
    mounts.as_array_mut().unwrap().push(json!({"name": name, "mountPath": at}));
    let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
    if volumes.iter().all(|volume| volume["name"] != name) {
        volumes.push(json!({"name": name, "hostPath": {"path": folder}}));
    }
}
