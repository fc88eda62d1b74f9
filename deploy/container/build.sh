#!/usr/bin/env bash
# Builds an image without a daemon and without a base image: the binary, the shared libraries it needs, nothing else.
#   deploy/container/build.sh target/release/hivemem [NAME] [oci-archive:FILE]
# Needs buildah. With a third word the image is also written there.
set -euo pipefail

binary=${1:?usage: build.sh BINARY [NAME] [DESTINATION]}
name=${2:-hivemem}
destination=${3:-}

root=$(mktemp -d)
# It becomes the root of the image, which its user must be able to enter.
chmod 0755 "$root"
container=$(buildah from scratch)
trap 'rm -rf "$root"; buildah rm "$container" >/dev/null' EXIT

install -D -m 0755 "$binary" "$root/usr/local/bin/hivemem"
# Every library that the loader names, at the same place.
ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
    install -D -m 0755 "$(realpath "$library")" "$root$library"
done
install -d -m 1777 "$root/tmp"

buildah copy --quiet "$container" "$root" / >/dev/null
# Copies belong to root, but for this one, where the node writes.
install -d -m 0700 "$root/data"
buildah copy --quiet --chown 65532:65532 "$container" "$root/data" /data >/dev/null
buildah config \
    --user 65532:65532 \
    --workingdir /data \
    --volume /data \
    --port 7747 \
    --env HIVEMEM_DATA_DIR=/data \
    --entrypoint '["/usr/local/bin/hivemem"]' \
    --cmd serve \
    --stop-signal SIGTERM \
    --label org.opencontainers.image.title=hivemem \
    --label org.opencontainers.image.licenses='MIT OR Apache-2.0' \
    "$container"
buildah commit --quiet "$container" "$name"
if [ -n "$destination" ]; then
    buildah push --quiet "$name" "$destination"
fi
