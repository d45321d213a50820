#!/system/bin/sh
# How much space is free?
: "${root:?}"
df -k "$root"
