#!/system/bin/sh
# Undoes every change; names those that cannot be undone.
: "${root:?}"
cd "$root/changes" 2>/dev/null || exit 0
for change in *.sh; do
  [ -e "$change" ] || continue
  # One whose script is gone was undone by the watchdog meanwhile.
  if sh "$change" >/dev/null 2>&1; then
    rm -f "$change"
  elif [ -e "$change" ]; then
    echo "${change%.sh}"
  fi
done
cd .. && rmdir changes 2>/dev/null
true
