//! The application that is measured: the local manifest, and naive-hello beside cloud-hello in the
//! measured region, linked to the same providers.

use std::path::Path;

use anyhow::{anyhow, Context as _};
use lattice::manifest::{render, HTTP_SERVER};
use serde_yaml::{Mapping, Value};

/// Composes the manifest from `local`: naive-hello answers in `region` at `port`.
pub fn compose(local: &Path, region: &str, port: u16) -> anyhow::Result<String> {
    // Rendering makes the images' paths absolute; the lattice renders the servers' ports again.
    let text =
        render(local, &[(region.to_owned(), port)]).map_err(|error| anyhow!(error.chain()))?;
    let mut manifest: Value = serde_yaml::from_str(&text)?;
    let components = manifest
        .get_mut("spec")
        .and_then(|spec| spec.get_mut("components"))
        .and_then(Value::as_sequence_mut)
        .context("the manifest has no components")?;
    let find = |name: &str| {
        let named = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some(name);
        let found = components.iter().find(named).cloned();
        found.with_context(|| format!("the manifest has no component `{name}`"))
    };
    let server_name = format!("{HTTP_SERVER}{region}");
    let (mut component, mut server) = (find("cloud-hello")?, find(&server_name)?);
    replace(&mut component, &|text| match text {
        // The names of two configs must differ even if they say the same.
        "store" => Some("naive-store".into()),
        "cloud-hello" => Some("naive-hello".into()),
        text => text
            .strip_suffix("cloud_hello_s.wasm")
            .map(|path| format!("{path}naive_hello_s.wasm")),
    });
    restore_interfaces(&mut component);
    place(&mut component, region);
    replace(&mut server, &|text| match text {
        "cloud-hello" => Some("naive-hello".into()),
        text => text
            .strip_prefix("http-")
            .map(|rest| format!("naive-http-{rest}")),
    });
    components.extend([component, server]);
    Ok(serde_yaml::to_string(&manifest)?)
}

/// Replaces text values wherever `new` knows a new one.
fn replace(value: &mut Value, new: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(new) = new(text) {
                *text = new;
            }
        }
        Value::Sequence(items) => items.iter_mut().for_each(|item| replace(item, new)),
        Value::Mapping(entries) => entries
            .iter_mut()
            .for_each(|(_, entry)| replace(entry, new)),
        _ => {}
    }
}

/// Applies `change` to the properties of every trait.
fn each_trait(component: &mut Value, change: impl Fn(&mut Mapping)) {
    let traits = component.get_mut("traits").and_then(Value::as_sequence_mut);
    for entry in traits.into_iter().flatten() {
        if let Some(properties) = entry.get_mut("properties").and_then(Value::as_mapping_mut) {
            change(properties);
        }
    }
}

/// Names of interfaces look like names of configs.
fn restore_interfaces(component: &mut Value) {
    each_trait(component, |properties| {
        if let Some(interfaces) = properties.get_mut("interfaces") {
            replace(interfaces, &|text| {
                (text == "naive-store").then(|| "store".into())
            });
        }
    });
}

/// Places the component in one region alone.
fn place(component: &mut Value, region: &str) {
    each_trait(component, |properties| {
        let spread = properties
            .get_mut("spread")
            .and_then(Value::as_sequence_mut);
        for place in spread.into_iter().flatten() {
            if let Some(place) = place.as_mapping_mut() {
                let only = Mapping::from_iter([("region".into(), region.into())]);
                place.insert("requirements".into(), Value::Mapping(only));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naive_hello_is_added_beside_cloud_hello_with_the_same_links() {
        let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../local.wadm.yaml");
        let manifest: Value = serde_yaml::from_str(&compose(&local, "gru", 9009).unwrap()).unwrap();
        let components = manifest["spec"]["components"].as_sequence().unwrap();
        let named = |name: &str| {
            components
                .iter()
                .find(|entry| entry["name"] == name)
                .unwrap()
        };
        let (cloud, naive) = (named("cloud-hello"), named("naive-hello"));
        let image = naive["properties"]["image"].as_str().unwrap();
        assert!(
            image.starts_with("file:///") && image.ends_with("/naive_hello_s.wasm"),
            "{image}"
        );
        assert_eq!(
            naive["traits"][0]["properties"]["spread"][0]["requirements"]["region"],
            "gru"
        );
        let links = |entry: &Value, field: &str| -> Vec<Value> {
            let links = entry["traits"].as_sequence().unwrap().iter();
            links
                .map(|link| link["properties"][field].clone())
                .collect()
        };
        assert_eq!(links(cloud, "interfaces"), links(naive, "interfaces"));
        let store = |entry: &Value| entry["traits"][2]["properties"]["target"].clone();
        assert_eq!(store(cloud)["name"], store(naive)["name"]);
        assert_eq!(
            store(cloud)["config"][0]["properties"],
            store(naive)["config"][0]["properties"]
        );
        assert_ne!(
            store(cloud)["config"][0]["name"],
            store(naive)["config"][0]["name"]
        );

        let server = named("naive-http-server-gru");
        let link = &server["traits"][1]["properties"];
        assert_eq!(link["target"]["name"], "naive-hello");
        assert_eq!(link["source"]["config"][0]["name"], "naive-http-gru");
        assert_eq!(
            link["source"]["config"][0]["properties"]["address"],
            "127.0.0.1:9009"
        );
        assert_eq!(link["package"], "http");
    }
}
