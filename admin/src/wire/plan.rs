//! Plans of rollouts in the API's document: the configuration's own schema, since a plan is the same
//! in the file and in a call. Written a second time it would one day say something else.
//!
//! The types here hold nothing: they are names for the document. Plans are read by
//! [`tidegate_core::config::plan`].

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tidegate_core::config::schema::schema;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A split's plan.
#[derive(Debug)]
pub enum RolloutPlan {}

/// What starts a split's rollout: a plan, and a reason.
#[derive(Debug)]
pub enum StartRollout {}

/// A pool's plan.
#[derive(Debug)]
pub enum PoolRolloutPlan {}

/// What starts a pool's rollout: a plan, and a reason.
#[derive(Debug)]
pub enum StartPoolRollout {}

macro_rules! documented {
    ($name:ident, $definition:literal, $change:expr) => {
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let change: fn(&mut Map<String, Value>) = $change;
                document(&schema(), $definition, change)
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                let all = schema();
                for definition in within(&all, $definition) {
                    schemas.push((shown(&definition), document(&all, &definition, |_| ())));
                }
            }
        }
    };
}

documented!(RolloutPlan, "Rollout", |_| ());
documented!(StartRollout, "Rollout", start);
documented!(PoolRolloutPlan, "PoolRollout", |_| ());
documented!(StartPoolRollout, "PoolRollout", start);

/// A body may have a reason, and may have nothing else: then the file's plan is meant.
fn start(plan: &mut Map<String, Value>) {
    plan.remove("required");
    let reason = json!({ "type": ["string", "null"], "description": "Why." });
    if let Some(properties) = plan.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("reason".into(), reason);
    }
    let about = "A plan, as in the file; without one, or with nothing but a reason, the file's.";
    plan.insert("description".into(), about.into());
}

/// How a definition of the file's schema is called among the API's, which has others of the same name.
fn shown(definition: &str) -> String {
    match definition {
        "Rollout" | "PoolRollout" => format!("{definition}Plan"),
        _ => format!("Plan{definition}"),
    }
}

fn definition<'a>(all: &'a Value, name: &str) -> &'a Value {
    all.get("$defs").and_then(|defs| defs.get(name)).unwrap_or(&Value::Null)
}

/// The definitions that one refers to, directly or not.
fn within(all: &Value, name: &str) -> BTreeSet<String> {
    let (mut found, mut left) = (BTreeSet::new(), vec![definition(all, name)]);
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(referred) = fields.get("$ref").and_then(Value::as_str).and_then(last)
                    && found.insert(referred.to_owned())
                {
                    left.push(definition(all, referred));
                }
                left.extend(fields.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    found
}

fn last(reference: &str) -> Option<&str> {
    reference.rsplit('/').next()
}

fn document(all: &Value, name: &str, change: impl FnOnce(&mut Map<String, Value>)) -> RefOr<Schema> {
    let mut translated = translated(definition(all, name));
    if let Some(fields) = translated.as_object_mut() {
        change(fields);
    }
    serde_json::from_value(translated).expect("our own schema, in the words of the document")
}

/// A schema in the words that the document has: no `const`, and nothing beside a reference.
fn translated(schema: &Value) -> Value {
    let fields = match schema {
        Value::Object(fields) => fields,
        Value::Array(items) => return items.iter().map(translated).collect(),
        other => return other.clone(),
    };
    if let Some(choices) = choices(fields) {
        return choices;
    }
    let mut out = Map::new();
    for (key, value) in fields {
        match key.as_str() {
            "$ref" => {
                let name = value.as_str().and_then(last).map(shown).unwrap_or_default();
                out.insert(key.clone(), format!("#/components/schemas/{name}").into());
            }
            "const" => drop(out.insert("enum".into(), json!([value]))),
            "default" => drop(out.insert(key.clone(), value.clone())),
            _ => drop(out.insert(key.clone(), translated(value))),
        }
    }
    if out.contains_key("default")
        && let Some(reference) = out.remove("$ref")
    {
        out.insert("allOf".into(), json!([{ "$ref": reference }]));
    }
    Value::Object(out)
}

/// Texts with a description each, as one text with a choice.
fn choices(fields: &Map<String, Value>) -> Option<Value> {
    let branches = fields.get("oneOf")?.as_array()?;
    let names: Vec<&str> = branches.iter().map(|b| b.get("const")?.as_str()).collect::<Option<_>>()?;
    let told = |(name, branch): (&&str, &Value)| {
        branch.get("description").and_then(Value::as_str).map(|text| format!("\n- `{name}`: {text}"))
    };
    let told: String = names.iter().zip(branches).filter_map(told).collect();
    let about = fields.get("description").and_then(Value::as_str).unwrap_or_default();
    let about = if told.is_empty() { about.to_owned() } else { format!("{about}\n{told}") };
    Some(json!({ "type": "string", "description": about, "enum": names }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All schemas that a type brings, itself included, as the document shows them.
    fn of<T: ToSchema>() -> Map<String, Value> {
        let mut all = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut all);
        let json = |schema| serde_json::to_value(schema).expect("JSON");
        all.into_iter().map(|(name, schema)| (name, json(schema))).collect()
    }

    #[test]
    fn the_document_says_what_the_files_schema_says() {
        let all = schema();
        for (name, shown) in of::<RolloutPlan>().into_iter().chain(of::<PoolRolloutPlan>()) {
            let plain = name.strip_suffix("Plan").or(name.strip_prefix("Plan")).unwrap_or(&name);
            assert_eq!(shown, translated(definition(&all, plain)), "{name}");
        }
    }

    #[test]
    fn everything_that_is_referred_to_is_there() {
        let plans = of::<RolloutPlan>();
        let names: Vec<&str> = plans.keys().map(String::as_str).collect();
        for name in ["RolloutPlan", "PlanStep", "PlanGuard", "PlanLatencyGuard", "PlanHook", "PlanCheck"] {
            assert!(names.contains(&name), "{name} of {names:?}");
        }
        let text = Value::Object(plans.clone()).to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap_or_default();
            assert!(plans.contains_key(name), "{name}");
        }
    }

    #[test]
    fn a_start_needs_nothing_and_may_have_a_reason() {
        let all = of::<StartRollout>();
        let start = &all["StartRollout"];
        assert_eq!(start.get("required"), None);
        assert_eq!(start["properties"]["reason"]["type"], json!(["string", "null"]));
        assert_eq!(start["properties"]["bake"]["default"], "30m");
        assert_eq!(start["additionalProperties"], false);
        assert_eq!(of::<StartPoolRollout>()["StartPoolRollout"]["properties"]["queue"]["default"], 1000);
        assert_eq!(all["PlanOnSuccess"]["enum"], json!(["advance", "pause"]));
    }
}
