//! Where the worker's tasks run, which two options say together.

use reproq_model::{Isolation, IsolationPlan};

use crate::error::{BadValue, ConfigError};
use crate::layers::Layers;

const MODE: &str = "worker.executor_mode";
const BY_QUEUE: &str = "worker.queue_modes";

impl Layers {
    /// The worker's isolation, and that of single queues.
    pub(crate) fn isolation(&self) -> Result<IsolationPlan, ConfigError> {
        let word: String = self.get(MODE)?;
        let otherwise: Isolation = word.parse().or(Err(ConfigError::Table(MODE)))?;
        let by_queue: Vec<String> = self.get_unless_unset(BY_QUEUE)?.unwrap_or_default();
        IsolationPlan::parse(otherwise, by_queue).or_else(|error| {
            let setting = self.find(BY_QUEUE)?;
            let shown =
                setting.value.as_ref().map(|value| value.shown(setting.spec.secret)).unwrap_or_default();
            Err(ConfigError::Value(Box::new(BadValue {
                name: BY_QUEUE,
                origin: setting.origin.clone(),
                shown: format!("`{shown}`"),
                problem: error.to_string(),
                hint: error.hint().to_owned(),
            })))
        })
    }
}
