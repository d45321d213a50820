#!/system/bin/sh
# Ends the queue, and forgets the jobs that have not begun; one that runs goes on.
: "${root:?}"
{
  read -r pid < "$root/queue/pid" && grep -q "$root/queue/queue.sh" "/proc/$pid/cmdline" &&
    kill "$pid"
} 2>/dev/null
rm -rf "$root/queue"
