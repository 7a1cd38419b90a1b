"""Checks the facts that matter in what the overlays render.

    facts.py OVERLAY RENDERED APPLICATION WADM

RENDERED and APPLICATION are JSON objects one after another, as kubectl prints them for the
rendered overlay and for the application that is deployed on it; WADM is wadm.yaml in the same
way. Prints each fact that does not hold and ends with 1 when there is one.
"""

import json
import re
import sys
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent.parent
NAMESPACE = "resiliency-demo"
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
CLUSTER_SCOPED = {"Namespace", "ClusterRole", "ClusterRoleBinding"}
broken = []


def fact(holds, sentence):
    if not holds:
        broken.append(sentence)


def objects(path):
    text, decoder, position = Path(path).read_text(), json.JSONDecoder(), 0
    while text[position:].strip():
        position += len(text[position:]) - len(text[position:].lstrip())
        found, position = decoder.raw_decode(text, position)
        yield found


class Overlay:
    def __init__(self, name, rendered):
        self.name = name
        self.all = list(rendered)

    def kind(self, kind):
        return [o for o in self.all if o["kind"] == kind]

    def one(self, kind, name):
        """The object, or an empty one, so that one missing object breaks facts and no more."""
        found = [o for o in self.kind(kind) if o["metadata"]["name"] == name]
        fact(len(found) == 1, f"there is one {kind} {name}")
        return found[0] if found else {"metadata": {"name": name}, "spec": {}}

    def config(self, name):
        """The data of the ConfigMap of this name, whatever its hash suffix."""
        pattern = re.compile(re.escape(name) + "-[a-z0-9]{10}$")
        found = [o for o in self.kind("ConfigMap") if pattern.match(o["metadata"]["name"])]
        fact(len(found) == 1, f"there is one ConfigMap {name}")
        return found[0]["data"] if found else {}


def pod(workload):
    return workload["spec"].get("template", {}).get("spec", {})


def first_container(workload):
    return (pod(workload).get("containers") or [{}])[0]


def workloads(overlay):
    return [o for o in overlay.all if o["kind"] in ("StatefulSet", "Deployment", "DaemonSet")]


def pinned(image):
    name = image.rsplit("/", 1)[-1]
    if "@sha256:" in name:
        return True
    tag = name.partition(":")[2]
    return bool(re.search(r"\d", tag)) and "latest" not in tag


def check_everything(overlay):
    config_maps = {o["metadata"]["name"] for o in overlay.kind("ConfigMap")}
    fact(not overlay.kind("Secret"), "no Secret is rendered: they are made by hand")
    for item in overlay.all:
        name = f"{item['kind']} {item['metadata']['name']}"
        if item["kind"] not in CLUSTER_SCOPED:
            fact(item["metadata"].get("namespace") == NAMESPACE, f"{name} is in {NAMESPACE}")
        for subject in item.get("subjects", []):
            accounts = [o["metadata"]["name"] for o in overlay.kind("ServiceAccount")]
            accounts += [o["metadata"]["name"] for o in overlay.kind("WasmCloudHostConfig")]
            fact(subject["name"] in accounts, f"{name} is for an account that exists")
            fact(subject.get("namespace") == NAMESPACE, f"{name} is for an account of {NAMESPACE}")
    for workload in workloads(overlay):
        name = f"{workload['kind']} {workload['metadata']['name']}"
        labels = workload["spec"]["template"]["metadata"]["labels"]
        selector = workload["spec"]["selector"]["matchLabels"]
        fact(selector.items() <= labels.items(), f"{name} selects its own pods")
        security = pod(workload).get("securityContext", {})
        fact(security.get("runAsNonRoot") is True, f"{name} does not run as root")
        fact(security.get("seccompProfile"), f"{name} has a seccomp profile")
        for container in pod(workload)["containers"]:
            fact(pinned(container["image"]), f"{name} has a pinned image, not {container['image']}")
            own = container.get("securityContext", {})
            fact(own.get("allowPrivilegeEscalation") is False, f"{name} cannot gain privileges")
            fact("ALL" in own.get("capabilities", {}).get("drop", []), f"{name} has no capability")
            resources = container.get("resources", {})
            fact(resources.get("requests"), f"{name} requests resources")
            fact(resources.get("limits", {}).get("memory"), f"{name} has a memory limit")
        for volume in pod(workload).get("volumes", []):
            sources = volume.get("projected", {}).get("sources", [volume])
            for source in sources:
                if "configMap" in source:
                    fact(source["configMap"]["name"] in config_maps, f"{name} has its ConfigMaps")


