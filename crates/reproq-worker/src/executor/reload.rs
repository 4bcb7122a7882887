//! For development: the site is imported anew when its code changes.

use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout_at};

use super::guard::Guard;
use super::sources::Sources;
use super::zygote::Zygote;
use super::{ExecutorError, Executors};
use crate::settings::ExecutorSettings;

/// What a site under development takes to import, and more.
const LONGEST_HOLD: Duration = Duration::from_secs(15);
/// Between two changes that have nothing to do with each other.
const RESPITE: Duration = Duration::from_millis(250);

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
                sources.quiet().await;
                announce(&file);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Replaces the children whenever the site's code changes. Meanwhile nothing is claimed: what is enqueued after a change may need
/// it, most of all when the web server has imported it sooner.
pub(super) async fn follow(executors: Rc<Executors>, mut sources: Sources) {
    let Some(zygote) = &executors.zygote else { return };
    let mut hold = Hold::default();
    loop {
        let file = sources.changed().await;
        let until = hold.begin();
        executors.behind_until.set(Some(until.into_std()));
        sources.quiet().await;
        announce(&file);
        let began = SystemTime::now();
        let mut renewal = pin!(zygote.renew());
        let renewed = if let Ok(renewed) = timeout_at(until, &mut renewal).await {
            renewed
        } else {
            tracing::warn!("the site is still being imported; tasks run with the earlier code meanwhile");
            renewal.await
        };
        match renewed {
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
        executors.behind_until.set(None);
        hold.end();
    }
}

/// How long nothing has been claimed because code has changed. A site that changes its code as it is imported would hold for ever.
#[derive(Default)]
struct Hold {
    since: Option<Instant>,
    ended: Option<Instant>,
}

impl Hold {
    /// Until when it lasts at most. One that comes at once after another is the same.
    fn begin(&mut self) -> Instant {
        if self.ended.is_none_or(|ended| ended.elapsed() > RESPITE) {
            self.since = None;
        }
        *self.since.get_or_insert_with(Instant::now) + LONGEST_HOLD
    }

    fn end(&mut self) {
        self.ended = Some(Instant::now());
    }
}

fn announce(file: &Path) {
    tracing::info!(file = %file.display(), "code has changed; importing the site");
}

/// Whoever develops reads this: the whole story, in lines.
fn complain(what: &str, traceback: &str) {
    tracing::error!("{what}\n{}", traceback.trim_end());
}
