#!/system/bin/sh
# Makes room for jobs that wait, unless their queue runs already; how to undo that comes first.
: "${root:?}" "${undo:?}"
[ -e "$root/queue/queue.sh" ] && exit 0
mkdir -p "$root/changes" "$root/jobs" "$root/queue" && cat > "$root/changes/energy-queue.sh" <<END || exit 1
$undo
END
