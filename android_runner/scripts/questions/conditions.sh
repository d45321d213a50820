#!/system/bin/sh
# In what state is the phone now? Sections; a question that fails leaves its own empty.
exec 2>/dev/null
section load
cat /proc/loadavg
section memory
cat /proc/meminfo
section battery
dumpsys battery
section thermal
dumpsys thermalservice
section clocks
cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq
section limits
cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq
section governor
cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor
true
