#!/bin/sh
# Install what the harness needs of the system, where the person may; otherwise say what is missing.
#   g++         builds the native runner (needed)
#   chromium    opens the reports in the tests
#   python3-torch   a torch with XNNPACK, for tests of the fp32-mobile recipe
set -u

missing=""
command -v c++ >/dev/null 2>&1 || missing="$missing g++"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
/usr/bin/python3 -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' \
  >/dev/null 2>&1 || missing="$missing python3-torch"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  log=$(mktemp)
  # shellcheck disable=SC2086 # a list of names
  if { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } \
      >"$log" 2>&1; then
    rm -f "$log"
    exit 0
  fi
  echo "setup: could not install$missing (see $log); tests that need them are skipped" >&2
else
  echo "setup: not installed:$missing (as root: apt-get install$missing); tests that need them are skipped" >&2
fi
if ! command -v c++ >/dev/null 2>&1; then
  echo "setup: without a C++ compiler the native runner cannot be built: install g++" >&2
  exit 1
fi
exit 0
