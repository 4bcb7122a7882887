//! The plan of the worker's queues, which two options make together.

use reproq_model::{QueueOrder, QueuePlan, QueuePlanError};

use crate::error::{BadValue, ConfigError};
use crate::layers::Layers;

const QUEUES: &str = "worker.queues";
const ORDER: &str = "worker.queue_order";

impl Layers {
    /// The worker's queues and their order.
    pub(crate) fn queues(&self) -> Result<QueuePlan, ConfigError> {
        let orders = [QueueOrder::Merged, QueueOrder::Strict, QueueOrder::Weighted];
        let order = match self.get_unless_unset::<String>(ORDER)? {
            Some(word) => {
                let known = orders.into_iter().find(|order| order.to_string() == word);
                Some(known.ok_or(ConfigError::Table(ORDER))?)
            }
            None => None,
        };
        let listed: Vec<String> = self.get(QUEUES)?;
        QueuePlan::parse(listed, order).or_else(|error| Err(self.refused_queues(&error)?))
    }

    fn refused_queues(&self, error: &QueuePlanError) -> Result<ConfigError, ConfigError> {
        let setting = self.find(QUEUES)?;
        if let QueuePlanError::WeightUnused { .. } = error {
            return Ok(ConfigError::Conflict {
                first: setting.described(),
                second: self.find(ORDER)?.described(),
                why: "only the weighted order uses weights",
                hint: format!("remove the weights, or set {ORDER} to {}", QueueOrder::Weighted),
            });
        }
        let shown = setting.value.as_ref().map(|value| value.shown(setting.spec.secret)).unwrap_or_default();
        Ok(ConfigError::Value(Box::new(BadValue {
            name: QUEUES,
            origin: setting.origin.clone(),
            shown: format!("`{shown}`"),
            problem: error.to_string(),
            hint: error.hint().to_owned(),
        })))
    }
}
