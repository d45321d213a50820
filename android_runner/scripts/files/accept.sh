#!/system/bin/sh
# Gives a file that has arrived its name, if its hash is right. `sha256` empty: it is known to be.
: "${file:?}" "${partial:?}"
is_right() {
  [ -z "${sha256?}" ] && return
  digest=$(sha256sum "$partial")
  [ "${digest%% *}" = "$sha256" ]
}
is_right && sync && mv "$partial" "$file"
[ -e "$file" ]
