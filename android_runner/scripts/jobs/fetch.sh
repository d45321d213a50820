#!/system/bin/sh
# What did a job leave? The result's hash and size, the result; then its last words. Or none, and these.
: "${root:?}" "${launch:?}"
cd "$root/jobs/$launch" || exit 1
file=
for name in result.jsonl.partial result.jsonl; do [ -e "$name" ] && file=$name; done
if [ "$file" ]; then
  digest=$(sha256sum "$file")
  echo "${digest%% *} $(stat -c %s "$file")"
  cat "$file"
else
  echo none
fi
tail -c 2000 stderr 2>/dev/null
true
