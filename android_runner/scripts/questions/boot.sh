#!/system/bin/sh
# Has the phone finished booting, and which boot is it?
getprop sys.boot_completed
cat /proc/sys/kernel/random/boot_id
