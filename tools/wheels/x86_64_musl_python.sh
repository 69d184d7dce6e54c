#!/bin/sh
# Write a command `python` into a folder that runs CPython with musl as its C library. Debian has no
# such package, so this compiles Debian's source with zig: `sh tools/wheels/x86_64_musl_python.sh FOLDER`.
# The Python that starts it has zig: PYTHON names it.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
tools=$(cd "$(dirname "$0")/.." && pwd)
version=3.14

apt_folder=$folder/apt
apt_suites=testing
apt_kinds='deb deb-src'
# shellcheck source=tools/debian.sh
. "$tools/debian.sh"
debian update
mkdir -p "$folder/source/python" "$folder/source/zlib"
(cd "$apt_folder" && debian source --download-only "python$version" zlib && debian download musl)
tar -xf "$apt_folder"/python"$version"_*.orig.tar.* -C "$folder/source/python" --strip-components=1
tar -xf "$apt_folder"/zlib_*.orig.tar.* -C "$folder/source/zlib" --strip-components=1
dpkg-deb --extract "$apt_folder"/musl_*.deb "$folder/musl"
rm -r "$apt_folder"

printf '#!/bin/sh\nexec "%s" -m ziglang cc -target x86_64-linux-musl "$@"\n' "$PYTHON" >"$folder/cc"
printf '#!/bin/sh\nexec "%s" -m ziglang ar "$@"\n' "$PYTHON" >"$folder/ar"
chmod +x "$folder/cc" "$folder/ar"
export CC="$folder/cc" AR="$folder/ar"

cd "$folder/source/zlib"
./configure --static --prefix="$folder/zlib" >"$folder/log"
make -j2 install >>"$folder/log" 2>&1

cd "$folder/source/python"
loader=$(echo "$folder"/musl/lib/ld-musl-*.so.1 "$folder"/musl/usr/lib/ld-musl-*.so.1 | tr ' ' '\n' | grep -v '\*' | head -n 1)
# The programs that the build starts need the loader, which this machine has not.
./configure --prefix="$folder/installed" --without-ensurepip --disable-test-modules \
	--build=x86_64-linux-gnu --host=x86_64-linux-musl --with-build-python="$PYTHON_BUILD" \
	ac_cv_file__dev_ptmx=yes ac_cv_file__dev_ptc=no LDFLAGS=-dynamic \
	ZLIB_CFLAGS="-I$folder/zlib/include" ZLIB_LIBS="$folder/zlib/lib/libz.a" >>"$folder/log"
make -j2 >>"$folder/log" 2>&1
make install >>"$folder/log" 2>&1
printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$loader" "$folder/installed/bin/python$version" >"$folder/python"
chmod +x "$folder/python"
"$folder/python" -c 'import zlib, socket'
