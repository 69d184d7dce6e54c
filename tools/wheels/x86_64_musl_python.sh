#!/bin/sh
# Build CPython for musl from Debian's source packages, and write a command `python` into a folder:
# `sh tools/wheels/x86_64_musl_python.sh FOLDER ZIG`. No registry has such a Python. zig compiles it,
# and Debian's musl runs it from the same folder: nothing is installed.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
zig=$2
target=x86_64-linux-musl

apt_folder=$folder/apt
apt_suites=stable
apt_kinds='deb deb-src'
# shellcheck source=tools/debian.sh
. "$(dirname "$0")/../debian.sh"
debian update
(
	cd "$apt_folder"
	debian download musl
	debian source --download-only python3.13 zlib
)
dpkg-deb --extract "$apt_folder"/musl_*.deb "$folder/musl"
mkdir -p "$folder/source" "$folder/zlib/lib"
for archive in "$apt_folder"/*.orig.tar.[gx]z; do
	tar --extract --file "$archive" --directory "$folder/source"
done
rm -r "$apt_folder"

for tool in cc ar; do
	case $tool in cc) options="-target $target" ;; *) options= ;; esac
	printf '#!/bin/sh\nexec "%s" %s %s "$@"\n' "$zig" $tool "$options" >"$folder/$tool"
	chmod +x "$folder/$tool"
done

# pip opens wheels with zlib.
cd "$folder"/source/zlib-*
for file in *.c; do
	"$folder/cc" -O1 -fPIC -DHAVE_UNISTD_H -c "$file"
done
"$folder/ar" rcs "$folder/zlib/lib/libz.a" ./*.o

# Quick to build, and not quick to run.
cd "$folder"/source/Python-*
./configure -q --build=x86_64-linux-musl --prefix="$folder/built" --without-ensurepip \
	--disable-test-modules CC="$folder/cc" AR="$folder/ar" RANLIB="$folder/ar s" OPT=-O1 \
	LDFLAGS="-dynamic -Wl,--dynamic-linker=$(echo "$folder"/musl/usr/lib/ld-musl-*.so.1)" \
	ZLIB_CFLAGS="-I$(echo "$folder"/source/zlib-*)" ZLIB_LIBS="-L$folder/zlib/lib -lz"
make -s install
cd "$folder"
rm -r source zlib
ln -s built/bin/python3 python
./python -c 'import zlib'
