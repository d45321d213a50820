#!/system/bin/sh
# Clocks are held at a point that can be sustained (Android 11 and later).
# The mode cannot be read; it is off unless somebody switched it on since the phone booted.
value() { echo false; }

change() { cmd power set-fixed-performance-mode-enabled true; }

undo() { cmd power set-fixed-performance-mode-enabled "$1"; }
