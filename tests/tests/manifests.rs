//! The manifests, for production, for one machine, and for one machine with a single store: all
//! valid, and the same application.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;
use wadm_types::validation::validate_manifest_bytes;

/// Where the two may differ, and only there: which provider says where a host is, one HTTP server
/// or one per region.
const METADATA: [&str; 2] = ["fly-io-metadata", "kind-metadata"];
const HTTP_SERVER: &str = "http-server";

fn read(name: &str) -> String {
    std::fs::read_to_string(e2e::root().join(name)).unwrap()
}

fn parsed(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

#[tokio::test]
async fn wadm_accepts_the_manifests_without_a_warning() {
    for name in [
        "wadm.yaml",
        "local.wadm.yaml",
        "local-single-store.wadm.yaml",
        "deploy/k8s/overlays/kind/application.yaml",
    ] {
        let (manifest, failures) = validate_manifest_bytes(read(name)).await.unwrap();
        assert!(failures.is_empty(), "{name}: {failures:#?}");
        assert_eq!(manifest.metadata.name, "resiliency-demo", "{name}");
    }
}

#[tokio::test]
async fn the_validation_finds_a_link_to_nobody() {
    let broken = read("local.wadm.yaml").replace(
        "name: kind-metadata\n            namespace",
        "name: nobody\n            namespace",
    );
    let (_, failures) = validate_manifest_bytes(broken).await.unwrap();
    assert!(!failures.is_empty());
}

#[test]
fn the_two_manifests_describe_the_same_application() {
    let (production, local) = (read("wadm.yaml"), read("local.wadm.yaml"));
    assert_eq!(
        differences(&parsed(&production), &parsed(&local)),
        Vec::<String>::new()
    );
}

#[test]
fn a_single_store_is_two_edits_away() {
    let mut edited = parsed(&read("local.wadm.yaml"));
    let components = edited["spec"]["components"].as_sequence_mut().unwrap();
    for component in components {
        let provider = component["name"].as_str() == Some("keyvalue-valkey");
        for properties in component["traits"].as_sequence_mut().unwrap() {
            let properties = &mut properties["properties"];
            if provider {
                // Home alone.
                let spread = properties["spread"].as_sequence_mut().unwrap();
                assert_eq!(spread.len(), 2);
                spread.retain(|place| place["name"].as_str() == Some("home"));
            } else if properties["target"]["name"].as_str() == Some("keyvalue-valkey") {
                let config = &mut properties["target"]["config"][0]["properties"];
                let mode = config.as_mapping_mut().unwrap().remove("mode");
                assert_eq!(mode, Some("replicated".into()));
            }
        }
    }
    assert_eq!(edited, parsed(&read("local-single-store.wadm.yaml")));
}

#[test]
fn a_drift_is_found() {
    let production = parsed(&read("wadm.yaml"));
    let local = read("local.wadm.yaml");
    for (from, to, named) in [
        ("name: resiliency-demo", "name: another", "name"),
        ("version: v0.1.0", "version: v0.2.0", "version"),
        (
            "interfaces: [store, atomics, batch]",
            "interfaces: [store, atomics]",
            "links",
        ),
        ("package: cloud-metadata", "package: cloud-meta", "links"),
        (
            "kubernetes: \"true\"",
            "kubernetes: \"false\"",
            "keyvalue-valkey",
        ),
        ("instances: 100", "instances: 10", "cloud-hello"),
        ("type: daemonscaler", "type: spreadscaler", "cloud-hello"),
        (
            "redis://{label:valkey}/0",
            "redis://{label:valkey}/1",
            "links",
        ),
        ("mode: replicated", "mode: plain", "links"),
        ("region: fra", "region: iad", "http-server-fra"),
        (
            "- name: keyvalue-valkey\n      type: capability",
            "- name: keyvalue-redis\n      type: capability",
            "components",
        ),
    ] {
        let drifted = local.replacen(from, to, 1);
        assert_ne!(drifted, local, "{from} is in the manifest");
        let found = differences(&production, &parsed(&drifted));
        assert!(
            found.iter().any(|line| line.contains(named)),
            "{from} → {to}: {found:?}"
        );
    }
}

/// In which respects two manifests are not the same application, in words.
fn differences(production: &Value, local: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: String, one: &dyn std::fmt::Debug, two: &dyn std::fmt::Debug| {
        let (one, two) = (format!("{one:?}"), format!("{two:?}"));
        if one != two {
            found.push(format!("{what}: {one} is not {two}"));
        }
    };
    for key in ["apiVersion", "kind"] {
        compare(key.into(), &production[key], &local[key]);
    }
    let (one, two) = (&production["metadata"], &local["metadata"]);
    compare("name".into(), &one["name"], &two["name"]);
    compare(
        "version".into(),
        &one["annotations"]["version"],
        &two["annotations"]["version"],
    );

    let (one, two) = (components(production), components(local));
    let names = |components: &BTreeMap<String, &Value>| -> BTreeSet<String> {
        components.keys().map(|name| role(name)).collect()
    };
    compare("components".into(), &names(&one), &names(&two));
    for (name, component) in &two {
        let Some(counterpart) = one.iter().find(|(other, _)| role(other) == role(name)) else {
            continue;
        };
        let server = name.strip_prefix("http-server-");
        compare(
            format!("type of {name}"),
            &counterpart.1["type"],
            &component["type"],
        );
        match server {
            // A region's own server is that region's and nobody else's.
            Some(region) => {
                let expected = Value::from(region);
                compare(
                    format!("place of {name}"),
                    &Some(&expected),
                    &spread(component)
                        .first()
                        .map(|spread| &spread["requirements"]["region"]),
                );
            }
            None => compare(
                format!("places of {name}"),
                &places(counterpart.1),
                &places(component),
            ),
        }
        compare(
            format!("scaling of {name}"),
            &scaling(counterpart.1),
            &scaling(component),
        );
        compare(
            format!("links of {name}"),
            &links(counterpart.1),
            &links(component),
        );
    }
    found
}

fn components(manifest: &Value) -> BTreeMap<String, &Value> {
    let components = manifest["spec"]["components"].as_sequence().unwrap();
    components
        .iter()
        .map(|each| (each["name"].as_str().unwrap().to_owned(), each))
        .collect()
}

/// A component's name without what may differ.
fn role(name: &str) -> String {
    if METADATA.contains(&name) {
        "metadata".into()
    } else if name.starts_with("http-server-") {
        HTTP_SERVER.into()
    } else {
        name.into()
    }
}

fn traits<'a>(component: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let traits = component["traits"].as_sequence().into_iter().flatten();
    let scaler = kind == "scaler";
    traits.filter(move |each| (each["type"] != "link") == scaler)
}

