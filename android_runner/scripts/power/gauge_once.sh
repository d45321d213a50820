#!/system/bin/sh
# Reads a gauge once, by the command that is named as arguments.
"$@"
