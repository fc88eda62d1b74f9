#!/bin/sh
# schemathesis.sh BINARY [ARGUMENTS]: every phase against a fresh node on a folder of its own.
#
# Streams are left out (watch, export, import): the tool waits for their end. So are the two that
# change agents in the main run, because revoking the agent of the run locks the run out; they have a
# run of their own. One kind of credentials is taken out of the document, because the tool makes up
# the other beside the one it is given, and a request with both is refused. The time limit is set,
# because a random min_position is waited for. Slow generation on a busy machine is no failure.
set -eu
binary=$1
shift
failed=0
folder=$(mktemp -d)
umask 077
printf 'api-secret-of-the-run' > "$folder/api.key"
printf 'operator-secret-of-the-run' > "$folder/operator.key"
port=${PORT:-7799}
"$binary" --data-dir "$folder/data" --set "server.listen=127.0.0.1:$port" \
    --set "auth.api_key_file=$folder/api.key" --set "auth.operator_key_file=$folder/operator.key" \
    --set "backup.folder=$folder/backups" serve 2> "$folder/log" &
node=$!
trap 'kill "$node"' EXIT
until curl -sf "http://127.0.0.1:$port/readyz" > /dev/null; do kill -0 "$node"; done
curl -sf "http://127.0.0.1:$port/api/v1/openapi.json" | python3 -c '
import json, sys
document = json.load(sys.stdin)
document["security"] = [s for s in document["security"] if "bearer" in s]
json.dump(document, sys.stdout)' > "$folder/openapi.json"

run() {
    schemathesis run "$folder/openapi.json" --url "http://127.0.0.1:$port" --seed 1 \
        --checks not_a_server_error,response_schema_conformance,content_type_conformance,response_headers_conformance \
        --continue-on-failure --suppress-health-check all --request-timeout 20 --header "X-Timeout-Ms: 2000" \
        --header "Authorization: Bearer operator-secret-of-the-run" "$@"
}
run --header "X-Agent-Id: schemathesis" --max-examples "${EXAMPLES:-15}" \
    --exclude-path /api/v1/watch --exclude-path /api/v1/export --exclude-path /api/v1/import \
    --exclude-operation-id put_agent --exclude-operation-id revoke_agent "$@" || failed=1
run --header "X-Agent-Id: schemathesis" --max-examples "${EXAMPLES:-15}" \
    --include-operation-id put_agent --include-operation-id revoke_agent "$@" || failed=1
exit "$failed"
