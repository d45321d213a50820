#!/system/bin/sh
# Prints the hash of a file that is just being pushed, megabyte by megabyte as it arrives: hashing it
# afterwards takes nearly as long as a fast cable. Whole megabytes: `head` reads whole blocks.
: "${file:?}" "${size_bytes:?}"
until [ -e "$file" ]; do sleep 0.02; done
exec 3< "$file"
hashed=0
while [ "$hashed" -lt "$size_bytes" ]; do
  size=$(stat -c %s "$file" || echo 0)
  new=$((size - hashed))
  [ "$size" -lt "$size_bytes" ] && new=$((new >> 20 << 20))
  if [ "$new" -gt 0 ]; then
    head -c "$new" <&3
    hashed=$((hashed + new))
  else
    sleep 0.02
  fi
done 2>/dev/null | sha256sum
