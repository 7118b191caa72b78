//! The page for people at `/` of the admin endpoint, and the policy that it is served with. Owns what a browser may do
//! there; the page itself is `page.html`, which needs nothing but `/status`.
//!
//! Invariant: the page loads nothing from elsewhere, and nothing runs in it but the script and the style in the file.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use sha2::{Digest, Sha256};

/// The page.
pub(super) const PAGE: &str = include_str!("page.html");

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; connect-src 'self'; img-src data:; style-src {}; script-src {}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        source("style"),
        source("script"),
    );
    // What is formatted here is ASCII.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The Content-Security-Policy of all answers.
pub(super) fn policy() -> HeaderValue {
    POLICY.clone()
}

/// An element of the page, as a policy allows it: by the hash of what is in it.
fn source(element: &str) -> String {
    let (begin, end) = (format!("<{element}>"), format!("</{element}>"));
    let content =
        PAGE.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end)).map_or("", |(content, _)| content);
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_style_and_one_script_and_makes_no_html_of_what_it_is_told() {
        for element in ["<style", "</style>", "<script", "</script>"] {
            assert_eq!(PAGE.matches(element).count(), 1, "{element}");
        }
        for word in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", " style=", " on"] {
            let found = PAGE.lines().find(|line| line.contains(word) && line.contains('<'));
            assert_eq!(found, None, "{word}");
        }
        for elsewhere in ["http://", "https://", "src=", "@import", "url("] {
            let found = PAGE.lines().find(|line| line.contains(elsewhere) && !line.contains("www.w3.org"));
            assert_eq!(found, None, "{elsewhere}");
        }
        let policy = policy();
        let policy = policy.to_str().unwrap_or_default();
        assert!(policy.contains("script-src 'sha256-") && !policy.contains("-inline"), "{policy}");
    }
}
