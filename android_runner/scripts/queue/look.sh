#!/system/bin/sh
# Does the queue run? A line for each job that waits or runs; and the state of the battery.
: "${root:?}"
{
  read -r pid < "$root/queue/pid"
  grep -q "$root/queue/queue.sh" "/proc/$pid/cmdline" && echo queue
} 2>/dev/null
for job in "$root"/queue/*/job.json; do [ -e "$job" ] && echo job; done
for job in "$root"/jobs/*; do job_runs "$job" && echo running; done
dumpsys battery
