//! Whether endpoints that nothing checks accept connections: the least that says that they serve.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_core::address::Address;
use tidegate_core::pool_rollout::Stage;
use tokio_util::task::AbortOnDropHandle;

use crate::control::Control;
use crate::smoke;

const TIMEOUT: Duration = Duration::from_secs(1);
const EVERY_MS: u64 = 250;

/// Endpoints that are being tried, in the stage in which they are: what was found in an earlier one says
/// nothing.
#[derive(Default)]
pub(super) struct Reach(BTreeMap<(Address, Stage), Tried>);

#[derive(Default)]
struct Tried {
    task: Option<AbortOnDropHandle<bool>>,
    next_ms: u64,
    /// Unknown until the first try has ended.
    reached: Option<bool>,
}

impl Reach {
    /// Tries these and no others.
    pub(super) async fn follow(&mut self, control: &Control, asked: Vec<(Address, Stage)>, now_ms: u64) {
        self.0.retain(|key, _| asked.contains(key));
        for (address, stage) in asked {
            let place = control.locate(&address);
            let tried = self.0.entry((address, stage)).or_default();
            if let Some(task) = tried.task.take_if(|task| task.is_finished()) {
                tried.reached = Some(task.await.unwrap_or(false));
                tried.next_ms = now_ms + EVERY_MS;
            }
            if tried.task.is_none() && now_ms >= tried.next_ms {
                let accepts = async move { smoke::accepts(&place, TIMEOUT).await.is_ok() };
                tried.task = Some(AbortOnDropHandle::new(tokio::spawn(accepts)));
            }
        }
    }

    /// Whether it accepted the last connection.
    pub(super) fn is_reached(&self, address: &Address) -> bool {
        self.0.iter().any(|((at, _), tried)| at == address && tried.reached == Some(true))
    }

    /// Those that are known not to have accepted the last one.
    pub(super) fn unreachable(&self) -> Vec<Address> {
        let refused = self.0.iter().filter(|(_, tried)| tried.reached == Some(false));
        refused.map(|((address, _), _)| address.clone()).collect()
    }
}