def mounted_claim(workload, path):
    """Whether a volume claim of the StatefulSet is mounted at this path."""
    claims = {c["metadata"]["name"] for c in workload["spec"].get("volumeClaimTemplates", [])}
    mounts = first_container(workload).get("volumeMounts", [])
    return any(m["name"] in claims and m["mountPath"] == path for m in mounts)


def mounted_secrets(workload):
    names = set()
    for volume in pod(workload).get("volumes", []):
        names.add(volume.get("secret", {}).get("secretName"))
        for source in volume.get("projected", {}).get("sources", []):
            names.add(source.get("secret", {}).get("name"))
    return names


def setting(text, key):
    found = re.search(rf"^{key} +(.*)$", text, re.MULTILINE)
    return found.group(1) if found else None


def megabytes(text):
    number, unit = re.fullmatch(r"(\d+)(mb|Mi|gb|Gi)", text or "0mb").groups()
    return int(number) * (1024 if unit[0].lower() == "g" else 1)


def check_store(overlay):
    valkey = overlay.one("StatefulSet", "valkey")
    container = first_container(valkey)
    files = overlay.config("valkey")
    conf = files.get("valkey.conf", "")
    fact(valkey["spec"].get("replicas") == 1, "there is one store")
    fact(mounted_claim(valkey, setting(conf, "dir")), "the store's directory is a volume claim")
    fact(setting(conf, "appendonly") == "yes", "the store has an append-only file")
    fact(setting(conf, "maxmemory-policy") == "noeviction", "the store never evicts")
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    fact(
        megabytes(limit) >= 2 * megabytes(setting(conf, "maxmemory")) > 0,
        "the store's container has twice the store's memory",
    )
    for probe in PROBES:
        fact(container.get(probe, {}).get("exec", {}).get("command"), f"the store has a {probe}")
    environment = {e["name"]: e for e in container.get("env", [])}
    source = environment.get("VALKEY_PASSWORD", {}).get("valueFrom", {}).get("secretKeyRef")
    fact(source == {"name": "valkey-auth", "key": "password"}, "the password is in a Secret")
    commands = [container.get("command", []), container.get("args", [])]
    commands += [container.get(p, {}).get("exec", {}).get("command", []) for p in PROBES]
    words = " ".join(word for command in commands for word in command)
    fact("PASSWORD" not in words and "requirepass" not in words, "no command line has the password")
    fact("--requirepass" not in files.get("start.sh", ""), "Valkey's has not either")
    fact(container.get("securityContext", {}).get("readOnlyRootFilesystem"), "its root is read-only")

    labels = valkey["spec"].get("template", {}).get("metadata", {}).get("labels", {})
    service = overlay.one("Service", "valkey")["spec"]
    fact(service.get("selector", {"-": "-"}).items() <= labels.items(), "its Service finds the store")
    fact([p["port"] for p in service.get("ports", [])] == [6379], "its Service is on 6379")
    budget = overlay.one("PodDisruptionBudget", "valkey")["spec"]
    chosen = budget.get("selector", {}).get("matchLabels", {"-": "-"})
    fact(chosen.items() <= labels.items(), "its disruption budget finds the store")
    policy = overlay.one("NetworkPolicy", "valkey")["spec"]
    fact(policy.get("ingress") and policy["ingress"][0].get("from"), "only some may reach the store")


def check_hub(overlay):
    hub = overlay.one("StatefulSet", "nats-hub")
    files = overlay.config("nats-hub")
    conf = files.get("hub.conf", "")
    store = re.search(r'store_dir: "(.*)"', conf)
    fact(store and mounted_claim(hub, store.group(1)), "the hub's JetStream is on a volume claim")
    fact(not re.search(r"^\s*server_name", conf, re.MULTILINE), "the hub has no server name")
    domain = re.search(r"domain: (\w+)", conf)
    host = overlay.one("WasmCloudHostConfig", "wasmcloud-host")["spec"]
    fact(domain and host.get("jetstreamDomain") == domain.group(1), "hosts use the hub's domain")
    ports = {p["name"]: p["port"] for p in overlay.one("Service", "nats-hub")["spec"].get("ports", [])}
    fact(host.get("natsClientPort") == ports.get("client"), "the operator finds the hub's port")
    fact(f":{ports.get('leafnode')}" in files.get("leafnodes.conf", ""), "leaf nodes have a port")
    remote = overlay.config("host-leaf").get("remote.conf", "")
    fact(f"nats-hub.{NAMESPACE}.svc.cluster.local:{ports.get('leafnode')}" in remote, "and find it")
    for probe in PROBES:
        fact(first_container(hub).get(probe), f"the hub has a {probe}")


