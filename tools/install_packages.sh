#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs those Debian packages of a list that are missing, and says which. No
# service of theirs is started: what is needed of them is their programs.
set -eu

policy=/usr/sbin/policy-rc.d
ours="# while the packages for a checkout are installed, no service is started or stopped"

wanted=$(sed -e 's/#.*//' "$1")
missing=
for package in $wanted; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "this is no Debian: install what corresponds to$missing, then run make again" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "missing Debian packages:$missing; run make as root, or install them" >&2
	exit 1
fi

# What a package may do to services is asked of this file (invoke-rc.d(8)). One that
# is there is the machine's own and stays, but for one that a killed run left behind.
if grep -qsxF "$ours" "$policy"; then
	rm -f "$policy"
fi
if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\n%s\nexit 101\n' "$ours" >"$policy"
	chmod 755 "$policy"
fi

echo "installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
