#!/bin/sh
# Makes what compose.yaml needs below ./hive: an authority, certificates, keys, and of three peers a folder each.
# Needs hivemem on the PATH. Run it as the user whom the containers shall run as.
set -eu

umask 077
hive=${1:-hive}
mkdir -p "$hive"
hivemem pki init --dir "$hive/pki"
for key in api operator peer; do
    head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$hive/$key.key"
done
for node in n1 n2 n3; do
    hivemem pki issue "$node" --host "$node" --dir "$hive/pki"
    mkdir -p "$hive/$node/data"
    cp "$hive/pki/$node.crt" "$hive/$node/node.crt"
    cp "$hive/pki/$node.key" "$hive/$node/node.key"
    cp "$hive"/api.key "$hive"/operator.key "$hive"/peer.key "$hive/$node/"
    cat > "$hive/$node/hivemem.toml" <<TOML
data_dir = "/data"
[server]
listen = "0.0.0.0:7747"
tls_cert = "/etc/hivemem/node.crt"
tls_key = "/etc/hivemem/node.key"
tls_client_allowlist = "/etc/hivemem/clients"
[auth]
api_key_file = "/etc/hivemem/api.key"
operator_key_file = "/etc/hivemem/operator.key"
[federation]
peers_file = "/etc/hivemem/peers.toml"
peer_key_file = "/etc/hivemem/peer.key"
TOML
done
hivemem pki issue agent --dir "$hive/pki"
for node in n1 n2 n3; do
    # The row needs the identity, which is made in the data folder, and the certificate.
    hivemem --data-dir "$hive/$node/data" --set server.tls_cert="$hive/$node/node.crt" \
        --set server.tls_key="$hive/$node/node.key" \
        peers row --name "$node" --endpoint "$node:7747"
done > "$hive/peers.toml"
hivemem pki fingerprint "$hive/pki/agent.crt" > "$hive/clients"
for node in n1 n2 n3; do
    cp "$hive/peers.toml" "$hive/clients" "$hive/$node/"
done
echo "made $hive; start it with: docker compose up" >&2
