#!/system/bin/sh
# The screen stays on while the phone is plugged in.
value() { settings get global stay_on_while_plugged_in; }

# 7: on AC, USB and wireless (android.os.BatteryManager).
change() { settings put global stay_on_while_plugged_in 7 && [ "$(value)" = 7 ]; }

undo() {
  if [ "$1" = null ]; then
    settings delete global stay_on_while_plugged_in
  else
    settings put global stay_on_while_plugged_in "$1"
  fi
  [ "$(value)" = "$1" ]
}
