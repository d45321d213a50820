#!/system/bin/sh
# Lies in a job's folder: runs the job there to its end, under a supervisor that notes how it ends.
# Arguments: the command of the runner, without its two files.
#
# The number of threads is in the environment too: libtorch for arm64 multiplies with a library that
# takes it from there while it is loaded, and that nobody can reach later.
: "${root:?}" "${launch:?}" "${supervise:?}" "${threads:?}"
export OMP_NUM_THREADS="$threads"
exec "$supervise" . -- "$@" "$root/jobs/$launch/job.json" "$root/jobs/$launch/result.jsonl"
