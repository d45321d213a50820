#!/system/bin/sh
# For how many seconds has the lock's holder been silent, and who is it? A job that runs is a sign of
# life. Nothing is said if nobody holds it.
: "${root:?}"
[ -d "$root/lock" ] && cd "$root" || exit 0
silent=$(($(date +%s) - $(stat -c %Y lock/heartbeat 2>/dev/null || stat -c %Y lock)))
for job in jobs/*; do job_runs "$job" && silent=0; done
echo "$silent"
cat lock/holder 2>/dev/null
true
