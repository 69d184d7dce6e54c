#!/bin/sh
# Make a copy of the Rust toolchain that also compiles for other targets:
# `sh tools/wheels/toolchain.sh FOLDER TARGET...`.
#
# The standard library of a target that the machine's toolchain has is copied with it. That of any
# other is built from Debian's source package of the same version of Rust, so this needs Debian's
# packages and crates only. The machine's own toolchain stays as it is. For a system other than
# Linux only its metadata is made: that is enough for `cargo check`, and needs nothing of it.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
shift
tools=$(cd "$(dirname "$0")/.." && pwd)
version=$(rustc -V | cut -d' ' -f2)
installed=$(rustc --print sysroot)
sysroot=$folder/$version

if [ ! -x "$sysroot/bin/rustc" ]; then
	mkdir -p "$sysroot.part"
	cp -a "$installed/bin" "$installed/lib" "$installed/libexec" "$sysroot.part"
	mv "$sysroot.part" "$sysroot"
fi

fetch_source() {
	[ ! -e "$folder/library" ] || return 0
	apt_folder=$folder/apt
	apt_suites='testing unstable stable-backports'
	# shellcheck source=tools/debian.sh
	. "$tools/debian.sh"
	debian update
	package=$(debian_tool apt-cache madison rust-src | tr -d ' ' | cut -d'|' -f2 |
		grep "^$version+" | head -n 1)
	if [ -z "$package" ]; then
		echo "Debian has no source of Rust $version." >&2
		exit 1
	fi
	(cd "$apt_folder" && debian download "rust-src=$package")
	dpkg-deb --extract "$apt_folder"/rust-src_*.deb "$folder/debian"
	mv "$folder/debian/usr/src/rustc-$version/library" "$folder/library"
	rm -r "$apt_folder" "$folder/debian"
	# A shared library of the standard library would need a linker for the target.
	sed -i 's/^crate-type = .*/crate-type = ["rlib"]/' "$folder/library/std/Cargo.toml"
}

# The standard library needs features of the compiler that are not stable. RUSTC_BOOTSTRAP allows
# them here, and for nothing else. The other two variables are what Rust's own build sets.
build_library() {
	case $1 in *-linux-*) command=build kind=rlib ;; *) command=check kind=rmeta ;; esac
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zforce-unstable-if-unmarked __CARGO_DEFAULT_LIB_METADATA=stablestd \
		CARGO_TARGET_DIR=$folder/build PATH=$sysroot/bin:$PATH \
		"$sysroot/bin/cargo" $command --quiet --locked --profile dist --target "$1" \
		--features 'panic-unwind backtrace' --manifest-path "$folder/library/sysroot/Cargo.toml"
	mkdir -p "$sysroot/lib/rustlib/$1/lib"
	cp "$folder/build/$1/dist/deps"/*.$kind "$sysroot/lib/rustlib/$1/lib"
}

for target in "$@"; do
	[ ! -e "$sysroot/lib/rustlib/$target/lib" ] || continue
	fetch_source
	echo "Build the standard library of Rust for $target"
	build_library "$target"
done
ln -sfn "$version" "$folder/rust"
