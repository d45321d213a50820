#!/system/bin/sh
# Changes a setting; how to undo that is on the phone before. `setting`: a script of settings/.
# Exit code 3: the phone does not let it be changed, and it is as it was.
: "${root:?}" "${name:?}" "${setting:?}"
undo_file=$root/changes/$name.sh
eval "$setting"
# What is there already is how the phone was found: it has rebooted since.
if [ ! -e "$undo_file" ]; then
  cat > "$undo_file.new" <<END && sync && mv "$undo_file.new" "$undo_file" || exit 1
$setting
undo '$(value)'
END
fi
change || {
  sh "$undo_file" >/dev/null 2>&1
  rm -f "$undo_file"
  exit 3
}
