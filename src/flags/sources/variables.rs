//! The environment: which variables count, what they say of switches, and which ones look like ours and are not.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use super::nearest::nearest;
use crate::supervisor::protocol::SOCKET_ENV;
use crate::sys::{launch, relaunch};

/// What our variables begin with.
const OURS: &str = "LOGSINKFS_";
/// Flags with a list that may be empty: their variables count when they are.
const EMPTY_MEANS_NONE: [&str; 2] = ["exclude", "partition"];

/// The value of a flag's variable. An empty one counts as unset, but where nothing is something.
pub(super) fn value(variable: &OsStr, id: &str) -> Option<OsString> {
    std::env::var_os(variable).filter(|value| !value.is_empty() || EMPTY_MEANS_NONE.contains(&id))
}

/// What a word says of a switch.
pub(super) fn switch(word: &OsStr) -> Option<bool> {
    match word.to_str()?.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The variables that look like ours and that nothing reads, each with the most similar one.
pub(super) fn unknown(known: &BTreeSet<String>) -> Vec<(String, Option<String>)> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let ours = names.filter(|name| name.starts_with(OURS) && !known.contains(name) && !is_internal(name));
    let mut unknown: Vec<_> = ours.filter(|name| !is_of_a_service(name)).collect();
    unknown.sort();
    // All begin alike, which says nothing.
    let rest = |name: &'_ str| name.trim_start_matches(OURS).to_owned();
    let known: Vec<String> = known.iter().map(|name| rest(name)).collect();
    let hinted = |name: String| {
        let nearest = nearest(&rest(&name), known.iter().map(String::as_str)).map(|nearest| format!("{OURS}{nearest}"));
        (name, nearest)
    };
    unknown.into_iter().map(hinted).collect()
}

/// What processes of this program tell each other.
fn is_internal(name: &str) -> bool {
    [launch::BACKGROUND, SOCKET_ENV, relaunch::TOLD.0].contains(&name)
}

/// What Kubernetes sets in every container of a namespace with a Service whose name begins with `logsinkfs`.
fn is_of_a_service(name: &str) -> bool {
    let is_port = |part: &str| part == "PORT" || part.starts_with("PORT_");
    let rests = name.match_indices('_').map(|(at, _)| &name[at + 1..]);
    rests.into_iter().any(|rest| is_port(rest) || rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_take_the_usual_words_in_any_case() {
        for word in ["1", "true", "True", "YES", "on"] {
            assert_eq!(switch(word.as_ref()), Some(true), "{word}");
        }
        for word in ["0", "false", "FALSE", "no", "Off"] {
            assert_eq!(switch(word.as_ref()), Some(false), "{word}");
        }
        for word in ["", "2", "maybe", "t"] {
            assert_eq!(switch(word.as_ref()), None, "{word}");
        }
    }

    #[test]
    fn variables_of_services_are_not_taken_for_ours() {
        for name in ["LOGSINKFS_SERVICE_HOST", "LOGSINKFS_PORT", "LOGSINKFS_PORT_9847_TCP", "LOGSINKFS_X_SERVICE_PORT"]
        {
            assert!(is_of_a_service(name), "{name}");
        }
        assert!(!is_of_a_service("LOGSINKFS_REGOIN") && !is_of_a_service("LOGSINKFS_REPORT"));
    }
}
