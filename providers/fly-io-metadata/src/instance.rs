//! How Fly's internal DNS describes Machines.
//!
//! `_instances.internal` lists every Machine of the organization,
//! `instance=ID,app=NAME,ip=ADDRESS,region=CODE;…`, and `vms.<app>.internal` those of one app,
//! `ID REGION,…`. Both are cut into TXT strings of at most 255 bytes, anywhere.

use std::net::IpAddr;

use metadata_kit::RegionCode;

/// A DNS message holds less than this; the bound is for the reader.
const MAX_INSTANCES: usize = 4096;

/// A Machine, as far as a text describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    pub region: RegionCode,
    pub address: Option<IpAddr>,
}

/// Whether this can be the id of a Machine. It becomes part of a name.
pub fn is_machine_id(id: &str) -> bool {
    (1..=63).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether this can be the name of an app. It becomes part of a name.
pub fn is_app_name(app: &str) -> bool {
    (1..=63).contains(&app.len())
        && app
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Reads the text of `_instances.internal`. An entry that is malformed is left out; a text with
/// no other entries is malformed as a whole, `None`.
pub fn read_instances(text: &str) -> Option<Vec<Instance>> {
    all(text.split(';'), |entry| {
        let (mut id, mut region, mut address) = (None, None, None);
        for field in entry.split(',') {
            match field.trim().split_once('=')? {
                ("instance", value) => id = Some(value),
                ("region", value) => region = Some(value),
                ("ip", value) => address = Some(value.parse().ok()?),
                // The app's name, and what Fly may add.
                _ => {}
            }
        }
        instance(id?, region?, address)
    })
}

/// Reads the text of `vms.<app>.internal`, likewise.
pub fn read_vms(text: &str) -> Option<Vec<Instance>> {
    all(text.split(','), |entry| {
        let (id, region) = entry.trim().split_once(' ')?;
        instance(id, region.trim(), None)
    })
}

fn instance(id: &str, region: &str, address: Option<IpAddr>) -> Option<Instance> {
    is_machine_id(id).then_some(())?;
    Some(Instance {
        id: id.to_owned(),
        region: RegionCode::try_from(region).ok()?,
        address,
    })
}

fn all<'a>(
    entries: impl Iterator<Item = &'a str>,
    read: impl Fn(&str) -> Option<Instance>,
) -> Option<Vec<Instance>> {
    let given = entries.filter(|entry| !entry.trim().is_empty());
    let mut any = false;
    let mut instances = Vec::new();
    for entry in given.take(MAX_INSTANCES) {
        any = true;
        instances.extend(read(entry));
    }
    // No entries at all: nobody is there. Only broken ones: not what Fly says.
    (!any || !instances.is_empty()).then_some(instances)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_read_with_their_addresses() {
        let text = "instance=148ed193b95d48,app=demo,ip=fdaa:0:18:a7b:2809:1:7:2,region=iad;\
                    instance=e784079b449483,app=demo,ip=fdaa:0:18:a7b:d6b:0:a:2,region=qqq";
        let instances = read_instances(text).unwrap();
        assert_eq!(instances.len(), 2);
        assert_eq!(
            instances[0],
            Instance {
                id: "148ed193b95d48".into(),
                region: "iad".parse().unwrap(),
                address: Some("fdaa:0:18:a7b:2809:1:7:2".parse().unwrap()),
            }
        );
        // A region that no table knows is as good as any.
        assert_eq!(instances[1].region.as_str(), "qqq");
    }

    #[test]
    fn vms_are_read_with_their_regions() {
        let vms = read_vms("148ed193b95d48 iad,e784079b449483 fra").unwrap();
        let regions: Vec<&str> = vms.iter().map(|vm| vm.region.as_str()).collect();
        assert_eq!(regions, ["iad", "fra"]);
        assert_eq!(vms[1].id, "e784079b449483");
        assert_eq!(vms[1].address, None);
    }

    #[test]
    fn malformed_entries_are_left_out_and_malformed_texts_refused() {
        let text = "instance=a1,region=iad;garbage;instance=,region=fra;instance=b2,ip=x,region=r";
        assert_eq!(read_instances(text).unwrap().len(), 1);
        assert_eq!(read_instances("<html>502</html>"), None);
        assert_eq!(read_vms("nonsense"), None);
        assert_eq!(read_vms("id two words"), None);
        assert_eq!(read_instances(""), Some(vec![]));
        assert_eq!(read_vms(" , "), Some(vec![]));
    }

    #[test]
    fn names_that_could_leave_their_place_in_a_domain_are_none() {
        assert!(is_machine_id("148ed193b95d48"));
        assert!(is_app_name("resiliency-demo"));
        for bad in ["", "a.b", "a b", "ä", &"x".repeat(64)] {
            assert!(!is_machine_id(bad) && !is_app_name(bad), "{bad:?}");
        }
    }
}
