#!/bin/sh
# Install a wheel in Debian's slim set, and run the demonstration: `sh tools/wheels/slim.sh FOLDER WHEEL`.
# The set is what a slim container image has: no compiler, and here no network. Needs root.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
wheel=$2
root=$folder/root

if [ ! -e "$folder/.made" ]; then
	apt_folder=$folder/apt
	apt_suites=stable
	# shellcheck source=tools/debian.sh
	. "$(dirname "$0")/../debian.sh"
	debian update
	(cd "$apt_folder" && debian download debootstrap)
	dpkg-deb --extract "$apt_folder"/debootstrap_*.deb "$folder/debootstrap"
	rm -rf "$apt_folder" "$root"
	DEBOOTSTRAP_DIR=$folder/debootstrap/usr/share/debootstrap \
		"$folder/debootstrap/usr/sbin/debootstrap" --variant=minbase --include=python3,python3-venv \
		stable "$root" "$apt_mirror" >"$folder/log"
	touch "$folder/.made"
fi

rm -rf "$root/wheels" "$root/tmp/env"
mkdir "$root/wheels"
cp "$wheel" "$root/wheels"
inside() {
	unshare --net chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp sh -euc "$1"
}
inside '
	for name in cc gcc clang rustc cargo; do
		! command -v $name
	done
	python3 -m venv /tmp/env
	/tmp/env/bin/pip install --quiet --no-index --no-deps --find-links /wheels mde-live-response
'
# The emulator needs loopback, which is down in a network of its own.
chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp sh -euc '
	cd /tmp
	rm -rf out
	/tmp/env/bin/python -m mde_live_response demo --save-to out >demo.txt
	/tmp/env/bin/python -m mde_live_response verify out >>demo.txt
	tail -n 1 demo.txt >&2
	. /etc/os-release
	echo "$PRETTY_NAME $(cat /etc/debian_version), $(python3 -V)"
'
