#!/system/bin/sh
# Undoes the queue, if there is one.
: "${root:?}"
undo=$root/changes/energy-queue.sh
[ ! -e "$undo" ] || {
  sh "$undo"
  rm -f "$undo"
}
