//! What the figures were measured on.

use std::fs;

use serde::{Deserialize, Serialize};

/// Facts of the machine, as the system tells them.
#[derive(Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) system: String,
    /// Whether it is a guest of a hypervisor, whose other guests may take time from it.
    pub(crate) is_virtual: bool,
    /// Of the last minute, when the run began: what else was going on.
    pub(crate) load_before: f64,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let memory = value(&read("/proc/meminfo"), "MemTotal", ':');
        let kibibytes: f64 =
            memory.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let load = read("/proc/loadavg");
        Self {
            processor: value(&processors, "model name", ':'),
            cores: processors.lines().filter(|line| line.starts_with("processor")).count(),
            memory_gib: kibibytes / 1024.0 / 1024.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: value(&read("/etc/os-release"), "PRETTY_NAME", '=').trim_matches('"').to_owned(),
            is_virtual: value(&processors, "flags", ':').split_whitespace().any(|flag| flag == "hypervisor"),
            load_before: load.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
        }
    }
}

/// What stands behind a name and a mark on the first line that has that name.
fn value(text: &str, name: &str, mark: char) -> String {
    let mut lines = text.lines().filter_map(|line| line.split_once(mark));
    let found = lines.find(|(key, _)| key.trim() == name);
    found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_names() {
        let text = "processor\t: 0\nmodel name\t: A Processor @ 3 GHz\nmodel name\t: another\n";
        assert_eq!(value(text, "model name", ':'), "A Processor @ 3 GHz");
        assert_eq!(value(text, "nothing", ':'), "");
    }
}
