//! The tables of `docs/reference/manifest.md` come from the code.
//!
//! `PRECEPTOR_WRITE_DOCS=1 cargo test --workspace manifest_reference` writes them.

use std::fs;
use std::path::Path;

use preceptor_experiment::{
    AggregatorSettings, AnchorSettings, BenchmarkScope, BenchmarkSettings, EndpointConfig, Entry,
    EstimateSettings, EvalJudgeSettings, GraderSettings, JudgeSettings, LaunchSettings,
    ObjectiveSettings, PolicySettings, RewardSettings, RolloutServersConfig, SamplingSettings,
    TrainSettings,
};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/manifest.md");

/// The schema of a type, with every reference in place.
fn schema<T: JsonSchema>() -> Value {
    let mut settings = schemars::generate::SchemaSettings::default();
    settings.inline_subschemas = true;
    SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value()
}

/// Joins text into a line, fit for a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The values that a key may have, where they are names.
fn names(schema: &Value) -> Vec<String> {
    let of = |value: &Value| Some(value.get("const")?.to_string());
    let choices = ["oneOf", "anyOf"].iter().find_map(|key| schema.get(key)?.as_array());
    match (schema.get("enum").and_then(Value::as_array), choices) {
        (Some(values), _) => values.iter().filter(|v| !v.is_null()).map(Value::to_string).collect(),
        (None, Some(choices)) => choices
            .iter()
            .flat_map(|one| of(one).map_or_else(|| names(one), |name| vec![name]))
            .collect(),
        (None, None) => of(schema).into_iter().collect(),
    }
}

/// Rows of the keys of a table: name, values, default, description.
fn keys(schema: &Value, prefix: &str, rows: &mut Vec<String>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, property) in properties.into_iter().flatten().filter(|(key, _)| *key != "kind") {
        let name = format!("{prefix}{key}");
        // A table within the table; `null` stands for one that may be missing.
        let inner = property.get("anyOf").and_then(Value::as_array);
        let inner = inner.and_then(|any| any.iter().find(|one| one.get("properties").is_some()));
        let inner = inner.or_else(|| property.get("properties").map(|_| property));
        let text = property.get("description").and_then(Value::as_str).unwrap_or_default();
        if let Some(inner) = inner {
            rows.push(format!("| `[..{name}]` | | {} |", cell(text)));
            keys(inner, &format!("{name}."), rows);
            continue;
        }
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = required.is_some_and(|keys| keys.iter().any(|known| known == key));
        let default = match property.get("default") {
            _ if is_required => "required".to_owned(),
            None | Some(Value::Null) => String::new(),
            Some(default) => format!("`{default}`"),
        };
        let is_told = |name: &String| text.contains(name.trim_matches('"'));
        let names: Vec<_> = names(property);
        let allowed = if names.iter().all(is_told) {
            String::new()
        } else {
            format!(" One of `{}`.", names.join("`, `"))
        };
        rows.push(format!("| `{name}` | {default} | {}{allowed} |", cell(text)));
    }
}

const HEAD: &str = "| key | default | meaning |\n|---|---|---|\n";

fn table<T: JsonSchema>() -> String {
    let mut rows = Vec::new();
    keys(&schema::<T>(), "", &mut rows);
    format!("{HEAD}{}\n", rows.join("\n"))
}

/// Inputs of a component, in words.
fn inputs(entry: &Entry) -> String {
    let needs = entry.needs;
    let named = [
        (needs.reference, "pseudo-reference"),
        (needs.policy, "policy"),
        (needs.anchor, "anchor"),
        (needs.judge && !needs.grades, "judge"),
        (needs.grades, "judge of kind `llm`"),
        (needs.labels, "**labels** (upper bound)"),
    ];
    named
        .into_iter()
        .filter(|(is_needed, _)| *is_needed)
        .map(|(_, name)| name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A table of the kinds, then one of the keys of each kind that has some.
fn kinds<T: JsonSchema>(all: &[Entry], column: &str) -> String {
    let schema = schema::<T>();
    let variants = schema["oneOf"].as_array().expect("kinds");
    let has_inputs = all.iter().any(|entry| !inputs(entry).is_empty());
    let mut page = if has_inputs {
        format!("| kind | {column} | needs |\n|---|---|---|\n")
    } else {
        format!("| kind | {column} |\n|---|---|\n")
    };
    for entry in all {
        page += &format!("| `{}` | {} |", entry.name, cell(entry.summary));
        page += &if has_inputs { format!(" {} |\n", inputs(entry)) } else { "\n".to_owned() };
    }
    for entry in all {
        let is_entry = |variant: &&Value| variant["properties"]["kind"]["const"] == entry.name;
        let variant = variants.iter().find(is_entry).expect("every kind has a schema");
        let mut rows = Vec::new();
        keys(variant, "", &mut rows);
        if !rows.is_empty() {
            page += &format!("\nKeys of `{}`:\n\n{HEAD}{}\n", entry.name, rows.join("\n"));
        }
    }
    page
}

#[test]
fn the_tables_of_the_manifest_reference_come_from_the_code() {
    let blocks = [
        ("policy", table::<PolicySettings>()),
        ("benchmark", kinds::<BenchmarkSettings>(BenchmarkSettings::ALL, "prompts")),
        ("benchmark scope", table::<BenchmarkScope>()),
        ("sampling", table::<SamplingSettings>()),
        ("aggregator", kinds::<AggregatorSettings>(AggregatorSettings::ALL, "pseudo-reference")),
        ("anchor", table::<AnchorSettings>()),
        ("reward", kinds::<RewardSettings>(RewardSettings::ALL, "reward of a rollout")),
        ("train", table::<TrainSettings>()),
        ("objective", kinds::<ObjectiveSettings>(ObjectiveSettings::ALL, "loss")),
        ("judge", kinds::<JudgeSettings>(JudgeSettings::ALL, "judge")),
        ("eval-judge", table::<EvalJudgeSettings>()),
        ("endpoint", table::<EndpointConfig>()),
        ("rollouts", table::<RolloutServersConfig>()),
        ("estimate", table::<EstimateSettings>()),
        ("grader", table::<GraderSettings>()),
        ("launch", table::<LaunchSettings>()),
    ];
    let page = fs::read_to_string(Path::new(PAGE)).expect("the page is there");
    let mut generated = page.clone();
    for (name, block) in blocks {
        let (open, close) = (format!("<!-- generated: {name} -->\n"), "<!-- /generated -->");
        let (before, rest) = generated.split_once(&open).unwrap_or_else(|| panic!("no {name}"));
        let (_, after) = rest.split_once(close).unwrap_or_else(|| panic!("{name} has no end"));
        generated = format!("{before}{open}\n{}\n\n{close}{after}", block.trim_end());
    }
    if std::env::var_os("PRECEPTOR_WRITE_DOCS").is_some() {
        fs::write(PAGE, generated).expect("writable");
    } else {
        assert_eq!(page, generated, "run with PRECEPTOR_WRITE_DOCS=1");
    }
}
