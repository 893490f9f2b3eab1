//! The files in `config/` at the top: they are read, they are complete, the schema is current.
#![expect(clippy::disallowed_methods, reason = "the core reads no files; its tests read the examples")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::Value as Json;
use tidegate_core::config::{Config, read, schema};
use tidegate_core::validate::Valid;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

fn text(file: &str) -> String {
    fs::read_to_string(folder().join(file)).expect(file)
}

fn load(file: &str) -> Valid<Config> {
    match read::read(&text(file), &|_| None) {
        Ok(config) => config,
        Err(problems) => panic!("{file}: {problems:#?}"),
    }
}

#[test]
fn every_example_is_valid() {
    let mut count = 0;
    for entry in fs::read_dir(folder()).expect("config/") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            load(path.file_name().and_then(|name| name.to_str()).expect("a plain name"));
            count += 1;
        }
    }
    assert_eq!(count, 8);
}

#[test]
fn the_full_file_holds_the_defaults() {
    let full = load("full.toml");
    let default = Config::default();
    assert_eq!((&full.server, &full.log, &full.admin), (&default.server, &default.log, &default.admin));
    let bare = |section: &str| {
        let listener = "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:8080\"\n";
        read::read(&format!("{listener}{section}"), &|_| None).expect("good").into_inner()
    };
    assert_eq!(full.listeners, bare("").listeners);
    let pools = bare(
        "[pools.stable]\nendpoints = [\"127.0.0.1:9001\", { address = \"127.0.0.1:9003\" }]\n\
         health = { path = \"/healthz\" }\neject = {}\n\
         [pools.stable.rollout]\nstrategy = \"rolling\"\n\
         hooks = [{ on = \"replace\", url = \"http://127.0.0.1:9100/replace\" }]\n[pools.canary]\n[splits.checkout]\n\
         weights = { stable = 95, canary = 5 }\n\
         [splits.checkout.rollout]\nbaseline = \"stable\"\ncandidate = \"canary\"\n\
         steps = [{ percent = 5, hold = \"10m\" }, { percent = 100 }]\n\
         hooks = [{ on = \"start\", url = \"http://127.0.0.1:9100/approve\" }]\n\
         checks = [{ path = \"/checkout/selftest\" }]\n[[routes]]\nname = \"checkout\"\nsplit = \"checkout\"\n",
    );
    assert_eq!((&full.pools, &full.splits, &full.routes), (&pools.pools, &pools.splits, &pools.routes));
}

#[test]
fn the_full_file_names_every_key() {
    let mut keys = BTreeSet::new();
    collect_keys(&schema::schema(), &mut keys);
    let full = text("full.toml");
    let words: BTreeSet<&str> = full
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .collect();
    let absent: Vec<&String> = keys.iter().filter(|key| !words.contains(key.as_str())).collect();
    assert!(absent.is_empty(), "config/full.toml does not mention {absent:?}");
}

fn collect_keys(schema: &Json, keys: &mut BTreeSet<String>) {
    if let Some(properties) = schema.get("properties").and_then(Json::as_object) {
        keys.extend(properties.keys().cloned());
    }
    let children: Vec<&Json> = match schema {
        Json::Object(map) => map.values().collect(),
        Json::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    };
    for child in children {
        collect_keys(child, keys);
    }
}

/// Run with `TIDEGATE_BLESS=1` to write the file anew.
#[test]
fn the_schema_is_current() {
    let current = serde_json::to_string_pretty(&schema::schema()).expect("json") + "\n";
    if env::var_os("TIDEGATE_BLESS").is_some_and(|value| value == "1") {
        fs::write(folder().join("schema.json"), &current).expect("written");
    }
    let committed = text("schema.json");
    assert!(committed == current, "config/schema.json is not current: run the test with TIDEGATE_BLESS=1");
}
