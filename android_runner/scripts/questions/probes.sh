#!/system/bin/sh
# Which files of the kernel may be read while a launch runs? Sections. Builtins only: there may be a
# hundred zones, and every process costs milliseconds on a phone.
section readable
for file in /proc/stat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq \
  /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq \
  /sys/devices/system/cpu/cpu[0-9]*/cpufreq/stats/time_in_state; do
  { read -r _ < "$file"; } 2>/dev/null && echo "$file"
done
section zones
for zone in /sys/class/thermal/thermal_zone*; do
  { read -r temperature < "$zone/temp" && read -r type < "$zone/type"; } 2>/dev/null &&
    echo "${zone##*/} $temperature $type"
done
true
