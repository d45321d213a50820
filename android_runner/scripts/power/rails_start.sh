#!/system/bin/sh
# Records the power rails with the phone's own perfetto, which outlives the connection, into `file`;
# `note` holds its process number. `undo` is for whoever comes after a host that died.
#
# The configuration comes on stdin: perfetto may not read the shell's own files (SELinux). 100 ms is the
# shortest period that android.power takes (perfetto, android_power_data_source.cc). It ends by itself
# after an hour, should the host be gone.
: "${root:?}" "${file:?}" "${note:?}" "${undo:?}"
mkdir -p "$root/changes" && cat > "$root/changes/power-rails.sh" <<END || exit 1
$undo
END
[ -e "$note" ] || perfetto --txt -c - -o "$file" --background > "$note" 2>&1 <<'END'
buffers { size_kb: 16384 fill_policy: DISCARD }
data_sources { config { name: "android.power" android_power_config {
  battery_poll_ms: 100 collect_power_rails: true } } }
duration_ms: 3600000
END
cat "$note"
