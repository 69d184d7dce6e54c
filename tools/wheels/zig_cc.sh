#!/bin/sh
# A C compiler for the target ZIG_TARGET: the zig at ZIG, without the options by which other
# compilers name a target. Build scripts of crates pass them to each compiler that is no gcc.
skip=
for option in "$@"; do
	shift
	if [ -n "$skip" ]; then
		skip=
		continue
	fi
	case $option in
	--target=* | -mmacosx-version-min=*) ;;
	-arch | -isysroot) skip=yes ;;
	*) set -- "$@" "$option" ;;
	esac
done
exec "$ZIG" cc -target "$ZIG_TARGET" "$@"
