//! Where a key lives below the store's directory: the rule between object keys and file names.
//!
//! Owns: the escaping of single key components, their splitting when longer than a file name may be, and the way back.
//! Does NOT own: any file; this module never touches a disk.
//!
//! The rule, for a key cut at its slashes into components:
//!
//! - An ordinary component is its own file name, so that an ordinary key is an ordinary path.
//! - `%` and control bytes are written `%XX` (upper case hexadecimal); so is the first byte of the components `.`, `..`
//!   and [`PRIVATE`], which a directory could not hold as names.
//! - The empty component (of `a//b`, `/a` and `a/`) is named `%`.
//! - A name longer than the 255 bytes that file systems take goes on one directory deeper: the first part, marked by
//!   `%+` at its end, is a directory that holds the rest.
//! - Where the key of an object is also the beginning of other keys (`a` beside `a/b`), `a` is a directory, and the
//!   object lies within it under the name [`OWN`] (`a/%self`).
//!
//! Invariants: no two keys share a path, every path leads back to its key, a path never leaves the directory nor enters
//! [`PRIVATE`], and a file name which the rule would not have written (`100%`, `a%41`, bytes that are no UTF-8) is no
//! object.

/// The one folder in the store's directory that no key leads into.
pub const PRIVATE: &str = ".embedded-bucket";

/// The name, within the directory of the same key, of an object whose key begins other keys.
pub const OWN: &str = "%self";

/// Ends the name of a directory which holds the rest of a component too long for one name.
const CONTINUED: &str = "%+";

/// The longest file name of all common Linux file systems, in bytes (NAME_MAX).
const NAME_MAX: usize = 255;

/// The path, relative to the store's directory, of the object `key` (at most [1024
/// bytes](https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)) while no other key goes on below it;
/// otherwise [`OWN`] within that path.
///
/// The longest result is some 3.2 KiB, so it always fits into one system call (4 KiB).
pub fn path_of(key: &str) -> String {
    key.split('/').map(name_of).collect::<Vec<_>>().join("/")
}

/// The name, or chain of names, of one component.
fn name_of(component: &str) -> String {
    let escaped = escape(component);
    let mut chain = String::with_capacity(escaped.len());
    let mut rest = escaped.as_str();
    while rest.len() > NAME_MAX {
        let (part, tail) = rest.split_at(cut(rest, NAME_MAX - CONTINUED.len()));
        chain.push_str(part);
        chain.push_str(CONTINUED);
        chain.push('/');
        rest = tail;
    }
    chain.push_str(rest);
    chain
}

/// The longest beginning of at most `limit` bytes that splits no character and no `%XX`.
fn cut(escaped: &str, limit: usize) -> usize {
    let at = escaped.floor_char_boundary(limit);
    let last_two = at.saturating_sub(2);
    escaped.as_bytes()[last_two..at].iter().position(|&b| b == b'%').map_or(at, |i| last_two + i)
}

