"""What the phone is asked to run: scripts for its mksh and toybox, every one fit to be run twice.

What reads @LIKE_THIS@ is put in by who sends them (`android.py`). They use what every toybox has,
Debian's too: no dd, no awk.
"""

from __future__ import annotations

from harness.devices.android import facts

ROOT = "/data/local/tmp/phonebench"
"""Everything of ours on the phone lies here."""
LOST_LOCK = 77
"""The exit code of a script that found another holder in the lock."""

IDENTIFY = facts.ask(facts.IDENTITY) + "\ntrue"
BOOT = "getprop sys.boot_completed; cat /proc/sys/kernel/random/boot_id"

# Before everything: the lock is still ours, and this is a sign of life. Builtins only, because
# every process costs milliseconds on the phone.
GUARD = f"""read -r holder 2>/dev/null < {ROOT}/lock/holder
case "$holder" in *@TOKEN@*) ;; *) exit {LOST_LOCK};; esac
: > {ROOT}/lock/heartbeat
"""

# 0 if the job in the current folder runs: the 22nd field of its stat is when it began, after this
# very boot.
ALIVE = """alive() {
  read -r now < /proc/sys/kernel/random/boot_id
  { read -r boot < boot && read -r pid ticks < pid; } 2>/dev/null && [ "$boot" = "$now" ] || return 1
  line=$(cat /proc/$pid/stat 2>/dev/null) || return 1
  set -- ${line##*) }
  [ "$1" != Z ] && [ "${20}" = "$ticks" ]
}
"""
# A job that shows no sign of life for 3 s was never started. Alive is looked up first: the exit
# file is written before the process is gone.
POLL = (
    ALIVE
    + """cd @JOB@ 2>/dev/null || { echo absent; exit 0; }
state=vanished
if alive; then state=running
elif [ ! -e pid ] && [ "$(cat boot 2>/dev/null)" = "$(cat /proc/sys/kernel/random/boot_id)" ] &&
  [ $(( $(date +%s) - $(stat -c %Y .) )) -lt 3 ]; then state=running; fi
if [ -e exit ]; then echo finished; cat exit; else echo $state; fi
"""
)
FETCH = """cd @JOB@ || exit 1
file=
for name in result.jsonl.partial result.jsonl; do [ -e $name ] && file=$name; done
if [ "$file" ]; then
  set -- $(sha256sum $file); digest=$1; set -- $(stat -c %s $file)
  echo $digest $1; cat $file
else echo none; fi
tail -c 2000 stderr 2>/dev/null
true
"""
# How long the lock's holder has been silent, and who it is; a job that runs is a sign of life.
HELD = (
    ALIVE
    + f"""cd {ROOT} || exit 1
silent=$(( $(date +%s) - $(stat -c %Y lock/heartbeat 2>/dev/null || stat -c %Y lock) ))
for job in jobs/*; do ( cd $job 2>/dev/null && [ ! -e exit ] && alive ) && silent=0; done
echo $silent
cat lock/holder 2>/dev/null
true
"""
)
LOCK = f"""mkdir -p {ROOT}/jobs && cd {ROOT} || exit 1
if mkdir lock 2>/dev/null; then
  echo @MINE@ > lock/holder && touch lock/heartbeat && echo taken && exit
  rm -rf lock
  exit 1
fi
case "$(cat lock/holder 2>/dev/null)" in *@TOKEN@*) echo taken; exit;; esac
echo held
{HELD}"""
SEIZE = f"""cd {ROOT} || exit 1
case "$(cat lock/holder 2>/dev/null)" in *@TOKEN@*) exit;; esac
[ "$(cat lock/holder 2>/dev/null)" = @THEIRS@ ] || exit 1
touch lock/heartbeat && echo @MINE@ > lock/holder.new && mv lock/holder.new lock/holder
"""
# A change whose script is gone was undone by the watchdog meanwhile.
RESTORE = f"""cd {ROOT}/changes 2>/dev/null || exit 0
for change in *.sh; do
  [ -e "$change" ] || continue
  if sh "$change" >/dev/null 2>&1; then rm -f "$change"
  elif [ -e "$change" ]; then echo "${{change%.sh}}"; fi
done
cd .. && rmdir changes 2>/dev/null
true
"""

# Prints the hash of a file that is just being pushed, megabyte by megabyte as it arrives: hashing
# it afterwards takes nearly as long as a fast cable. Whole megabytes: `head` reads whole blocks.
FOLLOW = """until [ -e @FILE@ ]; do sleep 0.02; done
exec 3< @FILE@
hashed=0
while [ $hashed -lt @SIZE@ ]; do
  size=$(stat -c %s @FILE@ || echo 0)
  new=$((size - hashed))
  [ $size -lt @SIZE@ ] && new=$((new >> 20 << 20))
  if [ $new -gt 0 ]; then
    head -c $new <&3
    hashed=$((hashed + new))
  else sleep 0.02; fi
done 2>/dev/null | sha256sum
"""
# Undoes every change when the host is gone: no sign of life for long, and no job that runs. It
# ends when there is nothing left to undo, or a newer one has taken its place. A host may come while
# it is at it: what that one changes is left alone.
WATCHDOG = f"""mkdir -p {ROOT}/changes && cd {ROOT} && cat > watchdog.sh <<'END_OF_WATCHDOG' || exit 1
{ALIVE}silent() {{
  [ $(( $(date +%s) - $(stat -c %Y lock/heartbeat 2>/dev/null || echo 0) )) -ge @SILENT@ ]
}}
echo $$ > watchdog.pid
while [ -d changes ] && [ "$(cat watchdog.pid)" = $$ ]; do
  sleep @PERIOD@
  for job in jobs/*; do ( cd $job 2>/dev/null && [ ! -e exit ] && alive ) && continue 2; done
  silent || continue
  for change in changes/*.sh; do
    silent && [ -e "$change" ] && sh "$change" && rm -f "$change"
  done
  rmdir changes
done
END_OF_WATCHDOG
setsid sh watchdog.sh </dev/null >/dev/null 2>&1 &
"""
