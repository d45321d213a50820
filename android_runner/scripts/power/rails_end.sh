#!/system/bin/sh
# Ends that perfetto, and sees it gone: it writes its file when it is asked to end, and is gone when that
# is whole.
: "${note:?}"
while read -r pid; do
  case $pid in *[!0-9]* | '') continue ;; esac
  grep -q perfetto "/proc/$pid/cmdline" && kill "$pid" && tries=0 &&
    while [ -e "/proc/$pid" ] && [ "$tries" -lt 150 ]; do
      sleep 0.1
      tries=$((tries + 1))
    done
done 2>/dev/null < "$note"
