//! Masks: what stands in for a secret wherever a value is shown.

/// Stands in for a secret; its length says nothing about the secret's.
pub const MASK: &str = "****";

/// URL parameters that carry a secret, in lower case.
const SECRET_PARAMETERS: [&str; 2] = ["password", "sslpassword"];

/// The query string of a URL with the values of secret parameters masked, everything else untouched.
pub(crate) fn mask_query(query: &str) -> String {
    let masked: Vec<String> = query.split('&').map(mask_parameter).collect();
    masked.join("&")
}

/// Whether a query string carries a secret parameter.
pub(crate) fn has_secret_parameter(query: &str) -> bool {
    query.split('&').filter_map(|pair| pair.split_once('=')).any(|(name, _)| is_secret(name))
}

fn mask_parameter(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={MASK}"),
        _ => pair.to_owned(),
    }
}

/// A name may be percent-encoded; any escape in a name is treated as hiding a secret.
fn is_secret(name: &str) -> bool {
    name.contains('%') || SECRET_PARAMETERS.contains(&name.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_secret_parameters_only() {
        assert_eq!(
            mask_query("host=/run&Password=hunter2&sslmode=require&sslpassword=x"),
            "host=/run&Password=****&sslmode=require&sslpassword=****"
        );
    }

    #[test]
    fn an_escaped_name_hides_nothing() {
        assert_eq!(mask_query("p%61ssword=hunter2"), "p%61ssword=****");
        assert!(has_secret_parameter("p%61ssword=hunter2"));
        assert!(!has_secret_parameter("sslmode=require"));
    }
}
