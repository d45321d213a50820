#!/system/bin/sh
# Starts the queue (`queue`: its script) of jobs that place.sh has laid out, and waits until it runs.
: "${root:?}" "${queue:?}"
cat > "$root/queue/queue.sh" <<END || exit 1
$queue
END
setsid sh "$root/queue/queue.sh" </dev/null >/dev/null 2>&1 &
tries=0
until [ -e "$root/queue/pid" ] || [ $tries -ge 50 ]; do
  sleep 0.1
  tries=$((tries + 1))
done
