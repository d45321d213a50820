#!/system/bin/sh
# Makes room for the file by which the link's speed is measured.
: "${root:?}"
mkdir -p "$root"
