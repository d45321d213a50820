#!/bin/sh
# Install what the harness needs of the system, where the person may; otherwise say what is missing.
# Only g++ is needed: without it there is no native runner. One line a package:
# program, Debian package, what is not possible without it.
set -u

table="
c++ g++ the native runner cannot be built
chromium chromium reports are not opened in tests
aarch64-linux-gnu-g++ g++-aarch64-linux-gnu no runner pack is built for phones (arm64-v8a)
qemu-aarch64-static qemu-user-static arm64 programs are not run in tests
adb adb no phone is reached, nor a virtual one
bwrap bubblewrap no virtual phone runs in tests
toybox toybox no virtual phone runs in tests
mksh mksh no virtual phone runs in tests
patchelf patchelf no virtual phone runs in tests
"

# Print the lines of the table whose program is not there.
list_missing() {
  echo "$table" | while read -r program package without; do
    [ -n "$program" ] && ! command -v "$program" >/dev/null 2>&1 && echo "$package $without"
  done
  /usr/bin/python3 -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' \
    >/dev/null 2>&1 || echo "python3-torch the recipe fp32-mobile is not tested"
}

packages=$(list_missing | cut -d' ' -f1)
[ -z "$packages" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  log=$(mktemp)
  apt-get update >"$log" 2>&1
  # All at once is quicker; one that cannot be had must not keep the others out.
  for wanted in "$packages" $packages; do
    # shellcheck disable=SC2086 # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $wanted \
      >>"$log" 2>&1 </dev/null && [ "$wanted" = "$packages" ] && break
  done
  if [ -z "$(list_missing)" ]; then
    rm -f "$log"
  else
    echo "setup: what apt-get said is in $log" >&2
  fi
fi

list_missing | while read -r package without; do
  echo "setup: $package is not installed: $without (as root: apt-get install $package)" >&2
done
command -v c++ >/dev/null 2>&1 || exit 1
