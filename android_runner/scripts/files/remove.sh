#!/system/bin/sh
# Removes the files that are named as arguments.
rm -f -- "$@"
