//! How much memory processes use, as far as the operating system tells (Linux).

use std::collections::HashMap;

/// Resident bytes of one process; 0 if that is not known, or it has ended.
pub(crate) fn of_process(pid: i32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_u64) * rustix::param::page_size() as u64
}

/// Resident bytes of a process and of all that it has started, as far as they are still its descendants.
pub(crate) fn of_tree(root: i32) -> u64 {
    let children = children_by_parent();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        if let Some(more) = children.get(pid) {
            found.extend_from_slice(more);
        }
        next += 1;
    }
    found.into_iter().map(of_process).sum()
}

fn children_by_parent() -> HashMap<i32, Vec<i32>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let Ok(entries) = std::fs::read_dir("/proc") else { return children };
    for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold any character: what follows the last one is safe.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_and_what_it_has_started_are_counted_together() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (me, other) = (i32::try_from(std::process::id()).unwrap(), i32::try_from(child.id()).unwrap());
        let counted = of_tree(me);
        assert!(of_process(other) > 0 && counted > of_process(other) && parent(other) == Some(me));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(of_process(other), 0);
    }
}
