#!/system/bin/sh
# Gives the lock back.
: "${root:?}"
rm -rf "$root/lock"
