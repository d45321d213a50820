#!/system/bin/sh
# Which jobs are there?
: "${root:?}"
ls "$root/jobs"
