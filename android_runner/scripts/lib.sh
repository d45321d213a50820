#!/system/bin/sh
# In front of every script: what several of them need. `root`, the folder of all that is ours, is told to each.
#
# A phone's shell is mksh, its tools are toybox. Scripts use what every toybox has, Debian's too: no dd,
# no awk. Every script is fit to be run twice: a phone that went away meanwhile is asked again.

# Starts a section of an answer; no command prints this by chance.
section() { echo "phonebench $1"; }

# Whether the job in the current folder runs: the 22nd field of its stat is when it began, after this
# very boot.
alive() {
  read -r now < /proc/sys/kernel/random/boot_id
  { read -r began < boot && read -r number ticks < pid; } 2>/dev/null && [ "$began" = "$now" ] ||
    return 1
  line=$(cat "/proc/$number/stat" 2>/dev/null) || return 1
  # shellcheck disable=SC2086 # cut into fields
  set -- ${line##*) }
  [ "$1" != Z ] && [ "${20}" = "$ticks" ]
}

# Whether the job in a folder runs and has not told its end.
job_runs() { (cd "$1" 2>/dev/null && [ ! -e exit ] && alive); }
