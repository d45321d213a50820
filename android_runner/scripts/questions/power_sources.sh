#!/system/bin/sh
# What tells how much power the phone draws? Sections.
supplies=/sys/class/power_supply
section supplies
# Vendors' names for the battery's gauge: the folder itself is often closed to the shell while the files
# in it are not, so they are asked for by name too.
for supply in "$supplies"/* "$supplies/battery" "$supplies/bms" "$supplies/maxfg" \
  "$supplies/max77759fg" "$supplies/main-battery"; do
  [ -e "$supply" ] || continue
  type=
  { read -r type < "$supply/type"; } 2>/dev/null
  echo "$supply type $type"
  [ "$type" = Battery ] || [ -z "$type" ] || continue
  for file in current_now voltage_now charge_counter status; do
    echo "$supply $file $(cat "$supply/$file" 2>&1)"
  done
done
section asked
cmd battery get -f current_now 2>&1
section rails
dumpsys powerstats 2>/dev/null
section perfetto
command -v perfetto
true