fn escape(component: &str) -> String {
    if component.is_empty() {
        return "%".to_owned();
    }
    let reserved = matches!(component, "." | ".." | PRIVATE);
    let mut escaped = String::with_capacity(component.len());
    for (at, c) in component.char_indices() {
        if c == '%' || c.is_ascii_control() || (reserved && at == 0) {
            escaped.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Whether a directory of this name holds the rest of a longer component.
pub fn is_continued(name: &str) -> bool {
    name.ends_with(CONTINUED)
}

/// The component whose name, or chain of names joined by `/`, this is; none when the rule of this module would never
/// have written it.
pub fn component_of(chain: &str) -> Option<String> {
    if !chain.contains('%') {
        // By far the most names; what the slow way would find out about them is known.
        let taken = matches!(chain, "" | "." | ".." | PRIVATE);
        let plain = !taken && !chain.contains(|c: char| c.is_ascii_control());
        return plain.then(|| chain.to_owned());
    }
    let component = unescape(&chain.replace("%+/", ""))?;
    (name_of(&component) == chain).then_some(component)
}

fn unescape(escaped: &str) -> Option<String> {
    if escaped == "%" {
        return Some(String::new());
    }
    let mut pieces = escaped.split('%');
    let mut component = pieces.next()?.to_owned();
    for piece in pieces {
        let code = u8::from_str_radix(piece.get(..2)?, 16).ok().filter(u8::is_ascii)?;
        component.push(char::from(code));
        component.push_str(&piece[2..]);
    }
    Some(component)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    /// The key that `path_of` would have given this path.
    fn key_of(path: &str) -> Option<String> {
        let mut components = Vec::new();
        let mut chain = String::new();
        for name in path.split('/') {
            chain.push_str(name);
            if is_continued(name) {
                chain.push('/');
            } else {
                components.push(component_of(&std::mem::take(&mut chain))?);
            }
        }
        chain.is_empty().then(|| components.join("/"))
    }

    /// Keys made of what is odd: dots, slashes, escapes, reserved names, long runs.
    fn odd_key() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[./%+\u{0}-\u{1f}a-c25EF~é🪵-]{0,12}",
            1 => Just(PRIVATE.to_owned()),
            1 => Just(OWN.to_owned()),
            1 => Just("/".to_owned()),
            1 => (1..400usize).prop_map(|n| "é".repeat(n)),
            1 => (1..600usize).prop_map(|n| "%".repeat(n)),
            1 => (250..260usize).prop_map(|n| "x".repeat(n)),
            1 => any::<String>(),
        ];
        prop::collection::vec(piece, 1..6)
            .prop_map(|pieces| {
                let key = pieces.concat();
                key[..key.floor_char_boundary(1024)].to_owned()
            })
            .prop_filter("a key is not empty", |key| !key.is_empty())
    }

    proptest! {
        #[test]
        fn every_key_has_a_path_that_leads_back_to_it(key in odd_key()) {
            prop_assert_eq!(key_of(&path_of(&key)), Some(key));
        }

        #[test]
        fn every_path_stays_inside_and_fits(key in odd_key()) {
            let path = path_of(&key);
            prop_assert!(path.len() < 4000, "{} bytes", path.len());
            let names: Vec<_> = Path::new(&path).components().collect();
            prop_assert_eq!(names.len(), path.split('/').count());
            for name in &names {
                let Component::Normal(name) = name else { panic!("{name:?} in {path}") };
                prop_assert!(name.len() <= NAME_MAX);
                prop_assert!(*name != OWN);
            }
            prop_assert!(names[0] != Component::Normal(PRIVATE.as_ref()));
        }

        #[test]
        fn no_two_keys_share_a_path(one in odd_key(), other in odd_key()) {
            prop_assert_eq!(one == other, path_of(&one) == path_of(&other));
        }

        #[test]
        fn a_file_name_is_the_name_of_one_component_or_none(name in "[%+a0-9A-F.]{1,8}") {
            if let Some(component) = component_of(&name) {
                prop_assert_eq!(name_of(&component), name);
            }
        }
    }

    #[test]
    fn an_ordinary_key_is_its_own_path() {
        let key = "web/app.log.segments/dt=2026-11-23/x~1 (é)+.log.gz";
        assert_eq!(path_of(key), key);
    }

    #[test]
    fn odd_components_are_escaped_as_documented() {
        for (key, path) in [
            ("a//b", "a/%/b"),
            ("/a/", "%/a/%"),
            ("../.", "%2E./%2E"),
            (".embedded-bucket/x", "%2Eembedded-bucket/x"),
            ("100%\n", "100%25%0A"),
            ("%self", "%25self"),
        ] {
            assert_eq!(path_of(key), path);
        }
        let long = "y".repeat(300);
        assert_eq!(path_of(&long), format!("{}%+/{}", "y".repeat(253), "y".repeat(47)));
    }

    #[test]
    fn a_name_the_rule_never_writes_is_no_object() {
        for name in ["100%", "%41", "%2e", "%self", "%C3%A9", "a%+", PRIVATE, "a\n"] {
            assert_eq!(component_of(name), None, "{name}");
        }
    }
}
