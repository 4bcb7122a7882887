//! For development: the site is imported anew when its code changes.

use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

use super::guard::Guard;
use super::sources::Sources;
use super::zygote::Zygote;
use super::{ExecutorError, Executors};
use crate::settings::ExecutorSettings;

/// A zygote that has imported the site, and the sources that it has imported. A site that cannot be imported may be repaired.
pub(super) async fn start(
    settings: &Rc<ExecutorSettings>,
    guard: &Rc<Guard>,
) -> Result<(Zygote, Sources), ExecutorError> {
    let mut sources = Sources::new()?;
    loop {
        let began = SystemTime::now();
        match Zygote::start(Rc::clone(settings), Rc::clone(guard)).await {
            Ok(zygote) => {
                sources.add(&zygote.source_roots(), began);
                return Ok((zygote, sources));
            }
            Err(ExecutorError::Site { traceback, source_roots, .. }) => {
                sources.add(&source_roots, began);
                complain(
                    "the site cannot be imported; the worker begins when its code has changed",
                    &traceback,
                );
                let file = sources.changed().await;
                announce(&file, &mut sources).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Replaces the children whenever the site's code changes. Meanwhile nothing is claimed: what is enqueued after a change may need
/// it, most of all when the web server has imported it sooner.
pub(super) async fn follow(executors: Rc<Executors>, mut sources: Sources) {
    let Some(zygote) = &executors.zygote else { return };
    loop {
        let file = sources.changed().await;
        executors.is_behind.set(true);
        announce(&file, &mut sources).await;
        let began = SystemTime::now();
        match zygote.renew().await {
            Ok(()) => {
                sources.add(&zygote.source_roots(), began);
                executors.let_outdated_go();
                tracing::info!("new code is in use; what is running ends with the code that it began with");
            }
            Err(ExecutorError::Site { traceback, source_roots, .. }) => {
                sources.add(&source_roots, began);
                complain(
                    "the changed code cannot be imported; tasks run with the earlier code until the next change",
                    &traceback,
                );
            }
            Err(error) => {
                tracing::error!(%error, "the site could not be imported anew; tasks run with the earlier code");
            }
        }
        executors.is_behind.set(false);
    }
}

async fn announce(file: &Path, sources: &mut Sources) {
    sources.quiet().await;
    tracing::info!(file = %file.display(), "code has changed; importing the site");
}

/// Whoever develops reads this: the whole story, in lines.
fn complain(what: &str, traceback: &str) {
    tracing::error!("{what}\n{}", traceback.trim_end());
}
