//! `reproq logs`: what the attempts of a run have printed. The text goes to standard output, everything about it to standard error.

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_model::{Epoch, RunId, RunStatus};
use reproq_store::{KeptLog, LogPlace, Operator, RunLogs, Stream};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::{asked, output, wiring};

/// Between two looks at a run that goes on. Its worker stores what it prints about once a second.
const LOOK: Duration = Duration::from_millis(300);

/// What is asked for.
#[derive(Clone, Copy)]
struct Wanted {
    id: RunId,
    attempt: Option<i32>,
    stream: Option<Stream>,
    follow: bool,
    json: bool,
}

/// Prints what there is, and with `--follow` what comes until the run ends.
pub fn run(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let wanted = Wanted {
        id: asked::the_run(flags),
        attempt: flags.get_one("attempt").copied(),
        stream: asked::text(flags, "stream").map(|name| match name {
            "stdout" => Stream::Stdout,
            _ => Stream::Stderr,
        }),
        follow: flags.get_flag("follow"),
        json: flags.get_flag("json"),
    };
    wiring::operate(config, async |operator| {
        let mut reader = Reader { wanted, place: LogPlace::START, printed: false, unfinished_line: false };
        loop {
            let run = operator.logs(wanted.id, wanted.attempt, reader.place).await?;
            let run = run.ok_or_else(|| Failure::no_run(wanted.id))?;
            if let Some(refusal) = refusal(wanted, &run) {
                return Err(refusal);
            }
            if !reader.take(&run) {
                return Ok(());
            }
            if !wanted.follow || is_over(wanted, &run) {
                if !reader.printed && !wanted.json {
                    output::complain(&why_nothing(wanted, &run, config, operator).await?);
                }
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// An attempt that there has not been, and will not be while somebody waits for it.
fn refusal(wanted: Wanted, run: &RunLogs) -> Option<Failure> {
    let attempt = wanted.attempt.filter(|attempt| *attempt > run.attempts && run.logs.is_empty())?;
    if wanted.follow && !run.status.is_terminal() {
        return None;
    }
    let plural = if run.attempts == 1 { "" } else { "s" };
    let what =
        format!("run {} has no attempt {attempt}: it has had {} attempt{plural}", wanted.id, run.attempts);
    Some(Failure::refused(what, Some(format!("`reproq attempts {}` lists them", wanted.id))))
}

/// Whether nothing more is to come.
fn is_over(wanted: Wanted, run: &RunLogs) -> bool {
    let of_attempt =
        |attempt| run.attempts > attempt || (run.attempts == attempt && run.status != RunStatus::Running);
    run.status.is_terminal() || wanted.attempt.is_some_and(of_attempt)
}

/// Prints what it has not printed yet.
struct Reader {
    wanted: Wanted,
    place: LogPlace,
    /// Whether anything was printed.
    printed: bool,
    unfinished_line: bool,
}

impl Reader {
    /// False: nobody reads any more.
    fn take(&mut self, run: &RunLogs) -> bool {
        if self.wanted.json && !self.wanted.follow {
            output::print(&whole(self.wanted, run).to_string());
            return true;
        }
        let several = run.logs.len() > 1 || self.place != LogPlace::START;
        run.logs.iter().all(|log| {
            let begins = log.epoch != self.place.epoch;
            if begins {
                self.place = LogPlace { epoch: log.epoch, bytes: 0 };
            }
            self.head(log, begins && several) && self.go_on(log)
        })
    }

    /// What is to be known before the text.
    fn head(&mut self, log: &KeptLog, begins: bool) -> bool {
        if self.wanted.json {
            return true;
        }
        if begins {
            if std::mem::take(&mut self.unfinished_line) && !output::write("\n") {
                return false;
            }
            output::complain(&format!("-- attempt {} --", log.attempt));
        }
        let lost = (log.bytes + log.dropped).saturating_sub(self.place.bytes).saturating_sub(log.bytes);
        if lost > 0 {
            output::complain(&format!("[{lost} bytes before this are not kept]"));
        }
        true
    }

    fn go_on(&mut self, log: &KeptLog) -> bool {
        let total = log.bytes + log.dropped;
        let news = news(log, self.place.bytes);
        self.place.bytes = total;
        for (stream, text) in news.into_iter().filter(|(stream, _)| wants(self.wanted, *stream)) {
            self.printed = true;
            self.unfinished_line = !text.ends_with('\n');
            let going = if self.wanted.json {
                let line = json!({
                    "attempt": log.attempt, "epoch": log.epoch, "stream": name(stream), "text": text,
                });
                output::write(&format!("{line}\n"))
            } else {
                output::write(text)
            };
            if !going {
                return false;
            }
        }
        true
    }
}

/// What of a log somebody has not seen who has seen so many bytes of it.
fn news(log: &KeptLog, seen: u64) -> Vec<(Stream, &str)> {
    let fresh = (log.bytes + log.dropped).saturating_sub(seen).min(log.bytes);
    let mut old = usize::try_from(log.bytes - fresh).unwrap_or(usize::MAX);
    let mut news = Vec::new();
    for (stream, text) in &log.chunks {
        let skipped = old.min(text.len());
        old -= skipped;
        let rest = &text[text.ceil_char_boundary(skipped)..];
        if !rest.is_empty() {
            news.push((*stream, rest));
        }
    }
    news
}

fn wants(wanted: Wanted, stream: Stream) -> bool {
    wanted.stream.is_none_or(|only| only == stream)
}

const fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

/// For programs.
fn whole(wanted: Wanted, run: &RunLogs) -> Value {
    let chunks = |log: &KeptLog| -> Vec<Value> {
        let chunks = log.chunks.iter().filter(|(stream, _)| wants(wanted, *stream));
        chunks.map(|(stream, text)| json!({"stream": name(*stream), "text": text})).collect()
    };
    let logs: Vec<Value> = run
        .logs
        .iter()
        .map(|log| {
            json!({
                "attempt": log.attempt, "epoch": log.epoch, "bytes": log.bytes, "dropped": log.dropped,
                "chunks": chunks(log),
            })
        })
        .collect();
    json!({"result_id": wanted.id, "status": run.status.as_str(), "logs_uri": run.logs_uri, "logs": logs})
}

/// Why nothing was printed.
async fn why_nothing(
    wanted: Wanted,
    run: &RunLogs,
    config: &Resolved,
    operator: &dyn Operator,
) -> Result<String, Failure> {
    let id = wanted.id;
    // Without the bounds that were asked for.
    let any = operator.logs(id, wanted.attempt, LogPlace { epoch: Epoch(0), bytes: 0 }).await?;
    if any.is_some_and(|any| any.logs.iter().any(|log| log.bytes + log.dropped > 0)) {
        let stream = wanted.stream.map_or("it", name);
        return Ok(format!("run {id} has a log, and nothing in it is of {stream}"));
    }
    Ok(words_for_nothing(id, run, config.worker().logs_in_database))
}

fn words_for_nothing(id: RunId, run: &RunLogs, stored_here: bool) -> String {
    let file =
        run.logs_uri.as_ref().map(|path| format!("; its worker has written {path}")).unwrap_or_default();
    match run.status {
        _ if run.attempts == 0 && !run.status.is_terminal() => {
            format!(
                "run {id} is {} and has not started, so there is no log of it; see `reproq why {id}`",
                run.status
            )
        }
        RunStatus::Running => format!(
            "run {id} is RUNNING and has printed nothing so far; what it prints is here about a second later, and --follow waits for it"
        ),
        _ if !stored_here => format!(
            "no log of run {id} is in the database{file}: here, worker.logs says that logs do not go there"
        ),
        _ => format!(
            "no log of run {id} is in the database{file}: it has printed nothing, or its worker does not store logs (worker.logs), or \
             they have been pruned"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(bytes: u64, dropped: u64, chunks: &[(Stream, &str)]) -> KeptLog {
        let chunks = chunks.iter().map(|(stream, text)| (*stream, (*text).to_owned())).collect();
        KeptLog { epoch: Epoch(1), attempt: 1, chunks, bytes, dropped }
    }

    fn state(status: RunStatus, attempts: i32) -> RunLogs {
        RunLogs { status, attempts, logs_uri: None, logs: Vec::new() }
    }

    fn wanted(attempt: Option<i32>, follow: bool) -> Wanted {
        Wanted { id: RunId(7), attempt, stream: None, follow, json: false }
    }

    #[test]
    fn who_follows_gets_each_byte_once() {
        let (out, err) = (Stream::Stdout, Stream::Stderr);
        let grown = log(7, 0, &[(out, "abc"), (err, "de"), (out, "fg")]);
        assert_eq!(news(&grown, 0), [(out, "abc"), (err, "de"), (out, "fg")]);
        assert_eq!(news(&grown, 4), [(err, "e"), (out, "fg")]);
        assert_eq!(news(&grown, 7), []);
        let cut = log(4, 100, &[(out, "wxyz")]);
        assert_eq!(news(&cut, 102), [(out, "yz")]);
        assert_eq!(news(&cut, 7), [(out, "wxyz")], "some were printed and lost in between");
        assert_eq!(news(&log(4, 0, &[(out, "éa")]), 1), [(out, "a")], "never half a character");
    }

    #[test]
    fn following_ends_with_the_run_or_with_the_attempt_that_was_asked_for() {
        assert!(!is_over(wanted(None, true), &state(RunStatus::Ready, 2)));
        assert!(is_over(wanted(None, true), &state(RunStatus::Failed, 2)));
        for (status, attempts, over) in [
            (RunStatus::Running, 1, false),
            (RunStatus::Running, 2, false),
            (RunStatus::Ready, 2, true),
            (RunStatus::Running, 3, true),
            (RunStatus::Ready, 1, false),
        ] {
            assert_eq!(is_over(wanted(Some(2), true), &state(status, attempts)), over, "{status} {attempts}");
        }
    }

    #[test]
    fn an_attempt_that_never_was_is_refused_unless_it_may_come() {
        assert!(refusal(wanted(Some(3), false), &state(RunStatus::Running, 2)).is_some());
        assert!(refusal(wanted(Some(3), true), &state(RunStatus::Running, 2)).is_none());
        assert!(refusal(wanted(Some(3), true), &state(RunStatus::Failed, 2)).is_some());
        assert!(refusal(wanted(Some(2), false), &state(RunStatus::Running, 2)).is_none());
    }

    #[test]
    fn an_empty_log_is_explained() {
        for (status, attempts, stored, word) in [
            (RunStatus::Ready, 0, true, "has not started"),
            (RunStatus::Running, 1, true, "--follow"),
            (RunStatus::Failed, 1, false, "worker.logs says"),
            (RunStatus::Failed, 1, true, "pruned"),
        ] {
            let text = words_for_nothing(RunId(7), &state(status, attempts), stored);
            assert!(text.contains(word), "{text}");
        }
        let filed = RunLogs { logs_uri: Some("/logs/7".to_owned()), ..state(RunStatus::Successful, 1) };
        assert!(words_for_nothing(RunId(7), &filed, false).contains("has written /logs/7"));
    }
}
