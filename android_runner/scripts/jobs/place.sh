#!/system/bin/sh
# Lays out a job in a folder of its own, unless it was started already. `place`: jobs, or queue for one
# that waits; `job`: what the runner is told; `run`: the script that runs it.
: "${root:?}" "${place:?}" "${launch:?}" "${job:?}" "${run:?}" "${supervise:?}"
mkdir -p "$root/$place/$launch" && cd "$root/$place/$launch" || exit 1
[ -e started ] && exit 0
cat > job.json <<END || exit 1
$job
END
cat > run.sh <<END || exit 1
$run
END
echo "$supervise" > supervise || exit 1
