//! Manifests as values: rendered by `kubectl kustomize`, read by the YAML library of the tests' Python, and looked
//! into. Owns how they come in and where things are in them; what is right is in `rules`.

use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// An object of Kubernetes, and the folder that it comes from.
#[derive(Clone, Debug)]
pub struct Object {
    pub folder: String,
    pub value: Value,
}

impl Object {
    pub fn kind(&self) -> &str {
        text(&self.value["kind"])
    }

    pub fn name(&self) -> &str {
        text(&self.value["metadata"]["name"])
    }

    /// Whether it is `KIND/NAME`.
    pub fn is(&self, what: &str) -> bool {
        what.split_once('/') == Some((self.kind(), self.name()))
    }

    /// The pod that it is, or makes.
    pub fn pod(&self) -> Option<&Value> {
        let path = match self.kind() {
            "Pod" => "/spec",
            "CronJob" => "/spec/jobTemplate/spec/template/spec",
            _ => "/spec/template/spec",
        };
        self.value.pointer(path).filter(|spec| spec["containers"].is_array())
    }

    /// All containers of its pod.
    pub fn containers(&self) -> impl Iterator<Item = &Value> {
        self.pod().into_iter().flat_map(containers_of)
    }

    /// The same with something else at a JSON pointer; null takes away what is there.
    pub fn with(&self, path: &str, value: &str) -> Object {
        let mut broken = self.clone();
        let (parent, key) = path.rsplit_once('/').expect("a pointer");
        let parent = broken.value.pointer_mut(parent).unwrap_or_else(|| panic!("{path}"));
        let value: Value = serde_json::from_str(value).expect("JSON");
        match (parent, value) {
            (Value::Object(map), Value::Null) => {
                map.remove(key).unwrap_or_else(|| panic!("{path} is not there"));
            }
            (Value::Object(map), value) => {
                map.insert(key.replace("~1", "/"), value);
            }
            (Value::Array(list), value) if key == "-" => list.push(value),
            (Value::Array(list), Value::Null) => {
                list.remove(key.parse().expect("an index"));
            }
            (Value::Array(list), value) => list[key.parse::<usize>().expect("an index")] = value,
            (other, _) => panic!("{path} is within {other}"),
        }
        broken
    }
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub fn containers_of(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["initContainers"]).iter().chain(list(&pod["containers"]))
}

pub fn container<'a>(object: &'a Object, name: &str) -> &'a Value {
    object.containers().find(|container| container["name"] == name).expect(name)
}

pub fn volume<'a>(pod: &'a Value, name: &Value) -> &'a Value {
    let found = list(&pod["volumes"]).iter().find(|volume| volume["name"] == *name);
    found.unwrap_or(&Value::Null)
}

/// What the program is called with; nothing when the container runs something else.
pub fn args(container: &Value) -> Vec<String> {
    let words = |value: &Value| list(value).iter().map(|word| text(word).to_owned()).collect();
    let command: Vec<String> = words(&container["command"]);
    let args: Vec<String> = words(&container["args"]);
    let ours = is_ours(container) && command.first().is_none_or(|program| is_program(program));
    if ours { command.into_iter().skip(1).chain(args).collect() } else { Vec::new() }
}

pub fn is_program(path: &str) -> bool {
    path == "/usr/local/bin/logsinkfs"
}

/// Whether it is the image of this program.
pub fn is_ours(container: &Value) -> bool {
    let image = text(&container["image"]);
    image.split([':', '@']).next().is_some_and(|name| name.rsplit('/').next() == Some("logsinkfs"))
}

/// An option of the program, from its flag or its twin in the environment.
pub fn option<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    let flag = format!("--{name}=");
    let twin = format!("LOGSINKFS_{}", name.to_uppercase().replace('-', "_"));
    let said = list(&container["args"]).iter().find_map(|arg| text(arg).strip_prefix(&flag));
    let env = || list(&container["env"]).iter().find(|var| var["name"] == *twin);
    said.or_else(|| env().map(|var| text(&var["value"])))
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tool(name: &str) -> Command {
    let path = root().join("target/venv/bin").join(name);
    assert!(path.exists(), "{} is missing: run tests/setup.sh", path.display());
    Command::new(path)
}

/// Runs a tool with a text at its input; gives its output, or what it complained of.
fn run(mut tool: Command, input: &str) -> Result<String, String> {
    let piped = tool.current_dir(root()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.stderr(Stdio::piped()).spawn().expect("the tool starts");
    let mut stdin = child.stdin.take().expect("its input");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("the tool ends");
    writer.join().expect("no panic").map_err(|e| e.to_string())?;
    let [out, err] = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    if output.status.success() { Ok(out) } else { Err(format!("{out}{err}")) }
}

/// What `kubectl apply -k` of a folder would apply.
pub fn kustomize(folder: &str) -> String {
    try_kustomize(Path::new(folder)).unwrap_or_else(|why| panic!("{folder}: {why}"))
}

/// The same, or what it complains of.
pub fn try_kustomize(folder: &Path) -> Result<String, String> {
    let mut kubectl = tool("kubectl");
    kubectl.arg("kustomize").arg(folder);
    run(kubectl, "")
}

pub fn parse(yaml: &str) -> Vec<Value> {
    let mut python = tool("python3");
    python.args(["-c", "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)"]);
    let json = run(python, yaml).unwrap_or_else(|why| panic!("{why}"));
    let values: Vec<Value> = serde_json::from_str(&json).expect("JSON");
    values.into_iter().filter(|value| !value.is_null()).collect()
}

/// The objects of a folder.
pub fn render(folder: &str) -> Vec<Object> {
    let values = parse(&kustomize(folder)).into_iter();
    values.map(|value| Object { folder: folder.to_owned(), value }).collect()
}

/// Tries manifests against the schemas of a version.
pub fn schemas(version: &str, manifests: &str) -> Result<String, String> {
    let mut validate = tool("kubernetes-validate");
    validate.args(["--strict", "--no-warn", "--quiet", "-k", version, "-"]);
    run(validate, manifests)
}

/// Folders with a kustomization of this kind, from the root of the repository.
fn kustomizations(kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("k8s"), root().join("tests/kubernetes")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("kustomization.yaml")
                && fs::read_to_string(&path).expect("text").contains(&format!("\nkind: {kind}\n"))
            {
                let folder = folder.strip_prefix(root()).expect("below the root");
                found.push(folder.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// What is rendered by itself.
pub fn folders() -> Vec<String> {
    kustomizations("Kustomization")
}

/// What is a part of others.
pub fn components() -> Vec<String> {
    kustomizations("Component")
}

/// The components that a kustomization has, and those that they have.
pub fn used(folder: &str) -> Vec<String> {
    let file = fs::read_to_string(root().join(folder).join("kustomization.yaml")).expect(folder);
    let [kustomization] = &parse(&file)[..] else { panic!("{folder} has one document") };
    let mut found = Vec::new();
    for component in list(&kustomization["components"]) {
        let component = tidied(&Path::new(folder).join(text(component)));
        found.extend(used(&component));
        found.push(component);
    }
    found
}

fn tidied(path: &Path) -> String {
    let mut tidied = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(tidied.pop()),
            part => tidied.push(part),
        }
    }
    tidied.to_string_lossy().into_owned()
}
