#!/system/bin/sh
# Waits for a job to end, `seconds` at most, in a supervisor that sleeps: nothing polls beside the job.
: "${root:?}" "${launch:?}" "${seconds:?}"
cd "$root/jobs/$launch" 2>/dev/null && read -r program < supervise && {
  "$program" --await . "$seconds" 2>/dev/null
  # 0: it has ended; 1: not yet; else it could not wait.
  [ $? -le 1 ] || sleep 1
}
