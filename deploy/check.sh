#!/usr/bin/env bash
# Checks everything in deploy/ that can be checked without a cluster or a Fly account:
#   - scripts parse, and pass shellcheck where there is one;
#   - fly.toml, the Dockerfile and wadm.yaml agree (fly/facts.py);
#   - every NATS configuration is accepted by nats-server, and the limits are the same in all;
#   - every overlay renders, and the facts that matter hold in what it renders (k8s/facts.py);
#   - wash accepts every application manifest, without a warning;
#   - start.sh and hub-watch.sh work with real NATS servers and a real Valkey (fly/test-start.sh);
#   - the store's start script, configuration and probes work with a real Valkey
#     (k8s/test-valkey.sh).
# Needs bash, python3, nats-server and valkey-server; the last two from NATS_SERVER and
# VALKEY_SERVER, .tools/bin (`make setup`) or the PATH. What needs kubectl, openssl, shellcheck
# or wash 0.43 is skipped by name where they are missing. Takes about a minute; `check.sh --quick`
# leaves the two test scripts out.
set -euo pipefail

deploy=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$deploy")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
skipped=()
quick=no
[ "${1:-}" != --quick ] || quick=yes

section() { echo "deploy: $*"; }
failed() {
  echo "  FAILED: $*" >&2
  failures=$((failures + 1))
}
skip() {
  skipped+=("$*")
  echo "  SKIPPED: $*" >&2
}
have() { command -v "$1" >/dev/null 2>&1; }

# tool NAME VALUE: the path of a server binary.
tool() {
  local name=$1 given=$2 found
  for found in "$given" "$root/.tools/bin/$name" "$(command -v "$name" || true)"; do
    if [ -n "$found" ] && [ -x "$found" ]; then
      echo "$found"
      return
    fi
  done
  echo "check.sh: no $name: run \`make setup\`" >&2
  exit 1
}
NATS_SERVER=$(tool nats-server "${NATS_SERVER:-}")
VALKEY_SERVER=$(tool valkey-server "${VALKEY_SERVER:-}")
export NATS_SERVER VALKEY_SERVER

check_scripts() {
  section "scripts parse"
  local script shell
  while read -r script; do
    shell="sh"
    [ "$(head -n 1 "$script")" != '#!/usr/bin/env bash' ] || shell=bash
    "$shell" -n "$script" || failed "$script"
    if have shellcheck; then shellcheck "$script" || failed "shellcheck $script"; fi
  done < <(find "$deploy" -name '*.sh')
  have shellcheck || skip "shellcheck of the scripts: no shellcheck on the PATH"
}

# limits FILE: the settings that have to be the same on every NATS server.
limits() { grep -E '^(ping_interval|ping_max|max_payload):' "$1" | sort; }

# nats_accepts DIRECTORY FILE SENTENCE
nats_accepts() {
  (
    cd "$1"
    LEAF_NAME=leaf-one LEAF_PORT=4222 LEAF_MONITOR_PORT=8222 "$NATS_SERVER" -t -c "$2"
  ) >"$work/nats.log" 2>&1 || {
    failed "nats-server does not accept $3"
    cat "$work/nats.log" >&2
  }
}

