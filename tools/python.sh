#!/bin/sh
# Write a command `python` into a folder that runs Python 3.14: the one on the PATH, or else that of
# Debian testing, unpacked into the same folder. It installs nothing, and needs no root.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)

if python3.14 -c '' 2>/dev/null; then
	printf '#!/bin/sh\nexec python3.14 "$@"\n' >"$folder/python"
	chmod +x "$folder/python"
	exit
fi

# The lists and packages of this apt are apart from those of the machine.
state=$folder/apt
root=$folder/debian
mkdir -p "$state/lists/partial" "$state/archives/partial" "$root"
mirror=$(apt-get indextargets --format '$(REPO_URI)' \
	'Created-By: Packages' 'Label: Debian' 'Component: main' | head -n 1)
if [ -z "$mirror" ]; then
	echo 'Python 3.14 is not on the PATH, and this machine has no Debian mirror to take it from.' >&2
	exit 1
fi
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keys] $mirror testing main" >"$state/sources.list"
: >"$state/status"
debian() {
	apt-get -qq -o Dir::State="$state" -o Dir::State::status="$state/status" \
		-o Dir::Cache="$state" -o Dir::Etc::sourcelist="$state/sources.list" \
		-o Dir::Etc::sourceparts=- -o Acquire::Languages=none "$@"
}
debian update
debian install --yes --download-only --no-install-recommends python3.14
for package in "$state"/archives/*.deb; do
	dpkg-deb --extract "$package" "$root"
done
rm -r "$state"

# Its C library is newer than the machine's, so it needs its own loader.
loader=$(echo "$root"/usr/lib*/ld-linux-*.so.*)
libraries=$(dirname "$(echo "$root"/usr/lib/*/libc.so.6)")
printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' \
	"$loader" "$libraries" "$root/usr/bin/python3.14" >"$folder/python"
chmod +x "$folder/python"
"$folder/python" -c 'import ssl'
