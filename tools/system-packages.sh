#!/bin/sh
# Install what phonebench needs of the system, where the person may; otherwise say what is missing.
#
#   tools/system-packages.sh [GROUP...]      (none: all groups)
#
# Only g++ is needed: without it there is no native runner. One line a package:
# group, program, Debian package, what is not possible without it.
set -u

table="
run c++ g++ the native runner cannot be built
phones aarch64-linux-gnu-g++ g++-aarch64-linux-gnu no runner pack is built for phones (arm64-v8a)
virtual adb adb no virtual phone is reached
virtual bwrap bubblewrap no virtual phone runs
virtual toybox toybox no virtual phone runs
virtual mksh mksh no virtual phone runs
virtual patchelf patchelf no virtual phone runs
emulated qemu-aarch64-static qemu-user-static arm64 programs are not run
tests chromium chromium reports are not opened in tests
tests torch-of-the-system python3-torch the recipe fp32-mobile is not tested
"
groups=" ${*:-run phones virtual emulated tests} "

is_there() {
  case $1 in
    torch-of-the-system) /usr/bin/python3 -c \
      'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' ;;
    *) command -v "$1" ;;
  esac >/dev/null 2>&1
}

# Print the package, and what is not possible without it, of each line whose program is not there.
list_missing() {
  echo "$table" | while read -r group program package without; do
    case $groups in
      *" $group "*) is_there "$program" || echo "$package $without" ;;
    esac
  done
}

packages=$(list_missing | cut -d' ' -f1 | tr '\n' ' ')
[ -z "$packages" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "setup: apt-get installs ${packages% } (once; up to a few minutes)"
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
is_there c++ || exit 1
