#!/system/bin/sh
# Takes the phone's lock, if it is free: "taken". Else "held", and what held.sh tells, which comes next.
: "${root:?}" "${token:?}" "${mine:?}"
mkdir -p "$root/jobs" && cd "$root" || exit 1
if mkdir lock 2>/dev/null; then
  cat > lock/holder <<END && touch lock/heartbeat && echo taken && exit
$mine
END
  rm -rf lock
  exit 1
fi
case $(cat lock/holder 2>/dev/null) in *"$token"*)
  echo taken
  exit
  ;;
esac
echo held
