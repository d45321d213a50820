#!/system/bin/sh
# Gives a runner pack whose files have all arrived its name: it appears whole.
: "${root:?}" "${key:?}"
pack=$root/packs/$key
[ -d "$pack" ] || { chmod -R 755 "$pack.partial" && sync && mv "$pack.partial" "$pack"; }
