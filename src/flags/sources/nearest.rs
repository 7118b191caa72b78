//! The name that was probably meant.

/// Of how many letters one may be wrong, missing or swapped.
const LETTERS_A_SLIP: usize = 3;

/// The most similar of these names, if one is similar.
pub(super) fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rated = names.map(|name| (strsim::damerau_levenshtein(given, name), name));
    let (slips, name) = rated.min()?;
    (slips <= given.len().div_ceil(LETTERS_A_SLIP)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_seen_through_and_another_word_is_not_taken_for_one() {
        let names = ["region", "spool-max", "spool-dir", "guard-mountpoint"];
        for (given, meant) in [
            ("regoin", Some("region")),
            ("spool_max", Some("spool-max")),
            ("spooldir", Some("spool-dir")),
            ("mount", None),
            ("bucket", None),
        ] {
            assert_eq!(nearest(given, names.into_iter()), meant, "{given}");
        }
    }
}
