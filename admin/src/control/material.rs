//! The certificates in use, and how others take their place.
//!
//! They are read with every reload, and whenever one of their files changes. What is not sound is told like
//! any other problem of the configuration, and what was in use stays in use.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_core::change::Rejected;
use tidegate_core::config::Config;
use tidegate_core::pool::Pool;
use tidegate_core::validate::Problem;

use super::{Control, blocking};
use crate::ask::Speech;
use crate::tls::{Expired, Material};

impl Control {
    /// The certificates in use.
    pub fn material(&self) -> Arc<Material> {
        self.material.load_full()
    }

    /// How a pool's endpoints are spoken to, outside of its users' requests.
    pub fn speech(&self, pool: &Pool) -> Speech {
        let trust = pool.tls.as_ref().and_then(|_| self.material.load().pool(&pool.name).cloned());
        Speech { trust, protocol: pool.protocol }
    }

    /// The files whose changes concern Tidegate: the configuration, and what it names for TLS.
    pub(crate) fn watched_files(&self) -> BTreeSet<PathBuf> {
        let material = self.material.load();
        self.source.path.iter().chain(material.files()).cloned().collect()
    }

    /// Reads the certificates of the configuration in force again, and uses them if they say something else.
    ///
    /// For the watcher: files that say what they said before are not told again, good or bad.
    pub(crate) async fn reread_material(self: &Arc<Self>) {
        let control = Arc::clone(self);
        blocking(move || {
            let _one_at_a_time = control.last_reading.lock();
            if control.material.load().files().next().is_none() {
                return;
            }
            let config = control.live.view().config;
            match control.read_material(&config) {
                Ok(material) => {
                    if control.use_material(material) {
                        control.note_reload(Ok(true), "file".into());
                    }
                }
                Err(problems) => {
                    let rejected = Rejected::Invalid(problems);
                    control.note_reload(Err(&rejected), "file".into());
                }
            }
        })
        .await;
    }

    /// Reads what `config` names for TLS. An expired certificate does not replace one in use.
    pub(super) fn read_material(&self, config: &Config) -> Result<Material, Vec<Problem>> {
        Material::read(config, &|file| self.source.resolve(file), Expired::Refuse, self.now_s())
    }

    /// Uses these certificates from the next connection on; whether they are others.
    pub(super) fn use_material(&self, material: Material) -> bool {
        let is_other = !self.material.load().says_what(&material);
        if is_other {
            self.material.store(Arc::new(material));
            tracing::info!("other certificates are in use from now on");
        }
        is_other
    }

    fn now_s(&self) -> i64 {
        i64::try_from(self.clock.now().wall_ms / 1_000).unwrap_or(i64::MAX)
    }
}
