//! A replay or a retry that meets an active twin answers with the twin. Between the statement that finds no room and the look
//! at who has taken it, the twin may end: then there is room after all, so both are tried again, a few times.

use std::collections::HashMap;

use reproq_model::{RunId, RunStatus};

use crate::{Replayed, RetryAnswer, StoreError};

/// A twin that ends and another that starts, both between two statements, this often in a row: somebody enqueues in a loop.
const TRIES: usize = 5;

/// A run as the look finds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) status: RunStatus,
    /// The active run that stands for another of its kind.
    pub(crate) twin: Option<RunId>,
    /// The run of its workflow for whose sake it was ended; 0: nobody knows which.
    pub(crate) spoilt_by: Option<i64>,
}

pub(crate) async fn replay(
    insert: impl AsyncFn() -> Result<Option<RunId>, StoreError>,
    look: impl AsyncFn() -> Result<Option<Standing>, StoreError>,
) -> Result<Replayed, StoreError> {
    for _ in 0..TRIES {
        if let Some(id) = insert().await? {
            return Ok(Replayed::Made(id));
        }
        match look().await? {
            None => return Ok(Replayed::Unknown),
            Some(Standing { twin: Some(twin), .. }) => return Ok(Replayed::Twin(twin)),
            Some(Standing { twin: None, .. }) => {}
        }
    }
    Ok(Replayed::Contended)
}

/// `write` moves what it can, and all of it or nothing: a refusal means that a twin has come to be among them meanwhile.
pub(crate) async fn retry(
    ids: &[RunId],
    write: impl AsyncFn(&[RunId]) -> Result<Vec<RunId>, StoreError>,
    look: impl AsyncFn(&[RunId]) -> Result<HashMap<RunId, Standing>, StoreError>,
) -> Result<Vec<(RunId, RetryAnswer)>, StoreError> {
    let mut answers: HashMap<RunId, RetryAnswer> = HashMap::new();
    let mut left = ids.to_vec();
    for _ in 0..TRIES {
        let moved = match write(&left).await {
            Err(StoreError::Refused { .. }) => one_by_one(&left, &write).await?,
            // Whoever holds one row at a time is in no circle.
            Err(error) if error.is_deadlock() => one_by_one(&left, &write).await?,
            moved => moved?,
        };
        answers.extend(moved.iter().map(|id| (*id, RetryAnswer::Retried)));
        left.retain(|id| !answers.contains_key(id));
        if left.is_empty() {
            break;
        }
        let found = look(&left).await?;
        for id in &left {
            let answer = match found.get(id) {
                None => RetryAnswer::Unknown,
                Some(Standing { spoilt_by: Some(culprit), .. }) => {
                    RetryAnswer::Spoilt((*culprit > 0).then_some(RunId(*culprit)))
                }
                Some(Standing { status: RunStatus::Failed, twin, .. }) => match twin {
                    Some(twin) => RetryAnswer::Twin(*twin),
                    None => continue,
                },
                Some(Standing { status, .. }) => RetryAnswer::Found(*status),
            };
            answers.insert(*id, answer);
        }
        left.retain(|id| !answers.contains_key(id));
        if left.is_empty() {
            break;
        }
    }
    let answer = |id: &RunId| answers.get(id).copied().unwrap_or(RetryAnswer::Found(RunStatus::Failed));
    Ok(ids.iter().map(|id| (*id, answer(id))).collect())
}

async fn one_by_one(
    ids: &[RunId],
    write: impl AsyncFn(&[RunId]) -> Result<Vec<RunId>, StoreError>,
) -> Result<Vec<RunId>, StoreError> {
    let mut moved = Vec::new();
    for id in ids {
        match write(&[*id]).await {
            Err(StoreError::Refused { .. }) => {}
            // Somebody else's circle: the next try comes back to this run.
            Err(error) if error.is_deadlock() => {}
            one => moved.extend(one?),
        }
    }
    Ok(moved)
}
