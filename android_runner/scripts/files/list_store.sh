#!/system/bin/sh
# Which files are in the store? Their hashes and sizes.
: "${root:?}"
mkdir -p "$root/store" "$root/packs" "$root/jobs" && cd "$root/store" &&
  stat -c '%n %s' -- * 2>/dev/null
true
