//! `reproq replay`: the call of a run, enqueued again.

use std::process::ExitCode;

use clap::ArgMatches;
use reproq_config::Resolved;
use reproq_model::RunId;
use reproq_store::Replayed;
use serde_json::json;

use crate::exit::Failure;
use crate::{asked, output, wiring};

/// Answers the new run, or the active one that stands for it.
pub fn run(config: &Resolved, flags: &ArgMatches) -> Result<ExitCode, Failure> {
    let hash = asked::text(flags, "spec-hash");
    let (source, replayed) = wiring::operate(config, async |operator| {
        let source = match (hash, flags.get_one::<RunId>("id")) {
            (Some(hash), _) => operator
                .newest_of(hash)
                .await?
                .ok_or_else(|| Failure::refused(format!("there is no run with the spec {hash}"), None))?,
            (None, id) => id.copied().unwrap_or(RunId(0)),
        };
        Ok((source, operator.replay(source).await?))
    })?;
    let (id, is_twin) = match replayed {
        Replayed::Made(id) => (id, false),
        Replayed::Twin(id) => (id, true),
        Replayed::Unknown => return Err(Failure::no_run(source)),
        Replayed::Contended => {
            return Err(Failure::refused(
                format!("runs with the spec of run {source} come and go too fast; nothing was enqueued"),
                Some("try again".to_owned()),
            ));
        }
    };
    if flags.get_flag("json") {
        output::print(
            &json!({"source": source, "spec_hash": hash, "result_id": id, "twin": is_twin}).to_string(),
        );
    } else {
        let of = hash.map(|hash| format!(" (spec {hash})")).unwrap_or_default();
        let what = match (is_twin, id == source) {
            (false, _) => format!("is replayed as run {id}"),
            (true, false) => format!("is not replayed: run {id} is active and stands for it"),
            (true, true) => "is not replayed: it is active itself".to_owned(),
        };
        output::print(&format!("run {source}{of} {what}"));
    }
    Ok(ExitCode::SUCCESS)
}
