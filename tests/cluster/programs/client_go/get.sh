#!/bin/sh
# Bring Go and client-go from Debian sid into a directory of their own, for tests/cluster/test_client_go.py; nothing is
# installed. usage: get.sh [DIRECTORY]   55 MB to fetch, 350 MB on disk; the first build takes minutes.
set -eu
target=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/proa-go}
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' | grep -v security | head -n 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/sources" "$work/debs" "$target"
cat > "$work/sources/sid.sources" <<END
Types: deb
URIs: $mirror
Suites: sid
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
cat > "$work/apt.conf" <<END
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$work/sources";
Dir::State::lists "$work/lists";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
END
export APT_CONFIG="$work/apt.conf"
apt-get update -qq
cd "$work/debs"
apt-get download -qq \
  golang-1.26-go golang-1.26-src \
  golang-k8s-api-dev golang-k8s-apimachinery-dev golang-k8s-client-go-dev golang-k8s-klog-dev \
  golang-k8s-kube-openapi-dev golang-k8s-streaming-dev golang-k8s-utils-dev \
  golang-k8s-sigs-json-dev golang-k8s-sigs-randfill-dev golang-k8s-sigs-structured-merge-diff-v6-dev golang-k8s-sigs-yaml-dev \
  golang-golang-x-net-dev golang-golang-x-oauth2-dev golang-golang-x-sys-dev golang-golang-x-term-dev \
  golang-golang-x-text-dev golang-golang-x-time-dev golang-google-protobuf-dev \
  golang-gopkg-inf.v0-dev golang-gopkg-yaml.v2-dev golang-gopkg-yaml.v3-dev \
  golang-github-davecgh-go-spew-dev golang-github-docker-spdystream-dev golang-github-emicklei-go-restful-dev \
  golang-github-evanphx-json-patch-dev golang-github-fxamacker-cbor-dev golang-github-go-logr-logr-dev golang-github-go-openapi-jsonpointer-dev \
  golang-github-go-openapi-jsonreference-dev golang-github-go-openapi-swag-dev golang-github-google-gnostic-models-dev \
  golang-github-google-uuid-dev golang-github-gorilla-websocket-dev golang-github-josharian-intern-dev \
  golang-github-json-iterator-go-dev golang-github-mailru-easyjson-dev golang-github-modern-go-concurrent-dev \
  golang-github-modern-go-reflect2-dev golang-github-munnerz-goautoneg-dev golang-github-mxk-go-flowrate-dev \
  golang-github-pkg-errors-dev golang-github-pmezard-go-difflib-dev golang-github-spf13-pflag-dev \
  golang-github-x448-float16-dev
for package in *.deb; do dpkg -x "$package" "$target"; done
rm -rf "$target"/usr/share/doc "$target"/usr/share/go-*/test
echo "$target"