def check_hosts(overlay):
    config = overlay.one("WasmCloudHostConfig", "wasmcloud-host")
    spec = config["spec"]
    fact(config.get("apiVersion") == "k8s.wasmcloud.dev/v1alpha1", "hosts are of the v1 operator")
    for required in ("lattice", "version"):
        fact(isinstance(spec.get(required), str), f"hosts have a {required}, which is required")
    for image in ("image", "natsLeafImage"):
        fact(pinned(spec.get(image, "")), f"hosts have a pinned {image}")
    fact(spec.get("allowLatest") is False, "hosts take no `latest`")
    labels = spec.get("hostLabels", {})
    fact(labels.get("valkey") == f"valkey.{NAMESPACE}.svc.cluster.local", "hosts know the store")
    fact("kubernetes" not in labels, "the label kubernetes is left to the operator")
    bad = [v for v in labels.values() if not re.fullmatch(r"[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?", v)]
    fact(not bad, f"host labels can be pod labels, unlike {bad}")
    fact(spec.get("secretsTopicPrefix") == "wasmcloud.secrets", "hosts ask the secrets backend")
    scheduling = spec.get("schedulingOptions", {})
    additions = scheduling.get("containerTemplateAdditions", {})
    leaf = " ".join(additions.get("nats", {}).get("command", []))
    fact("/etc/nats-leaf/leaf.conf" in leaf, "the hosts' leaf node has our configuration")
    watch = additions.get("wasmcloud", {}).get("livenessProbe", {}).get("exec", {}).get("command", [])
    fact(any(w.endswith("hub-watch.sh") for w in watch), "hosts that lost the hub are restarted")
    volumes = scheduling.get("podTemplateAdditions", {}).get("volumes", [])
    names = {o["metadata"]["name"] for o in overlay.kind("ConfigMap")}
    fact(
        all(v["configMap"]["name"] in names for v in volumes if "configMap" in v),
        "the hosts have their ConfigMaps",
    )
    for name in ("leaf.conf", "remote.conf", "hub-watch.sh"):
        fact(name in overlay.config("host-leaf"), f"the hosts' leaf node has {name}")


def check_application(overlay, manifest):
    fact(manifest.get("apiVersion") == "core.oam.dev/v1beta1", "the application is one")
    annotations = manifest["metadata"].get("annotations", {})
    fact(annotations.get("version") and annotations.get("description"), "it says what it is")
    spec = manifest["spec"]
    components = {c["name"]: c for c in spec["components"]}
    policies = {p["name"]: p["properties"] for p in spec.get("policies", [])}
    host = overlay.one("WasmCloudHostConfig", "wasmcloud-host")["spec"]
    for component in components.values():
        image = component["properties"]["image"]
        fact(
            image.startswith("wasmcloud+builtin://") or pinned(image),
            f"{component['name']} has a pinned image",
        )
        registry = image.split("/")[0]
        if ":" in registry and "//" not in image:
            fact(registry in host.get("allowedInsecure", []), f"hosts may fetch from {registry}")
        for link in (t["properties"] for t in component["traits"] if t["type"] == "link"):
            target = link["target"]
            fact(target["name"] in components, f"{component['name']} links to what there is")
            for config in target.get("config", []):
                for label in re.findall(r"\{label:(\w+)\}", " ".join(config["properties"].values())):
                    fact(label in host.get("hostLabels", {}), f"hosts have the label {label}")
            for secret in target.get("secrets", []):
                properties = secret["properties"]
                policy = policies.get(properties["policy"], {})
                fact(policy.get("namespace") == NAMESPACE, "the store's password is looked up here")
                wanted = (properties["key"], properties.get("field"))
                fact(wanted == ("valkey-auth", "password"), "and in the Secret that Valkey uses")
    reader = overlay.one("Role", "secrets-backend").get("rules", [{}])[0]
    fact(reader.get("resourceNames") == ["valkey-auth"], "the backend reads that Secret alone")
    fact("keyvalue-valkey" in components and "cloud-hello" in components, "it has page and store")


def kinds_of_hosts(overlay):
    """The labels that wadm places by, of every kind of host that the application has."""
    spec = overlay.one("WasmCloudHostConfig", "wasmcloud-host")["spec"]
    # The operator itself adds the label kubernetes.
    kinds = {"Kubernetes": {**spec.get("hostLabels", {}), "kubernetes": "true"}}
    if overlay.name == "production":
        start = (DEPLOY / "fly/start.sh").read_text()
        kinds["Fly.io"] = dict(re.findall(r"--label \"?([\w_]+)=([^\s\"]+)", start))
    return kinds