check_nats() {
  section "NATS configurations are accepted, with the same limits everywhere"
  local conf overlay there
  for conf in nats/leaf.conf fly/nats-leaf.conf; do
    [ "$(limits "$deploy/$conf")" = "$(limits "$deploy/nats/hub.conf")" ] ||
      failed "$conf has other limits than nats/hub.conf"
  done
  [ "$(limits "$deploy/nats/hub.conf" | wc -l)" -eq 3 ] || failed "nats/hub.conf lacks a limit"

  mkdir "$work/fly"
  cp "$deploy/fly/nats-leaf.conf" "$work/fly/"
  echo 'url: "tls://hub.example.com:7422"' >"$work/fly/remote.conf"
  nats_accepts "$work/fly" nats-leaf.conf "fly/nats-leaf.conf"

  for overlay in "$deploy"/k8s/overlays/*/; do
    there="$work/nats-$(basename "$overlay")"
    mkdir "$there"
    cp "$deploy"/nats/*.conf "$overlay"/*.conf "$there/"
    # In production this comes from a Secret, and so do the certificates.
    [ -f "$there/auth.conf" ] || echo '# none' >"$there/auth.conf"
    sed -i -e "s#/etc/nats/#$there/#" -e "s#/etc/nats-ca/#$there/#" -e "s#/data#$there/js#" "$there"/*.conf
    if grep -q tls "$there"/*.conf; then
      if ! have openssl; then
        skip "NATS configurations of overlay $(basename "$overlay"): no openssl on the PATH"
        continue
      fi
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 \
        -subj /CN=nats-hub -keyout "$there/tls.key" -out "$there/tls.crt" 2>/dev/null
      cp "$there/tls.crt" "$there/ca.crt"
    fi
    nats_accepts "$there" hub.conf "nats/hub.conf with overlay $(basename "$overlay")"
    nats_accepts "$there" leaf.conf "nats/leaf.conf with overlay $(basename "$overlay")"
  done
}

# The manifest, or rendered objects, as JSON. kubectl has no converter of its own; this one
# works for every kind without a cluster and adds an annotation.
as_json() { kubectl annotate --local -f "$1" -o json converted=yes; }

check_overlays() {
  section "every overlay renders and says what it should"
  if ! have kubectl; then
    local overlay
    for overlay in "$deploy"/k8s/overlays/*/; do
      skip "overlay $(basename "$overlay"): no kubectl on the PATH"
    done
    return
  fi
  local name application
  as_json "$root/wadm.yaml" >"$work/wadm.json" || {
    failed "wadm.yaml is not what kubectl can read"
    return
  }
  for overlay in "$deploy"/k8s/overlays/*/; do
    name=$(basename "$overlay")
    application="$overlay/application.yaml"
    [ -f "$application" ] || application="$root/wadm.yaml"
    if ! kubectl kustomize "$overlay" >"$work/$name.yaml"; then
      failed "overlay $name does not render"
    elif ! as_json "$work/$name.yaml" >"$work/$name.json" ||
      ! as_json "$application" >"$work/$name.application.json"; then
      failed "overlay $name is not what kubectl can read"
    else
      python3 "$deploy/k8s/facts.py" "$name" "$work/$name.json" "$work/$name.application.json" \
        "$work/wadm.json" || failed "overlay $name"
    fi
  done
}

# wash_accepts MANIFEST: wash exits with 0 even where it says that a manifest is invalid, so its
# answer is read. Image references it does not look up: it takes `file://` and the builtin
# providers for registries, too.
wash_accepts() {
  HOME="$work/home" wash app validate "$1" --output json >"$work/wash.json" &&
    python3 - "$work/wash.json" <<'PYTHON'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as answer:
    answer = json.load(answer)
findings = answer["errors"] + answer["warnings"]
for finding in findings:
    print(f"  {finding['level']}: {finding['msg']}", file=sys.stderr)
sys.exit(answer["valid"] is not True or bool(findings))
PYTHON
}

check_applications() {
  section "wash accepts every application manifest"
  local manifest version=none
  local manifests=("$root/wadm.yaml" "$root/local.wadm.yaml" "$root/local-single-store.wadm.yaml" "$deploy"/k8s/overlays/*/application.yaml)
  ! have wash || version=$(HOME="$work/home" wash --version | awk 'NR == 1 { print $2 }')
  if [[ $version != v0.43.* ]]; then
    skip "wash app validate of ${manifests[*]#"$root/"}: no wash 0.43 on the PATH (found: $version)"
    return
  fi
  for manifest in "${manifests[@]}"; do
    wash_accepts "$manifest" || failed "wash app validate ${manifest#"$root/"}"
  done
}

check_fly() {
  section "fly.toml, the Dockerfile, start.sh and wadm.yaml agree"
  local manifest=-
  if have kubectl; then
    manifest="$work/wadm.json"
    as_json "$root/wadm.yaml" >"$manifest" || failed "wadm.yaml is not what kubectl can read"
  else
    skip "fly.toml against wadm.yaml: no kubectl on the PATH"
  fi
  python3 "$deploy/fly/facts.py" "$manifest" || failed "deploy/fly"
}

run_tests() {
  local script
  for script in fly/test-start.sh k8s/test-valkey.sh; do
    section "$script"
    timeout 180 "$deploy/$script" >"$work/test.log" 2>&1 || {
      failed "$script"
      cat "$work/test.log" >&2
    }
  done
}

check_scripts
check_nats
check_overlays
check_applications
check_fly
[ "$quick" = yes ] || run_tests

for sentence in ${skipped[@]+"${skipped[@]}"}; do echo "deploy: NOT CHECKED: $sentence" >&2; done
if [ "$failures" -gt 0 ]; then
  echo "deploy: $failures failed" >&2
  exit 1
fi
echo "deploy: all passed, ${#skipped[@]} skipped"
