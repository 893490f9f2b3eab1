//! `GET /metrics`: Prometheus text, made at the time of the scrape from the table in force.
//!
//! Nothing is registered and nothing is copied: what a family shows is read from the cells that the
//! snapshot points to, so that the series of what was removed are gone with it. Labels are configured
//! names and addresses only, never a path, a user or a client.

mod family;
mod rollout;
mod traffic;
mod upstream;

use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use http::header::{CONTENT_TYPE, HeaderName};
use prometheus::proto::MetricFamily;
use prometheus::{TEXT_FORMAT, TextEncoder};
use tidegate_core::edge::Refusal;

use crate::control::Control;
use crate::error::Failure;
use crate::router::App;
use family::{Family, number};

/// Prometheus metrics
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(
    State(app): State<App>,
) -> Result<([(HeaderName, &'static str); 1], String), Failure> {
    let text = render(&app.control).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text))
}

/// All metrics as text.
fn render(control: &Control) -> Result<String, prometheus::Error> {
    let snapshot = control.live().snapshot();
    let mut families = traffic::families(&snapshot);
    families.extend(upstream::families(&snapshot, control.clock().mono_ms()));
    families.extend(rollout::families(control, &snapshot));
    families.extend(of_process(control, snapshot.generation));
    let mut families: Vec<MetricFamily> = families.into_iter().filter_map(Family::build).collect();
    families.extend(of_system());
    TextEncoder::new().encode_to_string(&families)
}

fn of_process(control: &Control, generation: u64) -> Vec<Family> {
    let (process, reloads) = (control.process(), control.reloads());
    let mut connections = Family::gauge("tidegate_client_connections", "Client connections that are open.");
    let mut rejected =
        Family::counter("tidegate_rejected_total", "Connections and requests turned away before routing.");
    for listener in process.listeners() {
        connections.add(&[("listener", &listener.name)], number(listener.connections()));
        for reason in Refusal::ALL {
            let labels = [("listener", &*listener.name), ("reason", reason.as_str())];
            rejected.add(&labels, number(listener.refused(reason)));
        }
    }
    let mut outcomes =
        Family::counter("tidegate_config_reloads_total", "Readings of the file since the start.");
    for (outcome, count) in [("ok", reloads.ok), ("unchanged", reloads.unchanged), ("failed", reloads.failed)]
    {
        outcomes.add(&[("outcome", outcome)], number(count));
    }
    let mut build = Family::gauge("tidegate_build_info", "Always 1; the labels tell the build.");
    build.add(&[("version", process.version()), ("commit", process.commit())], 1.0);
    let last_ok = if reloads.problems.is_empty() { 1.0 } else { 0.0 };
    let dropped = number(process.dropped_log_lines.load(Relaxed));
    vec![
        connections,
        rejected,
        outcomes,
        build,
        Family::gauge("tidegate_config_generation", "The generation in force.").with(number(generation)),
        Family::gauge("tidegate_config_last_reload_success", "Whether the last reading was good.")
            .with(last_ok),
        Family::counter("tidegate_log_lines_dropped_total", "Log lines that nobody took.").with(dropped),
        Family::counter("tidegate_state_write_failures_total", "Changes that could not be written down.")
            .with(number(control.store_failures())),
    ]
}

/// What the system knows of the process.
#[cfg(target_os = "linux")]
fn of_system() -> Vec<MetricFamily> {
    use prometheus::core::Collector as _;
    prometheus::process_collector::ProcessCollector::for_self().collect()
}

#[cfg(not(target_os = "linux"))]
fn of_system() -> Vec<MetricFamily> {
    Vec::new()
}
