#!/system/bin/sh
# Is a runner pack there?
: "${root:?}" "${key:?}"
[ -d "$root/packs/$key" ]
