#!/system/bin/sh
# Prints what was recorded, unless it is larger than any such recording.
: "${file:?}" "${largest_bytes:?}"
bytes=$(stat -c %s "$file" 2>/dev/null || echo 0)
[ "$bytes" -gt "$largest_bytes" ] || cat "$file" 2>/dev/null
true
