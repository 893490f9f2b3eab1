//! Every call of the admin API, in one table.
//!
//! | path | methods | file |
//! |---|---|---|
//! | `/livez`, `/readyz` | GET | `status.rs` |
//! | `/metrics` | GET | `metrics.rs` |
//! | `/v1/status` | GET | `status.rs` |
//! | `/v1/config`, `…/validate`, `…/reload` | GET, POST, POST | `config.rs` |
//! | `/v1/routes` | GET | `routes.rs` |
//! | `/v1/splits`, `/v1/splits/{split}` | GET | `splits.rs` |
//! | `/v1/splits/{split}/weights` | PUT | `splits.rs` |
//! | `/v1/splits/{split}/cutover`, `…/revert` | POST | `splits.rs` |
//! | `/v1/splits/{split}/rollout` | GET, POST | `rollouts.rs` |
//! | `/v1/splits/{split}/rollout/{pause, resume, promote, abort}` | POST | `rollouts.rs` |
//! | `/v1/pools`, `/v1/pools/{pool}` | GET | `pools.rs` |
//! | `/v1/pools/{pool}/endpoints` | PUT | `pools.rs` |
//! | `/v1/pools/{pool}/drain`, `…/undrain`, and under `…/endpoints/{address}` | POST | `pools.rs` |
//! | `/v1/pools/{pool}/rollout` | GET, POST | `pool_rollouts.rs` |
//! | `/v1/pools/{pool}/rollout/{pause, resume, abort}` | POST | `pool_rollouts.rs` |
//! | `/v1/explain` | POST | `explain.rs` |
//! | `/v1/history`, `/v1/history/{generation}/restore` | GET, POST | `history.rs` |
//! | `/v1/events` | GET | `events/stream.rs` |
//! | `/v1/openapi.json` | GET | `openapi.rs` |

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use http::Uri;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::access::{Hosts, Refusals, guard};
use crate::control::Control;
use crate::error::Failure;
use crate::{
    config, events, explain, history, metrics, openapi, pool_rollouts, pools, rollouts, routes, splits,
    status,
};

/// Readers of events at once; each holds a connection for as long as it likes.
const MOST_STREAMS: usize = 100;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) control: Arc<Control>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) streams: Arc<Semaphore>,
    /// Streams end when this is cancelled.
    pub(crate) stopping: CancellationToken,
}

impl App {
    pub(crate) fn new(control: Arc<Control>, is_socket: bool, stopping: CancellationToken) -> Self {
        let allowed = control.live().view().config.admin.allowed_hosts.clone();
        let hosts = Arc::new(Hosts::new(&allowed, is_socket));
        Self {
            control,
            hosts,
            refusals: Arc::default(),
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
            stopping,
        }
    }
}

/// The table.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/livez", get(status::livez))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/status", get(status::status))
        .route("/v1/config", get(config::get))
        .route("/v1/config/validate", post(config::validate))
        .route("/v1/config/reload", post(config::reload))
        .route("/v1/routes", get(routes::list))
        .route("/v1/splits", get(splits::list))
        .route("/v1/splits/{split}", get(splits::get))
        .route("/v1/splits/{split}/weights", put(splits::set_weights))
        .route("/v1/splits/{split}/cutover", post(splits::cutover))
        .route("/v1/splits/{split}/revert", post(splits::revert))
        .route("/v1/splits/{split}/rollout", get(rollouts::get).post(rollouts::start))
        .route("/v1/splits/{split}/rollout/pause", post(rollouts::pause))
        .route("/v1/splits/{split}/rollout/resume", post(rollouts::resume))
        .route("/v1/splits/{split}/rollout/promote", post(rollouts::promote))
        .route("/v1/splits/{split}/rollout/abort", post(rollouts::abort))
        .route("/v1/pools", get(pools::list))
        .route("/v1/pools/{pool}", get(pools::get))
        .route("/v1/pools/{pool}/endpoints", put(pools::set_endpoints))
        .route("/v1/pools/{pool}/drain", post(pools::drain))
        .route("/v1/pools/{pool}/undrain", post(pools::undrain))
        .route("/v1/pools/{pool}/endpoints/{address}/drain", post(pools::drain_endpoint))
        .route("/v1/pools/{pool}/endpoints/{address}/undrain", post(pools::undrain_endpoint))
        .route("/v1/pools/{pool}/rollout", get(pool_rollouts::get).post(pool_rollouts::start))
        .route("/v1/pools/{pool}/rollout/pause", post(pool_rollouts::pause))
        .route("/v1/pools/{pool}/rollout/resume", post(pool_rollouts::resume))
        .route("/v1/pools/{pool}/rollout/abort", post(pool_rollouts::abort))
        .route("/v1/explain", post(explain::explain))
        .route("/v1/history", get(history::list))
        .route("/v1/history/{generation}/restore", post(history::restore))
        .route("/v1/events", get(events::stream::events))
        .route("/v1/openapi.json", get(openapi::openapi))
        .fallback(async |uri: Uri| Failure::no_such_path(uri.path()))
        .method_not_allowed_fallback(async || Failure::method_not_allowed())
        .layer(from_fn_with_state(app.clone(), guard))
        .with_state(app)
}
