//! Statements that the package runs too: files of `src/reproq_django/sql/<vendor>/statements`, whose parameters have names.

/// A file's text as the engine takes it: `%(name)s` becomes the place of `name` in `names`, counted from 1 behind `sigil`
/// (`$1`, `?1`), and `%%` a percent sign. The text lives as long as the process: call it once per statement, in a `LazyLock`.
///
/// # Panics
///
/// When the file names a parameter that `names` does not have: both are parts of this build.
pub(crate) fn statement(text: &'static str, names: &[&str], sigil: char) -> &'static str {
    let mut sql = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        sql.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            sql.push('%');
            rest = after;
            continue;
        }
        let parameter = rest.strip_prefix('(').and_then(|rest| rest.split_once(")s"));
        let place = parameter.and_then(|(name, _)| names.iter().position(|known| *known == name));
        let (Some((_, after)), Some(place)) = (parameter, place) else {
            panic!(
                "a percent sign that begins no parameter of {names:?}: %{}",
                rest.lines().next().unwrap_or_default()
            )
        };
        sql.push(sigil);
        sql.push_str(&(place + 1).to_string());
        rest = after;
    }
    sql.push_str(rest);
    String::leak(sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_places() {
        let text = "SELECT %(b)s::int[], %(a)s, %(b)s";
        assert_eq!(statement(text, &["a", "b"], '$'), "SELECT $2::int[], $1, $2");
        assert_eq!(statement(text, &["a", "b"], '?'), "SELECT ?2::int[], ?1, ?2");
    }

    #[test]
    fn a_doubled_percent_sign_is_one() {
        assert_eq!(statement("strftime('%%Y-%%m', %(at)s) %% 2", &["at"], '?'), "strftime('%Y-%m', ?1) % 2");
    }

    #[test]
    fn a_text_without_parameters_is_itself() {
        assert_eq!(statement("SELECT 1", &[], '$'), "SELECT 1");
    }

    #[test]
    #[should_panic(expected = "%(wrong)s")]
    fn a_name_that_nobody_binds_is_found_at_the_first_use() {
        statement("SELECT %(wrong)s", &["right"], '$');
    }
}
