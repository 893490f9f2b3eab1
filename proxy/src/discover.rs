//! Names that stand for a pool's endpoints: one task a pool resolves its name again and again.
//!
//! The tasks follow the table as those of [`crate::probe`] do. A lookup runs in a thread that may block,
//! on the background runtime: a slow or dead resolver costs requests nothing. A pool has one lookup under
//! way at most, however long it takes, and while there is no answer the last good one holds. Answers go
//! through [`Control::found`]; which endpoints they make, and what becomes of those that are gone, is for
//! the table to say.
//!
//! The system's resolver is asked, with its hosts file, search list and servers. It tells no time to
//! live: `dns_refresh` alone says how often.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tidegate_admin::Control;
use tidegate_core::address::Address;
use tidegate_core::cell::{LastCheck, PoolCell};
use tidegate_core::event::Kind;
use tidegate_core::pool::Discovery;
use tidegate_core::snapshot::Snapshot;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A lookup that takes longer counts as failing until it answers.
const LATE: Duration = Duration::from_secs(5);
/// Of one name: more are left out, the highest ones.
const MOST_ADDRESSES: usize = 1_024;

/// Held by a task until its first lookup has come to something.
type Awaited = mpsc::Sender<()>;

struct Running {
    discovery: Discovery,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins to resolve the names of every table, until the process ends. Returns when each name of the
/// first one has answered, or could not be waited for: so long as connecting to its pool may take.
pub(crate) async fn start(control: &Arc<Control>) {
    let table = control.live().snapshot();
    let named = table.pools.iter().filter(|pool| pool.discovery.is_some());
    let limit = named.map(|pool| pool.timeouts.connect).max().unwrap_or_default();
    let (awaited, mut answers) = mpsc::channel(1);
    tokio::spawn(run(Arc::clone(control), awaited));
    // Nothing is ever sent: the channel closes when the last task has let go of it.
    let _ = tokio::time::timeout(limit, answers.recv()).await;
}

async fn run(control: Arc<Control>, awaited: Awaited) {
    let mut tables = control.tables();
    let mut running: HashMap<Arc<str>, Running> = HashMap::new();
    let mut awaited = Some(awaited);
    loop {
        let snapshot = Arc::clone(&tables.borrow_and_update());
        follow(&control, &snapshot, &mut running, awaited.take().as_ref());
        if tables.changed().await.is_err() {
            return;
        }
    }
}

fn follow(
    control: &Arc<Control>,
    snapshot: &Snapshot,
    running: &mut HashMap<Arc<str>, Running>,
    awaited: Option<&Awaited>,
) {
    let mut before = std::mem::take(running);
    for pool in &snapshot.pools {
        let Some(discovery) = &pool.discovery else { continue };
        let kept = before.remove(&pool.name).filter(|known| known.discovery == *discovery);
        let run = kept.unwrap_or_else(|| {
            let name = Name {
                control: Arc::clone(control),
                pool: Arc::clone(&pool.name),
                cell: Arc::clone(&pool.cell),
                discovery: discovery.clone(),
                is_failing: false,
            };
            let task = tokio::spawn(name.resolve_forever(awaited.cloned()));
            Running { discovery: discovery.clone(), task }
        });
        running.insert(Arc::clone(&pool.name), run);
    }
}

/// The name of a pool's endpoints.
struct Name {
    control: Arc<Control>,
    pool: Arc<str>,
    cell: Arc<PoolCell>,
    discovery: Discovery,
    is_failing: bool,
}

impl Name {
    async fn resolve_forever(mut self, mut awaited: Option<Awaited>) {
        loop {
            match self.resolve().await {
                Ok(addresses) => self.stands_for(addresses).await,
                Err(why) => self.fails(&why),
            }
            awaited.take();
            tokio::time::sleep(self.discovery.refresh).await;
        }
    }

    /// A lookup that is late is told as failing, and waited for all the same: another one would only
    /// wait beside it.
    async fn resolve(&mut self) -> Result<Vec<Address>, String> {
        let name = Arc::clone(&self.discovery.name);
        let mut lookup = pin!(lookup(&name));
        if let Ok(answer) = tokio::time::timeout(LATE, &mut lookup).await {
            return answer;
        }
        self.fails(&format!("no answer within {}s", LATE.as_secs()));
        lookup.await
    }

    async fn stands_for(&mut self, mut addresses: Vec<Address>) {
        let (pool, name, count) = (&self.pool, &self.discovery.name, addresses.len());
        addresses.truncate(MOST_ADDRESSES);
        let is_news = self.control.found(Arc::clone(pool), Arc::clone(name), addresses).await;
        if is_news && count > MOST_ADDRESSES {
            tracing::warn!(pool = &**pool, dns = &**name, count, used = MOST_ADDRESSES, "too many addresses");
        }
        self.note(true, format!("{count} address(es)"));
        if std::mem::take(&mut self.is_failing) {
            let message = format!("{} of pool {} resolves again", self.discovery.name, self.pool);
            tracing::info!(pool = &*self.pool, dns = &*self.discovery.name, "{message}");
            self.tell("resolved", "", message);
        }
    }

    /// Told when it begins, not each time.
    fn fails(&mut self, why: &str) {
        self.note(false, why.to_owned());
        if !std::mem::replace(&mut self.is_failing, true) {
            let (name, pool) = (&self.discovery.name, &self.pool);
            let message = format!("{name} of pool {pool} does not resolve: {why}; its endpoints stay");
            tracing::warn!(pool = &**pool, dns = &**name, "{message}");
            self.tell("unresolved", why, message);
        }
    }

    fn note(&self, ok: bool, detail: String) {
        let at_ms = self.control.clock().now().wall_ms;
        *self.cell.lookup.lock() = Some(LastCheck { at_ms, ok, detail });
    }

    fn tell(&self, state: &str, why: &str, message: String) {
        let detail = [
            ("pool", (*self.pool).into()),
            ("dns", (*self.discovery.name).into()),
            ("state", state.into()),
            ("detail", why.into()),
        ];
        self.control.tell(Kind::Health, "dns", message, detail);
    }
}

/// What a name stands for now, each address once and in one order, so that the order of the answer
/// changes nothing.
async fn lookup(name: &str) -> Result<Vec<Address>, String> {
    let answer = tokio::net::lookup_host(name).await.map_err(|error| error.to_string())?;
    let mut addresses: Vec<Address> = answer.map(Address::from).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { Err("no address".into()) } else { Ok(addresses) }
}
