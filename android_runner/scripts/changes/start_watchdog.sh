#!/system/bin/sh
# Starts the watchdog (`watchdog`: its script), which takes the place of an earlier one.
: "${root:?}" "${watchdog:?}"
mkdir -p "$root/changes" && cd "$root" && cat > watchdog.sh <<END || exit 1
$watchdog
END
setsid sh watchdog.sh </dev/null >/dev/null 2>&1 &
