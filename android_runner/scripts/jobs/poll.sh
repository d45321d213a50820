#!/system/bin/sh
# Where does a job stand? absent, running, vanished; or finished, and how it ended.
: "${root:?}" "${launch:?}"
cd "$root/jobs/$launch" 2>/dev/null || {
  echo absent
  exit 0
}
# Alive is looked up first: the exit file is written before the process is gone. A job that shows no
# sign of life for 3 s was never started.
state=vanished
if alive; then
  state=running
elif [ ! -e pid ] && [ "$(cat boot 2>/dev/null)" = "$(cat /proc/sys/kernel/random/boot_id)" ] &&
  [ $(($(date +%s) - $(stat -c %Y .))) -lt 3 ]; then
  state=running
fi
if [ -e exit ]; then
  echo finished
  cat exit
else
  echo "$state"
fi
