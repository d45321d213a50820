#!/system/bin/sh
# Ends a job with all its processes.
: "${root:?}" "${launch:?}"
(cd "$root/jobs/$launch" && read -r group _ < pid && kill -9 "-$group") 2>/dev/null
