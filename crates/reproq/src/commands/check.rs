//! `reproq check`: would a worker with this configuration find its database?

use std::process::ExitCode;

use reproq_config::Resolved;
use serde_json::json;

use super::periodic;
use crate::exit::Failure;
use crate::{output, wiring};

/// Fails with the code of the first thing that is wrong.
pub fn run(config: &Resolved, as_json: bool) -> Result<ExitCode, Failure> {
    let (enabled, warning) = wiring::operate(config, async |operator| periodic::look(operator).await)?;
    let warnings: Vec<&String> = config.warnings().iter().chain(&warning).collect();
    let schema = reproq_store::schema::version();
    if as_json {
        output::print(
            &json!({"ok": true, "schema": schema, "schedules": enabled, "warnings": warnings}).to_string(),
        );
    } else {
        output::print(&format!(
            "configuration ok\ndatabase ok\nschema {schema} ok\n{enabled} schedules enabled"
        ));
        for warning in warnings {
            output::complain(warning);
        }
    }
    Ok(ExitCode::SUCCESS)
}
