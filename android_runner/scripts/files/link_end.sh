#!/system/bin/sh
# Removes that file, and our folder if there is nothing else in it.
: "${root:?}" "${file:?}"
rm -f "$file"
rmdir "$root" 2>/dev/null
true
