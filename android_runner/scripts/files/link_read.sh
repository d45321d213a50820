#!/system/bin/sh
# Sends that file back.
: "${file:?}"
cat "$file"
