//! The log: lines of text for people, JSON lines for machines. It goes to standard error.

use reproq_config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::output;

/// Starts logging. Called once.
pub fn start(config: &LogConfig) {
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let text = match config.format {
        LogFormat::Auto => output::talks_to_a_person(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if text {
        builder.with_timer(SystemTime).with_ansi(output::talks_to_a_person()).init();
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    }
}
