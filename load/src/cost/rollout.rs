//! A rollout that stays at its one step while requests are measured, its guard watching each.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{Instant, sleep};

use super::admin::{Admin, number};
use crate::work::PATIENCE;

/// The shares are those that the split has without it. Every test is on, and none that equal pools could cross.
const PLAN: &str = r#"{"baseline":"stable","candidate":"canary","steps":[{"percent":10,"hold":"1h"}],
    "max_step_time":"2h","guard":{"max_failure_rate":0.5,"latency":{"quantile":0.99,"max":"9s","ratio":100}}}"#;

/// Counts of the last requests are in what the API tells after the guard's next look.
const LOOK: Duration = Duration::from_millis(300);

/// Starts it and waits until the candidate has its share.
pub(super) async fn start(address: SocketAddr) -> Result<()> {
    let mut admin = Admin::connect(address).await?;
    admin.call("POST", "/v1/splits/shop/rollout", PLAN).await?;
    let end = Instant::now() + PATIENCE;
    loop {
        let rollout = admin.get("/v1/splits/shop/rollout").await?;
        let share = rollout["share"].as_f64().context("no share")?;
        if rollout["state"] == "running" && (share - 0.1).abs() < 1e-6 {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("the rollout did not come to its step: {rollout}");
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// How many requests its guard has seen; an error when it does not run any more.
pub(super) async fn seen(address: SocketAddr) -> Result<u64> {
    sleep(LOOK).await;
    let rollout = Admin::connect(address).await?.get("/v1/splits/shop/rollout").await?;
    ensure!(rollout["state"] == "running", "the rollout should still run: {rollout}");
    Ok(number(&rollout, "/evidence/candidate/requests")? + number(&rollout, "/evidence/baseline/requests")?)
}
