#!/system/bin/sh
# Makes room for a runner pack whose files are named as arguments; prints the hashes of those that have
# arrived before.
: "${root:?}" "${key:?}"
partial=$root/packs/$key.partial
for name in "$@"; do
  path=$partial/$name
  [ -d "${path%/*}" ] || mkdir -p "${path%/*}" || exit 1
done
cd "$partial" && sha256sum "$@" 2>/dev/null
true
