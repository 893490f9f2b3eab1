//! `tidegate rollout start`: a plan of a file of its own, or the configuration file's.

use std::path::PathBuf;

use serde_json::{Map, Value};
use tidegate_core::units::Span;

use crate::cli::connection::{Connection, Intent};
use crate::cli::failure::Failure;
use crate::cli::model as answers;
use crate::cli::screen::Format;

use super::model::Rollout;
use super::plan::PlanFile;
use super::watch::{self, View};
use super::{Subject, told};

/// Start a rollout; without --plan, the one that the configuration file plans.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// A file with the plan: TOML with the keys of [splits.X.rollout], or JSON if it ends in .json.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Follow it until it ends, as `rollout watch`.
    #[arg(long, short, conflicts_with = "dry_run")]
    watch: bool,
    /// With --watch: how often.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = watch::interval)]
    interval: Span,
    #[command(flatten)]
    intent: Intent,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { subject, plan, watch, interval, intent, connection } = arguments;
    let plan = plan.as_deref().map(|path| PlanFile::read(path, subject.is_pool())).transpose()?;
    let (client, mut screen) = connection.open()?;
    let mut body = plan.as_ref().and_then(|plan| plan.body.as_object().cloned()).unwrap_or_default();
    add_reason(&mut body, intent);
    let posted = client.post(&intent.path(&subject.path()), &Value::Object(body)).await;
    let answer = posted.map_err(Failure::Call).map_err(|failure| match &plan {
        Some(plan) => plan.explain(failure),
        None => failure,
    })?;
    let rollout: Rollout = answers::read(&answer.body)?;
    told::warn_unless_durable(&rollout);
    if !watch {
        return screen.show(&answer.body, || told::render(&rollout, intent.dry_run, screen.paint));
    }
    if !connection.wants_json() {
        screen.format = Format::Text;
    }
    let view = View::new(client, screen, subject, *interval);
    view.follow(Some(rollout)).await
}

fn add_reason(body: &mut Map<String, Value>, intent: &Intent) {
    if let Some(reason) = &intent.reason {
        body.insert("reason".into(), reason.clone().into());
    }
}
