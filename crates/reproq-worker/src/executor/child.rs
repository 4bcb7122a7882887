//! A warm child: runs go in, answers come out, in order.

use reproq_model::wire::{ResultFrame, RunFrame};
use reproq_store::ClaimedRun;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::{Duration, timeout};

use super::output::Output;
use super::{Answer, frames, unix};

/// How long the zygote may take to say how a child ended.
const OBITUARY: Duration = Duration::from_secs(2);

/// One process of the pool. Dropping it closes its stream, upon which it exits.
pub(super) struct Child {
    pub(super) pid: i32,
    pub(super) stream: UnixStream,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    /// Its `waitpid` status, once it has ended; taken by whoever has waited for it.
    pub(super) ended: Option<oneshot::Receiver<i32>>,
    pub(super) received: frames::FrameBuffer,
    /// Why a run could not be sent: told as the answer, which the caller waits for anyway.
    pub(super) broken: Option<String>,
}

impl Child {
    /// Sends runs, all in one write.
    pub(super) async fn send(&mut self, runs: &[ClaimedRun], worker_id: &str) {
        let mut bytes = Vec::with_capacity(runs.iter().map(|run| run.spec.len() + 512).sum());
        for run in runs {
            match frame(run, worker_id) {
                Ok(payload) => frames::write(&payload, &mut bytes),
                Err(error) => self.broken = Some(format!("the run holds text that is no JSON: {error}")),
            }
        }
        // A child may answer the first run before it has read the last one: nobody reads its answers meanwhile, but
        // they are small and the socket holds them.
        if let Err(error) = self.stream.write_all(&bytes).await {
            self.broken = Some(format!("its stream broke: {error}"));
        }
    }

    /// Waits for the next answer, which must be `run`'s.
    pub(super) async fn answer(&mut self, run: &ClaimedRun) -> Answer {
        if let Some(how) = self.broken.take() {
            return self.died(how).await;
        }
        loop {
            match self.received.take() {
                Ok(Some(payload)) => {
                    return match serde_json::from_slice::<ResultFrame>(payload) {
                        Ok(frame) if frame.result_id == run.id.to_string() && frame.epoch == run.epoch.0 => {
                            Answer::Envelope(Box::new(frame.envelope))
                        }
                        Ok(frame) => {
                            let how = format!("it answered run {} instead of {}", frame.result_id, run.id);
                            self.died(how).await
                        }
                        Err(error) => self.died(format!("its answer is no answer: {error}")).await,
                    };
                }
                Ok(None) => {}
                Err(error) => return self.died(error.to_string()).await,
            }
            match self.stream.read_buf(self.received.room()).await {
                Ok(0) => {
                    let how = self.end().await.map(unix::describe);
                    return self
                        .died(how.unwrap_or_else(|| "it closed its stream to the worker".to_owned()))
                        .await;
                }
                Ok(_) => {}
                Err(error) => return self.died(format!("its stream broke: {error}")).await,
            }
        }
    }

    async fn died(&mut self, how: String) -> Answer {
        unix::kill_group(self.pid);
        // Whatever it has printed last is still on its way.
        tokio::task::yield_now().await;
        Answer::Died { how, stderr_tail: self.stderr.tail() }
    }

    /// Kills it with its process group, and waits until it is gone.
    pub(super) async fn kill(mut self) {
        unix::kill_group(self.pid);
        // Should nobody know its end, the zygote is gone, and the child with it.
        let _ = self.end().await;
    }

    /// Waits for the zygote to say how it ended.
    async fn end(&mut self) -> Option<i32> {
        timeout(OBITUARY, self.ended.take()?).await.ok()?.ok()
    }
}

fn frame(run: &ClaimedRun, worker_id: &str) -> Result<Vec<u8>, serde_json::Error> {
    let raw = serde_json::from_str::<&RawValue>;
    serde_json::to_vec(&RunFrame {
        kind: "run",
        result_id: run.id.to_string(),
        epoch: run.epoch.0,
        attempt: run.attempts,
        worker_id,
        backend_alias: &run.backend_alias,
        enqueued_at: run.enqueued_at,
        started_at: run.started_at,
        last_attempted_at: run.last_attempted_at,
        worker_ids: raw(&run.worker_ids)?,
        errors: raw(&run.errors)?,
        metadata: raw(&run.metadata)?,
        spec: raw(&run.spec)?,
    })
}
