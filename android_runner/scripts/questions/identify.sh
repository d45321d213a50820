#!/system/bin/sh
# What is this phone? Sections; a question that fails leaves its own empty.
exec 2>/dev/null
section properties
getprop
section memory
cat /proc/meminfo
section cores
for core in /sys/devices/system/cpu/cpu[0-9]*; do
  echo "${core##*/cpu} $(cat "$core/cpufreq/cpuinfo_max_freq")"
done
section page
getconf PAGE_SIZE
section kernel
uname -r
true
