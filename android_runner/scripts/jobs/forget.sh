#!/system/bin/sh
# Removes the folders of the jobs that are named as arguments.
: "${root:?}"
cd "$root/jobs" && rm -rf -- "$@"
