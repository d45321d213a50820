#!/system/bin/sh
# Is the phone fit to be measured? What conditions.sh does not ask, in sections. Changes nothing.
: "${root:?}"
exec 2>/dev/null
section properties
getprop
section power
dumpsys power
section saver
settings get global low_power
section selinux
getenforce
section present
cat /sys/devices/system/cpu/present
section online
cat /sys/devices/system/cpu/online
section governors
cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor
section caps
for core in /sys/devices/system/cpu/cpu[0-9]*/cpufreq; do
  echo "$(cat "$core/scaling_max_freq") $(cat "$core/cpuinfo_max_freq")"
done
section space
df -k /data/local/tmp
# Those that are missing, of all programs that these scripts and the runner's supervisor need; the dot
# says that the list is whole.
section tools
for tool in cat chmod date df du getprop grep head ls mkdir mv rm rmdir setsid sha256sum sleep stat \
  sync tail touch; do
  command -v "$tool" >/dev/null || echo "$tool"
done
echo .
section own
cat "$root"/jobs/*/pid
section names
ps -A -o PID,NAME
# What every process used of the processors, twice.
section stats
cat /proc/uptime /proc/[0-9]*/stat
echo @
sleep 0.5
cat /proc/uptime /proc/[0-9]*/stat
true
