#!/bin/sh
# Write a command `python` into a folder that runs Debian testing's Python for AArch64 in qemu. Both
# are unpacked into the same folder: `sh tools/wheels/aarch64_gnu_python.sh FOLDER`.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
version=3.14
tools=$(cd "$(dirname "$0")/.." && pwd)

fetch() {
	apt_folder=$folder/apt
	apt_suites=testing
	# shellcheck source=tools/debian.sh
	. "$tools/debian.sh"
	debian update
}

# qemu comes from the machine's own architecture; as a static program it needs no library.
fetch
(cd "$apt_folder" && debian download qemu-user)
dpkg-deb --extract "$apt_folder"/qemu-user_*.deb "$folder/qemu"
rm -r "$apt_folder"

apt_architecture=arm64
fetch
unpack "$folder/debian" "python$version"
rm -r "$apt_folder"
# The packages have their libraries in /usr/lib only.
[ -e "$folder/debian/lib" ] || ln -s usr/lib "$folder/debian/lib"

# As in tools/python.sh, Python finds its library from its name.
ln -sfn debian/usr/lib "$folder/lib"
printf '#!/bin/sh\nexec "%s" -0 "$0" -L "%s" "%s" "$@"\n' \
	"$folder/qemu/usr/bin/qemu-aarch64" "$folder/debian" \
	"$folder/debian/usr/bin/python$version" >"$folder/python"
chmod +x "$folder/python"
"$folder/python" -c 'import platform, ssl; assert platform.machine() == "aarch64"'
