#!/system/bin/sh
# Runs the jobs that are named as arguments, one after the other, while no cable feeds the phone.
#
# Each becomes an ordinary job, with its folder among the others, when its turn comes. The queue gives
# up after waiting `patience_seconds` for the cable to go, and lets a battery that is warmer than at
# first rest up to `rest_seconds` before a job.
: "${root:?}" "${patience_seconds:?}" "${rest_seconds:?}"
echo $$ > "$root/queue/pid"

told() {
  line=$(dumpsys battery | grep "^  $1: ")
  line=${line##* }
  echo "${line:-0}"
}

# A second, with a sign of life: nobody else gives one.
pause() {
  : > "$root/lock/heartbeat"
  sleep 1
}

first=$(told temperature)
for job in "$@"; do
  # The last job was a sign of life, and has ended.
  : > "$root/lock/heartbeat"
  waited=0
  # 3: discharging (android.os.BatteryManager).
  until [ "$(told status)" = 3 ]; do
    [ $waited -lt "$patience_seconds" ] || exit
    pause
    waited=$((waited + 1))
  done
  # A gauge needs some seconds to forget the charger.
  settled=0
  while [ $waited -gt 0 ] && [ $settled -lt 5 ]; do
    pause
    settled=$((settled + 1))
  done
  # Two degrees, in tenths.
  rested=0
  while [ $rested -lt "$rest_seconds" ] && [ "$(told temperature)" -gt $((first + 20)) ]; do
    pause
    rested=$((rested + 1))
  done
  cat /proc/sys/kernel/random/boot_id > "$root/queue/$job/boot" && touch "$root/queue/$job/started"
  mv "$root/queue/$job" "$root/jobs/$job" && cd "$root/jobs/$job" || exit
  setsid sh ./run.sh </dev/null >/dev/null
done
