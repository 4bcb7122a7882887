//! Which modules a worker may run tasks of.

/// Module prefixes, compared component by component: `shop.tasks` allows `shop.tasks.mail` and not `shop.tasks_old.mail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowList(Vec<Vec<String>>);

impl AllowList {
    /// Reads the earlier system's form: `shop.tasks.`, `shop.tasks` and `*` (every module that the site has imported).
    #[must_use]
    pub fn new<S: AsRef<str>>(prefixes: impl IntoIterator<Item = S>) -> Self {
        Self(
            prefixes
                .into_iter()
                .map(|prefix| components(prefix.as_ref()))
                .filter(|parts| !parts.is_empty())
                .collect(),
        )
    }

    /// Whether the module of `task_path` (`package.module.function`) is on the list.
    #[must_use]
    pub fn allows(&self, task_path: &str) -> bool {
        let Some((module, _)) = task_path.rsplit_once('.') else { return false };
        let parts = components(module);
        self.0.iter().any(|prefix| prefix == &["*"] || parts.starts_with(prefix))
    }
}

fn components(path: &str) -> Vec<String> {
    path.trim().split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_component() {
        let list = AllowList::new(["shop.tasks.", "mail"]);
        assert!(
            list.allows("shop.tasks.send")
                && list.allows("shop.tasks.nightly.send")
                && list.allows("mail.send")
        );
        assert!(
            !list.allows("shop.tasks_old.send")
                && !list.allows("shop.models.send")
                && !list.allows("mailer.send")
        );
    }

    #[test]
    fn a_star_allows_all_and_nothing_allows_none() {
        assert!(AllowList::new(["*"]).allows("os.system"));
        assert!(!AllowList::new(Vec::<String>::new()).allows("shop.tasks.send"));
        assert!(!AllowList::new(["", "."]).allows("shop.tasks.send"));
        assert!(!AllowList::new(["*"]).allows("no_module"));
    }
}
