#!/bin/sh
# Build CPython for musl from Debian's sources, and write a command `python` that runs it, into a
# folder: `sh tools/wheels/x86_64_musl_python.sh FOLDER`. No registry has one. ZIG is the compiler.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
version=3.13
tools=$(cd "$(dirname "$0")/.." && pwd)
: "${ZIG:?the path of zig}"

apt_folder=$folder/apt
apt_suites=stable
apt_kinds='deb deb-src'
# shellcheck source=tools/debian.sh
. "$tools/debian.sh"
debian update
unpack "$folder/debian" musl
mkdir -p "$folder/source/zlib"
(cd "$apt_folder" && debian source --download-only "python$version" zlib)
tar -xf "$apt_folder/python$version"_*.orig.tar.xz -C "$folder/source" --strip-components=1
tar -xf "$apt_folder"/zlib_*.orig.tar.gz -C "$folder/source/zlib" --strip-components=1
rm -r "$apt_folder"

# The programs name musl's loader here, so that they run on a machine without musl.
cd "$folder/source"
printf '#!/bin/sh\nexec "%s" cc -target x86_64-linux-musl -dynamic -Wl,--dynamic-linker=%s "$@"\n' \
	"$ZIG" "$folder/debian/usr/lib/ld-musl-x86_64.so.1" >cc
chmod +x cc
export CC="$PWD/cc" AR="$ZIG ar"
(cd zlib && ./configure --static && make --silent CFLAGS='-O1 -fPIC' libz.a)
# zig refuses to compile the date of a build. What this Python is for needs no speed, and of other
# libraries only zlib: pip unpacks a wheel with it.
./configure --quiet --prefix="$folder" --without-ensurepip --disable-test-modules \
	--with-pkg-config=no ZLIB_CFLAGS="-I$PWD/zlib" ZLIB_LIBS="$PWD/zlib/libz.a" \
	OPT='-O1 -Wno-date-time'
make --silent --jobs=2 install
cd "$folder"
rm -r source
ln -s "bin/python$version" python
./python -c 'import zlib'
