//! Statements that the Python package runs too: one file for both, in `src/reproq_django/sql/*/statements/`.

/// The text with each `%(name)s` replaced by `sigil` and the name's place in `names`, and each `%%` by `%`. It is leaked: call
/// it once per statement.
///
/// # Panics
///
/// When the text names something that is not among `names`.
pub(crate) fn statement(text: &'static str, names: &[&str], sigil: char) -> &'static str {
    let mut sql = String::with_capacity(text.len());
    let mut parts = text.split('%');
    sql.push_str(parts.next().unwrap_or_default());
    while let Some(part) = parts.next() {
        if part.is_empty() {
            sql.push('%');
            sql.push_str(parts.next().unwrap_or_default());
            continue;
        }
        let (name, rest) =
            part.strip_prefix('(').and_then(|part| part.split_once(")s")).unwrap_or((part, ""));
        let Some(place) = names.iter().position(|known| *known == name) else {
            panic!("a shared statement names %({name})s, which nobody gives it");
        };
        sql.push(sigil);
        sql.push_str(&(place + 1).to_string());
        sql.push_str(rest);
    }
    sql.leak()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_places_and_doubled_signs_single() {
        let text = "SELECT strftime('%%Y', %(at)s), %(id)s, %(at)s, 5 %% 2";
        assert_eq!(statement(text, &["id", "at"], '?'), "SELECT strftime('%Y', ?2), ?1, ?2, 5 % 2");
        assert_eq!(statement("%(id)s::bigint", &["id"], '$'), "$1::bigint");
    }

    #[test]
    #[should_panic(expected = "%(other)s")]
    fn a_name_that_nobody_gives_is_a_mistake() {
        statement("%(other)s", &["id"], '$');
    }
}
