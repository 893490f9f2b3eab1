//! The JSON schema of the configuration file: what editors complete from, and what
//! [`super::read`] checks against.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use super::Config;

static SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>();
    sorted(schema.to_value())
});

/// The schema (draft 2020-12), with descriptions and defaults, its keys in alphabetical order.
pub fn schema() -> Json {
    SCHEMA.clone()
}

/// The schema that all checks share.
pub(super) fn shared() -> &'static Json {
    &SCHEMA
}

/// Sorted keys keep the committed file the same from build to build.
fn sorted(value: Json) -> Json {
    match value {
        Json::Object(map) => {
            let mut entries: Vec<(String, Json)> = map.into_iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Json::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Json::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}
