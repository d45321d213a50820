#!/system/bin/sh
# The battery is not charged, though the phone is plugged in.
value() { getprop power.battery_input.suspended; }

change() { setprop power.battery_input.suspended true && [ "$(value)" = true ]; }

# A property cannot be deleted: one that was not there becomes false.
undo() { setprop power.battery_input.suspended "${1:-false}" && [ "$(value)" = "${1:-false}" ]; }
