#!/system/bin/sh
# How much space do we use?
: "${root:?}"
du -sk "$root"
