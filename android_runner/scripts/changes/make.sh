#!/system/bin/sh
# Changes a setting; how to undo that is on the phone before. `setting`: a script of settings/.
# Exit code 3: the phone does not let it be changed, and it is as it was.
: "${root:?}" "${name:?}" "${setting:?}"
file=$root/changes/$name.sh
eval "$setting"
# What is there already is how the phone was found: it has rebooted since.
if [ ! -e "$file" ]; then
  cat > "$file.new" <<END && sync && mv "$file.new" "$file" || exit 1
$setting
undo '$(value)'
END
fi
change || {
  sh "$file" >/dev/null 2>&1
  rm -f "$file"
  exit 3
}
