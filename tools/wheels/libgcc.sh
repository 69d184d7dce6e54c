#!/bin/sh
# Unpack Debian's libgcc for an architecture, named as Debian does: `sh tools/wheels/libgcc.sh FOLDER
# ARCHITECTURE`. It prints the path of the library.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
apt_architecture=$2
tools=$(cd "$(dirname "$0")/.." && pwd)

if [ ! -e "$folder/debian" ]; then
	apt_folder=$folder/apt
	apt_suites=stable
	# shellcheck source=tools/debian.sh
	. "$tools/debian.sh"
	debian update
	(cd "$apt_folder" && debian download libgcc-s1)
	dpkg-deb --extract "$apt_folder"/libgcc-s1_*.deb "$folder/part"
	mv "$folder/part" "$folder/debian"
	rm -r "$apt_folder"
fi
find "$folder/debian" -name libgcc_s.so.1
