"""Checks fly.toml, the Dockerfile and what they share with wadm.yaml and start.sh.

    facts.py WADM

WADM is wadm.yaml as JSON, or `-` where nothing could convert it. Prints each fact that does
not hold and ends with 1 when there is one.
"""

import json
import re
import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11; pip brings its own
    from pip._vendor import tomli as tomllib

FLY = Path(__file__).resolve().parent
K8S = FLY.parent / "k8s"
VALKEY = K8S / "base/valkey"
broken = []


def fact(holds, sentence):
    if not holds:
        broken.append(sentence)


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m)", text or "0s").groups()
    return int(number) * (60 if unit == "m" else 1)


def megabytes(text):
    number, unit = re.fullmatch(r"(\d+)(mb|gb)", text or "0mb").groups()
    return int(number) * (1024 if unit == "gb" else 1)


def check_toml(config):
    http = config.get("http_service", {})
    fact(config.get("kill_signal") == "SIGTERM", "Machines are stopped with SIGTERM")
    grace = sum(map(int, re.findall(r"_GRACE:-(\d+)", (FLY / "start.sh").read_text())))
    fact(config.get("kill_timeout", 0) >= max(15, grace + 5), "start.sh has the time to stop all")
    fact(http.get("auto_stop_machines") == "off", "no region is stopped when idle")
    concurrency = http.get("concurrency", {})
    fact(concurrency.get("type") == "requests", "requests are counted, not connections")
    fact(concurrency.get("soft_limit", 0) < concurrency.get("hard_limit", 0), "limits are set")
    checks = http.get("checks", [])
    fact(len(checks) == 1, "there is one check, of the service")
    for check in checks:
        fact(check.get("path") == "/health", "the check does not touch the store")
        fact(0 < seconds(check.get("interval")) <= 5, "a dead region is found within seconds")
        fact(0 < seconds(check.get("timeout")) <= 2, "and so is a hung one")
    policies = [r.get("policy") for r in config.get("restart", [])]
    fact(policies == ["always"], "a Machine whose start.sh ended is restarted")
    dockerfile = config.get("build", {}).get("dockerfile", "")
    fact((FLY / dockerfile).is_file(), "the Dockerfile is where fly.toml says")


def check_store(config, dockerfile, start):
    settings = (VALKEY / "valkey.conf").read_text()
    store = dict(re.findall(r"^(\S+) +(.*)$", settings, re.MULTILINE))
    fact(store.get("appendonly") == "yes", "the store has an append-only file")
    fact(store.get("appendfsync") == "always", "what the store answered is on its volume")
    fact(store.get("maxmemory-policy") == "noeviction", "the store never evicts")
    mounts = [m.get("destination") for m in config.get("mounts", [])]
    fact(mounts == [store.get("dir")], "the one volume is where the store keeps its file")
    limit = megabytes(store.get("maxmemory"))
    memory = sum(megabytes(vm.get("memory")) for vm in config.get("vm", []))
    fact(0 < 4 * limit <= memory, "the Machine has the memory to rewrite the store's file, twice over")
    volume = sum(megabytes(m.get("initial_size")) for m in config.get("mounts", []))
    fact(volume >= 3 * limit, "the volume has room for the store's file and its successor")
    version = re.search(r"^ARG VALKEY_VERSION=(\S+)$", dockerfile, re.MULTILINE)
    image = f"valkey/valkey:{version.group(1) if version else None}-"
    fact(image in (VALKEY / "statefulset.yaml").read_text(), "every region has the same Valkey")
    listen = re.findall(r"bind (\S+?)\\n", start)
    fact(listen == ["127.0.0.1"], "the store listens on loopback alone")
    fact("VALKEY_PASSWORD" not in config.get("env", {}), "the store's password is a secret")
    fact(re.search(r"unset .*VALKEY_PASSWORD", start), "no child inherits the store's password")
    hosts = (K8S / "components/wasmcloud-host/hostconfig.yaml").read_text()
    topic = re.search(r"^ +secretsTopicPrefix: (\S+)$", hosts, re.MULTILINE)
    fact(
        topic and f"WASMCLOUD_SECRETS_TOPIC:-{topic.group(1)}}}" in start,
        "hosts ask the secrets backend for the store's password",
    )


def check_dockerfile(text):
    versions = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    images = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    fact(len(images) > 1, "the image has stages")
    for image in images:
        resolved = re.sub(r"\$\{(\w+)\}", lambda m: versions.get(m.group(1), ""), image)
        tag = resolved.rsplit("/", 1)[-1].partition(":")[2]
        fact(re.match(r"\d+\.\d+", tag), f"the base image {resolved} is pinned")
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            fact((FLY.parent / source).is_file(), f"{source}, which the image copies, exists")
            ignored = (FLY.parent / ".dockerignore").read_text().split()
            fact(f"!{source}" in ignored, f"{source} is in the build's context")
    fact(re.search(r"^USER (?!root)", text, re.MULTILINE), "the image does not run as root")


def check_application(config, manifest):
    http = config.get("http_service", {})
    components = {c["name"]: c for c in manifest["spec"]["components"]}
    address = json.dumps(components["http-server"])
    fact(f":{http.get('internal_port')}\"" in address, "the page listens where Fly looks for it")
    labels = dict(re.findall(r"--label \"?([\w_]+)=([^\s\"]+)", (FLY / "start.sh").read_text()))
    for name in ("cloud-hello", "http-server", "fly-io-metadata"):
        scaler = next(t for t in components[name]["traits"] if t["type"] == "daemonscaler")
        for spread in scaler["properties"]["spread"]:
            fact(
                spread["requirements"].items() <= labels.items(),
                f"{name} is placed by labels that start.sh gives",
            )
        if name == "cloud-hello":
            limit = http.get("concurrency", {}).get("hard_limit")
            fact(scaler["properties"]["instances"] == limit, "Fly's hard limit is the host's")


def main():
    config = tomllib.loads((FLY / "fly.toml").read_text())
    check_toml(config)
    dockerfile = (FLY / "Dockerfile").read_text()
    check_dockerfile(dockerfile)
    check_store(config, dockerfile, (FLY / "start.sh").read_text())
    if sys.argv[1] != "-":
        check_application(config, json.loads(Path(sys.argv[1]).read_text()))
    for sentence in dict.fromkeys(broken):
        print(f"  FAILED: does not hold: {sentence}", file=sys.stderr)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