fn scaling(component: &Value) -> Vec<(&Value, &Value)> {
    traits(component, "scaler")
        .map(|each| (&each["type"], &each["properties"]["instances"]))
        .collect()
}

fn spread(component: &Value) -> Vec<&Value> {
    traits(component, "scaler")
        .flat_map(|each| {
            each["properties"]["spread"]
                .as_sequence()
                .into_iter()
                .flatten()
        })
        .collect()
}

fn places(component: &Value) -> Vec<&Value> {
    spread(component)
        .into_iter()
        .map(|spread| &spread["requirements"])
        .collect()
}

/// Target, interface and config of each link. Secrets are for production alone, and so are the
/// names and values of the HTTP servers' addresses.
fn links(component: &Value) -> Vec<String> {
    let link = |each: &Value| {
        let link = &each["properties"];
        let target = role(link["target"]["name"].as_str().unwrap_or_default());
        let what = ["namespace", "package", "interfaces", "name"].map(|key| &link[key]);
        let keys: Vec<_> = link["source"]["config"]
            .as_sequence()
            .into_iter()
            .flatten()
            .map(|config| {
                config["properties"]
                    .as_mapping()
                    .map(|properties| properties.keys().cloned().collect::<Vec<_>>())
            })
            .collect();
        format!("{target} {what:?} {:?} {keys:?}", link["target"]["config"])
    };
    traits(component, "link").map(link).collect()
}
