#!/bin/sh
# Sets up an apt of its own, apart from the machine's, for a script that sources this file. It takes
# apt_folder, where the lists and packages go, and apt_suites. `debian` is then an apt-get, and
# `unpack ROOT PACKAGE...` unpacks packages and what they need. It needs no root, and installs nothing.
apt_architecture=${apt_architecture:-$(dpkg --print-architecture)}

mkdir -p "$apt_folder/lists/partial" "$apt_folder/archives/partial"
apt_mirror=$(apt-get indextargets --format '$(REPO_URI)' \
	'Created-By: Packages' 'Label: Debian' 'Component: main' | head -n 1)
if [ -z "$apt_mirror" ]; then
	echo 'This machine has no Debian mirror.' >&2
	exit 1
fi
: >"$apt_folder/status"
for suite in $apt_suites; do
	for kind in ${apt_kinds:-deb}; do
		echo "$kind [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $apt_mirror $suite main"
	done
done >"$apt_folder/sources.list"

debian_tool() {
	tool=$1
	shift
	"$tool" -o Dir::State="$apt_folder" -o Dir::State::status="$apt_folder/status" \
		-o Dir::Cache="$apt_folder" -o Dir::Etc::sourcelist="$apt_folder/sources.list" \
		-o Dir::Etc::sourceparts=- -o Acquire::Languages=none -o APT::Sandbox::User=root \
		-o APT::Architecture="$apt_architecture" -o APT::Architectures="$apt_architecture" "$@"
}

debian() {
	debian_tool apt-get -qq "$@"
}

unpack() {
	apt_root=$1
	shift
	debian install --yes --download-only --no-install-recommends "$@"
	mkdir -p "$apt_root"
	for package in "$apt_folder"/archives/*.deb; do
		dpkg-deb --extract "$package" "$apt_root"
	done
}
