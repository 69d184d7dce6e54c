#!/bin/sh
# Write a command `python` into a folder that runs a version of Python: the one on the PATH, or else
# that of Debian testing, unpacked into the same folder. It installs nothing, and needs no root:
# `sh tools/python.sh FOLDER VERSION`.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
version=$2

if "python$version" -c '' 2>/dev/null; then
	printf '#!/bin/sh\nexec python%s "$@"\n' "$version" >"$folder/python"
	chmod +x "$folder/python"
	exit
fi

apt_folder=$folder/apt
apt_suites=testing
# shellcheck source=tools/debian.sh
. "$(dirname "$0")/debian.sh"
debian update
unpack "$folder/debian" "python$version"
rm -r "$folder/apt"

# Its C library is newer than the machine's, so it needs its own loader. Python takes its name for
# itself, and finds its library from there: so `python` starts itself again, also from an environment.
root=$folder/debian
ln -sfn debian/usr/lib "$folder/lib"
loader=$(echo "$root"/usr/lib*/ld-linux-*.so.*)
libraries=$(dirname "$(echo "$root"/usr/lib/*/libc.so.6)")
printf '#!/bin/sh\nexec "%s" --argv0 "$0" --library-path "%s" "%s" "$@"\n' \
	"$loader" "$libraries" "$root/usr/bin/python$version" >"$folder/python"
chmod +x "$folder/python"
"$folder/python" -c 'import ssl'
