//! `reproq check`: would a worker with this configuration find its database?

use std::process::ExitCode;

use reproq_config::Resolved;
use serde_json::json;

use crate::exit::Failure;
use crate::{output, wiring};

/// Fails with the code of the first thing that is wrong.
pub fn run(config: &Resolved, as_json: bool) -> Result<ExitCode, Failure> {
    wiring::runtime()?.block_on(async {
        let store = wiring::store(config).await?;
        Ok::<(), Failure>(store.check_schema().await?)
    })?;
    let schema = reproq_store::schema::version();
    if as_json {
        output::print(&json!({"ok": true, "schema": schema, "warnings": config.warnings()}).to_string());
    } else {
        output::print(&format!("configuration ok\ndatabase ok\nschema {schema} ok"));
        config.warnings().iter().for_each(|warning| output::complain(warning));
    }
    Ok(ExitCode::SUCCESS)
}
