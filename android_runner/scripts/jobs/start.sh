#!/system/bin/sh
# Starts the job that place.sh has laid out, in a session of its own.
: "${root:?}" "${launch:?}"
cd "$root/jobs/$launch" && cat /proc/sys/kernel/random/boot_id > boot && touch started || exit 1
setsid sh ./run.sh </dev/null >/dev/null 2>&1 &
