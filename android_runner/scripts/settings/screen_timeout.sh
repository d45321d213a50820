#!/system/bin/sh
# The screen stays on without a cable too: a phone whose screen is off goes to sleep then, and its clock
# stands still.
value() { settings get system screen_off_timeout; }

change() {
  input keyevent WAKEUP 2>/dev/null
  settings put system screen_off_timeout 2147483647 && [ "$(value)" = 2147483647 ]
}

undo() {
  if [ "$1" = null ]; then
    settings delete system screen_off_timeout
  else
    settings put system screen_off_timeout "$1"
  fi
  [ "$(value)" = "$1" ]
}
