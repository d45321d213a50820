#!/system/bin/sh
# Removes everything of ours.
: "${root:?}"
rm -rf "$root"
