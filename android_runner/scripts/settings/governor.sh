#!/system/bin/sh
# What chooses the processors' clocks is `governor`. Only root may change it.
value() {
  for policy in /sys/devices/system/cpu/cpufreq/policy*/scaling_governor; do
    echo "$policy $(cat "$policy")"
  done
}

change() {
  for policy in /sys/devices/system/cpu/cpufreq/policy*/scaling_governor; do
    echo "${governor:?}" > "$policy" && [ "$(cat "$policy")" = "$governor" ] || return 1
  done
}

undo() {
  # shellcheck disable=SC2086 # pairs of words
  set -- $1
  while [ $# -ge 2 ]; do
    [ "$(cat "$1")" = "$2" ] || echo "$2" > "$1" || return 1
    shift 2
  done
}
