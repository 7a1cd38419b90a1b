//! Renders an application manifest for the regions and ports of one machine.
//!
//! The HTTP address is link config and so the same in the whole lattice: on one loopback address
//! each region needs an http-server entry and a port of its own. A manifest names them
//! `http-server-REGION`; rendering makes one for each region there is from the first it finds.
//! It also makes relative `file://` images absolute, as the hosts run elsewhere. Nothing else
//! changes.

use std::path::Path;

use serde_yaml::Value;

use crate::error::Error;

/// Name before the region's code of a per-region HTTP server.
pub const HTTP_SERVER: &str = "http-server-";

/// Renders the manifest in `file` for `(region, HTTP port)` pairs.
///
/// # Errors
///
/// The file cannot be read, is no YAML, or has no `spec.components`.
pub fn render(file: &Path, regions: &[(String, u16)]) -> Result<String, Error> {
    let text = std::fs::read_to_string(file).map_err(|source| Error::io("read", file, source))?;
    let bad = |reason: String| Error::Manifest {
        path: file.to_owned(),
        reason,
    };
    let mut manifest: Value =
        serde_yaml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let components = manifest
        .get_mut("spec")
        .and_then(|spec| spec.get_mut("components"))
        .and_then(Value::as_sequence_mut)
        .ok_or_else(|| bad("has no list `spec.components`".into()))?;

    let base = file.parent().unwrap_or_else(|| Path::new("."));
    let base = base
        .canonicalize()
        .map_err(|source| Error::io("resolve", base, source))?;
    let mut rendered = Vec::with_capacity(components.len() + regions.len());
    let mut servers_done = false;
    for mut component in components.drain(..) {
        absolute_image(&mut component, &base);
        match region_of(&component) {
            None => rendered.push(component),
            Some(_) if servers_done => {}
            Some(pattern) => {
                servers_done = true;
                for (region, port) in regions {
                    let mut server = component.clone();
                    fit(&mut server, &pattern, region, *port);
                    rendered.push(server);
                }
            }
        }
    }
    *components = rendered;
    serde_yaml::to_string(&manifest).map_err(|error| bad(error.to_string()))
}

/// Checks that what a manifest takes from files is there; `rendered` is what [`render`] made of `file`.
///
/// # Errors
///
/// It is no manifest, or names an image that does not exist.
pub fn check_images(file: &Path, rendered: &str) -> Result<(), Error> {
    let bad = |reason: String| Error::Manifest {
        path: file.to_owned(),
        reason,
    };
    let manifest: Value = serde_yaml::from_str(rendered).map_err(|error| bad(error.to_string()))?;
    let components = manifest
        .get("spec")
        .and_then(|spec| spec.get("components"))
        .and_then(Value::as_sequence);
    for component in components.into_iter().flatten() {
        let image = component
            .get("properties")
            .and_then(|properties| properties.get("image"))
            .and_then(Value::as_str);
        let path = image.and_then(|image| image.strip_prefix("file://"));
        if let Some(path) = path.filter(|path| !Path::new(path).is_file()) {
            return Err(bad(format!(
                "names the image {path}, which is not there (`make build` makes those of this repository)"
            )));
        }
    }
    Ok(())
}

/// The region a per-region HTTP server is for.
fn region_of(component: &Value) -> Option<String> {
    let name = component.get("name")?.as_str()?;
    name.strip_prefix(HTTP_SERVER).map(str::to_owned)
}

fn absolute_image(component: &mut Value, base: &Path) {
    let Some(Value::String(image)) = component
        .get_mut("properties")
        .and_then(|properties| properties.get_mut("image"))
    else {
        return;
    };
    if let Some(path) = image.strip_prefix("file://") {
        if !path.starts_with('/') {
            let path = path.strip_prefix("./").unwrap_or(path);
            *image = format!("file://{}", base.join(path).display());
        }
    }
}

/// Makes the server entry of region `pattern` that of `region`.
fn fit(value: &mut Value, pattern: &str, region: &str, port: u16) {
    match value {
        Value::String(text) => {
            if text == pattern {
                region.clone_into(text);
            } else if let Some(before) = text.strip_suffix(&format!("-{pattern}")) {
                *text = format!("{before}-{region}");
            }
        }
        Value::Sequence(items) => items
            .iter_mut()
            .for_each(|item| fit(item, pattern, region, port)),
        Value::Mapping(entries) => {
            for (key, entry) in entries.iter_mut() {
                if key.as_str() == Some("address") {
                    *entry = Value::String(format!("127.0.0.1:{port}"));
                } else {
                    fit(entry, pattern, region, port);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r"
spec:
  components:
    - name: hello
      properties: { image: 'file://./build/hello.wasm' }
    - name: http-server-iad
      properties: { image: 'wasmcloud+builtin://http-server' }
      traits:
        - properties: { spread: [{ name: iad, requirements: { region: iad } }] }
        - properties: { source: { config: [{ name: http-iad, properties: { address: '127.0.0.1:8001' } }] } }
    - name: http-server-fra
";

    fn rendered(regions: &[(&str, u16)]) -> (Value, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("wadm.yaml");
        std::fs::write(&file, MANIFEST).unwrap();
        let regions: Vec<_> = regions.iter().map(|(r, p)| ((*r).to_owned(), *p)).collect();
        let text = render(&file, &regions).unwrap();
        (
            serde_yaml::from_str(&text).unwrap(),
            dir.path().canonicalize().unwrap(),
        )
    }

    #[test]
    fn each_region_gets_its_own_http_server() {
        let (manifest, _) = rendered(&[("sin", 9001), ("gru", 9002)]);
        let components = manifest["spec"]["components"].as_sequence().unwrap();
        let names: Vec<_> = components
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["hello", "http-server-sin", "http-server-gru"]);
        let gru = &components[2]["traits"];
        assert_eq!(
            gru[0]["properties"]["spread"][0]["requirements"]["region"],
            "gru"
        );
        let config = &gru[1]["properties"]["source"]["config"][0];
        assert_eq!(config["name"], "http-gru");
        assert_eq!(config["properties"]["address"], "127.0.0.1:9002");
    }

    #[test]
    fn relative_images_become_absolute() {
        let (manifest, dir) = rendered(&[]);
        let image = manifest["spec"]["components"][0]["properties"]["image"]
            .as_str()
            .unwrap();
        assert_eq!(image, format!("file://{}/build/hello.wasm", dir.display()));
    }

    #[test]
    fn a_manifest_without_components_is_refused_by_file_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("wadm.yaml");
        std::fs::write(&file, "spec: {}").unwrap();
        let error = render(&file, &[]).unwrap_err().to_string();
        assert!(
            error.contains("wadm.yaml") && error.contains("spec.components"),
            "{error}"
        );
    }
}
