//! Certificates, keys and authorities: read from the files that a configuration names, found sound, and
//! in use until sound ones take their place.
//!
//! A configuration is good only together with its files: what is wrong with one of them is a problem of
//! the configuration, told with its path, and changes nothing. Reading is all or nothing, so that a
//! certificate and a key that are replaced one after the other are never half in use. The data plane takes
//! what is in use for each connection that it accepts or makes; connections that are open keep what they
//! began with.

mod files;
mod listener;
mod names;
mod pool;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_core::config::Config;
use tidegate_core::validate::Problem;
use tokio_rustls::rustls::ServerConfig;

pub use pool::{PoolTrust, system_has_authorities};

use files::Files;

/// What to do about a certificate whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// It is a problem: what is in use is better.
    Refuse,
    /// It is used, with a warning: there is nothing better, and plain listeners must not go down with it.
    Warn,
}

/// Everything that TLS needs and that is not in the configuration itself.
#[derive(Debug, Default)]
pub struct Material {
    listeners: BTreeMap<String, Arc<ServerConfig>>,
    pools: BTreeMap<String, Arc<PoolTrust>>,
    /// The files, and a hash of what they said.
    files: BTreeMap<PathBuf, u64>,
}

impl Material {
    /// Reads every file that `config` names for TLS, or tells every problem with them.
    ///
    /// `resolve` makes a path of what is written; `now_s` is the time, in seconds since the Unix epoch.
    pub fn read(
        config: &Config,
        resolve: &dyn Fn(&str) -> PathBuf,
        expired: Expired,
        now_s: i64,
    ) -> Result<Self, Vec<Problem>> {
        let mut files = Files::new(resolve, expired, now_s);
        let mut material = Self::default();
        for (index, listener) in config.listeners.iter().enumerate() {
            let Some(tls) = &listener.tls else { continue };
            let at = format!("listeners[{index}].tls");
            if let Some(server) = listener::compile(listener, tls, &at, &mut files) {
                material.listeners.insert(listener.name.clone(), Arc::new(server));
            }
        }
        for (name, pool) in &config.pools {
            let Some(tls) = &pool.tls else { continue };
            let at = format!("pools.{name}.tls");
            if let Some(trust) = pool::compile(tls, pool.protocol, &at, &mut files) {
                material.pools.insert(name.clone(), Arc::new(trust));
            }
        }
        let (read, problems) = files.into_parts();
        material.files = read;
        if problems.is_empty() { Ok(material) } else { Err(problems) }
    }

    /// How a listener terminates TLS.
    pub fn listener(&self, name: &str) -> Option<&Arc<ServerConfig>> {
        self.listeners.get(name)
    }

    /// Whom a pool's endpoints are to be.
    pub fn pool(&self, name: &str) -> Option<&Arc<PoolTrust>> {
        self.pools.get(name)
    }

    /// The files that were read.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.keys()
    }

    /// Whether the files said the same.
    pub(crate) fn says_what(&self, other: &Self) -> bool {
        self.files == other.files
    }
}
