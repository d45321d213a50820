#!/system/bin/sh
# Undoes every change when the host is gone: no sign of life for long, and no job that runs.
#
# It ends when there is nothing left to undo, or a newer one has taken its place. A host may come while
# it is at it: what that one changes is left alone.
: "${root:?}" "${period_seconds:?}" "${silent_seconds:?}"
cd "$root" || exit 1
is_silent() {
  [ $(($(date +%s) - $(stat -c %Y lock/heartbeat 2>/dev/null || echo 0))) -ge "$silent_seconds" ]
}
echo $$ > watchdog.pid
while [ -d changes ] && [ "$(cat watchdog.pid)" = $$ ]; do
  sleep "$period_seconds"
  for job in jobs/*; do job_runs "$job" && continue 2; done
  is_silent || continue
  for change in changes/*.sh; do
    is_silent && [ -e "$change" ] && sh "$change" && rm -f "$change"
  done
  rmdir changes
done
