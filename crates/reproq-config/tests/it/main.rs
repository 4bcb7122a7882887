//! The crate as the binary uses it: whole configurations, real files, one call.

mod explaining;
mod files;
mod layering;
mod refusals;
mod site;