def store_link(manifest):
    """What cloud-hello's link to the store says, but for the names of its configs."""
    traits = next(c for c in manifest["spec"]["components"] if c["name"] == "cloud-hello")["traits"]
    links = [t["properties"] for t in traits if t["type"] == "link"]
    link = next(each for each in links if each["target"]["name"] == "keyvalue-valkey")
    target = link["target"]
    values = {}
    for config in target.get("config", []):
        values.update(config["properties"])
    secrets = {s["name"]: s["properties"] for s in target.get("secrets", [])}
    return {"interfaces": link["interfaces"], "config": values, "secrets": secrets}


def check_places(overlay, manifest):
    """Wherever the store's provider is placed, the host says which store and whose it is."""
    config = store_link(manifest)["config"]
    replicated = config.get("mode") == "replicated"
    wanted = set(re.findall(r"\{label:(\w+)\}", " ".join(config.values())))
    if replicated:
        wanted.add("region")
    components = {c["name"]: c for c in manifest["spec"]["components"]}
    traits = components["keyvalue-valkey"]["traits"]
    scaler = next(t["properties"] for t in traits if t["type"] == "daemonscaler")
    kinds = kinds_of_hosts(overlay)
    placed = []
    for place in scaler["spread"]:
        requirements = place["requirements"].items()
        found = [kind for kind, labels in kinds.items() if requirements <= labels.items()]
        fact(found, f"there are hosts at {place['name']}, where the store's provider is placed")
        for kind in found:
            missing = sorted(wanted - kinds[kind].keys())
            fact(not missing, f"hosts on {kind} have a store's labels, not without {missing}")
        placed += found
    fact(len(placed) == len(set(placed)), "no host is told twice to run the store's provider")
    if replicated:
        fact(set(placed) == set(kinds), f"every region has a store, not only those on {placed}")
    else:
        fact(len(placed) == 1, "without `mode: replicated` there is one store")
    fact(scaler.get("instances") == 1, "a host has one provider of the store")
    region = kinds["Kubernetes"].get("region", "")
    fact(re.fullmatch(r"[a-z0-9-]{1,32}", region), "the region's name is one that replication takes")


def check_kind(overlay, manifest):
    here = DEPLOY / "k8s/overlays/kind"
    port = overlay.one("Service", "cloud-hello")["spec"].get("ports", [{}])[0]
    fact(f"containerPort: {port.get('nodePort')}" in (here / "cluster.yaml").read_text(), "kind maps the page")
    http = next((c for c in manifest["spec"]["components"] if c["name"] == "http-server"), {})
    fact(f":{port.get('targetPort')}" in json.dumps(http), "the page is where its Service looks")
    roles = [o for o in overlay.kind("ClusterRole") if {"nodes"} == set(o["rules"][0]["resources"])]
    fact(len(roles) == 1, "kind-metadata may read nodes")
    host = overlay.one("WasmCloudHostConfig", "wasmcloud-host")["spec"]
    fact("builtin-http-server" in json.dumps(host), "hosts have the built-in HTTP server")
    fact(host.get("schedulingOptions", {}).get("daemonset") is True, "every node has a host")


def check_production(overlay, _manifest):
    tls = overlay.config("nats-hub").get("leafnodes.conf", "")
    fact("cert_file" in tls and "key_file" in tls, "leaf nodes connect over TLS")
    remote = overlay.config("host-leaf").get("remote.conf", "")
    fact("tls://" in remote and "credentials" in remote, "the hosts' leaf nodes too")
    for workload, secrets in (
        (overlay.one("StatefulSet", "nats-hub"), {"nats-hub-auth", "nats-hub-tls"}),
        (overlay.one("Deployment", "wadm"), {"nats-creds"}),
        (overlay.one("Deployment", "secrets-backend"), {"nats-creds"}),
    ):
        missing = secrets - mounted_secrets(workload)
        fact(not missing, f"{workload['metadata']['name']} has the Secrets, not without {missing}")
    host = overlay.one("WasmCloudHostConfig", "wasmcloud-host")["spec"]
    fact(host.get("secretName") == "nats-creds", "the operator has credentials")
    exposed = overlay.one("Service", "nats-hub-leafnode")["spec"].get("ports", [])
    fact([p["port"] for p in exposed] == [7422], "only the leaf node port is exposed")


def main():
    name, rendered, application, wadm = sys.argv[1:]
    overlay = Overlay(name, objects(rendered))
    manifest = next(objects(application))
    check_everything(overlay)
    check_store(overlay)
    check_hub(overlay)
    check_hosts(overlay)
    check_application(overlay, manifest)
    check_places(overlay, manifest)
    fact(store_link(manifest) == store_link(next(objects(wadm))), "the store is linked as in wadm.yaml")
    {"kind": check_kind, "production": check_production}[name](overlay, manifest)
    for sentence in dict.fromkeys(broken):
        print(f"  FAILED: overlay {name}: does not hold: {sentence}", file=sys.stderr)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
